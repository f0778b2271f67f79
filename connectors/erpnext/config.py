"""Where ERPNext is and who we are there."""

from __future__ import annotations

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import ConnectorSettings, web_address


class ErpnextSettings(ConnectorSettings):
    """One ERPNext site and one user's API key (Frappe: User, API Access)."""

    model_config = SettingsConfigDict(env_prefix="ERPNEXT_")

    api_key: str = Field("", description="The user's API key.")
    api_secret: SecretStr = Field(SecretStr(""), description="The secret that goes with it.")
    doctype: str = Field(
        "Issue", description="DocType of the documents.", pattern=r"^[A-Za-z][A-Za-z0-9 ]{0,60}$"
    )

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        return web_address(text, path=False) if text else text
