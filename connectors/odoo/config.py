"""Where Odoo is and who we are there."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import ConnectorSettings, web_address

_XMLID = r"^[A-Za-z0-9_]+\.[A-Za-z0-9_]+$"


class OdooSettings(ConnectorSettings):
    """One Odoo database and one user's API key (Odoo: Preferences, Account Security)."""

    model_config = SettingsConfigDict(env_prefix="ODOO_")

    api: Literal["json2", "jsonrpc"] = Field(
        "json2", description="json2 (Odoo 19 and later), or jsonrpc (until Odoo 21)."
    )
    database: str = Field(
        "", description="Name of the database; json2 needs it where the server has several."
    )
    username: str = Field("", description="Login of the key's user; needed by jsonrpc.")
    api_key: SecretStr = Field(
        SecretStr(""), description="The user's API key; jsonrpc takes the password too."
    )
    open_stage: str = Field(
        "maintenance.stage_0",
        description="External id of the stage where requests begin and are reopened.",
        pattern=_XMLID,
    )
    done_stage: str = Field(
        "maintenance.stage_3",
        description="External id of the stage of requests whose trouble is over.",
        pattern=_XMLID,
    )
    close_by: Literal["stage", "archive"] = Field(
        "stage", description="What closes a request: its stage, or that it is archived."
    )

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        return web_address(text, path=False) if text else text

    @model_validator(mode="after")
    def _login(self) -> Self:
        if self.api == "jsonrpc" and not (self.database and self.username):
            raise ValueError("jsonrpc needs a database and a username: give both")
        return self
