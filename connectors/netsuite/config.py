"""Where NetSuite is, who we are there, and how its record's fields are called."""

from __future__ import annotations

import re
from typing import Any, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors.netsuite.mapping import Names
from connectors.settings import ConnectorSettings, web_address

TBA = ("consumer_key", "consumer_secret", "token_id", "token_secret")
M2M = ("client_id", "certificate_id", "private_key")
ACCOUNT = r"^[A-Za-z0-9_-]{1,64}$"
FIELD = r"^[A-Za-z][A-Za-z0-9_]{0,63}$"
FIELD_OR_NONE = r"^([A-Za-z][A-Za-z0-9_]{0,63})?$"
ID = r"^[0-9]{1,18}$"


class NetsuiteSettings(ConnectorSettings):
    """One NetSuite account and one way in: OAuth 2.0 client credentials, or TBA.

    The custom fields (custevent_…) are made once by an administrator: Customization, CRM
    Fields, applied to cases; the version is free-form text, the snapshot a text area.
    """

    model_config = SettingsConfigDict(
        **{**ConnectorSettings.model_config, "env_prefix": "NETSUITE_"}
    )

    account: str = Field(
        description="Account id, as under Setup, Company Information: 1234567 or 1234567_SB1.",
        pattern=ACCOUNT,
    )
    client_id: str = Field("", description="OAuth 2.0: client id of the integration record.")
    certificate_id: str = Field(
        "", description="OAuth 2.0: id of the uploaded certificate (the assertion's kid)."
    )
    private_key: SecretStr = Field(
        SecretStr(""), description="OAuth 2.0: the certificate's private key, PEM; EC or RSA."
    )
    consumer_key: str = Field("", description="TBA: consumer key of the integration record.")
    consumer_secret: SecretStr = Field(SecretStr(""), description="TBA: its secret.")
    token_id: str = Field("", description="TBA: id of the access token.")
    token_secret: SecretStr = Field(SecretStr(""), description="TBA: its secret.")
    record_type: str = Field(
        "supportCase", description="Record type that an event becomes.", pattern=FIELD
    )
    key_field: str = Field(
        "",
        description="Custom field that also holds the key and is looked up by, where SuiteQL does "
        "not show the record type's externalid; empty: externalid.",
        pattern=FIELD_OR_NONE,
    )
    version_field: str = Field(
        "custevent_fieldline_version",
        description="Custom field for the place of the last event: older ones change nothing.",
        pattern=FIELD,
    )
    snapshot_field: str = Field(
        "custevent_fieldline_snapshot",
        description="Custom field for what was measured; empty: not sent.",
        pattern=FIELD_OR_NONE,
    )
    message_field: str = Field(
        "incomingMessage",
        description="Field for the first message of a case; empty: not sent.",
        pattern=FIELD_OR_NONE,
    )
    asset_field: str = Field(
        "custevent_fieldline_asset",
        description="Field that points at the asset's record; empty: not sent.",
        pattern=FIELD_OR_NONE,
    )
    status_closed: str = Field("5", description="Internal id of the status of an end.", pattern=ID)
    status_reopened: str = Field(
        "4", description="Internal id of the status of a trouble that came back.", pattern=ID
    )
    async_from: int = Field(
        10,
        ge=0,
        le=100,
        description="From how many new records on they go as one asynchronous batch; 0: never.",
    )

    @model_validator(mode="before")
    @classmethod
    def _own_host(cls, given: Any) -> Any:  # noqa: ANN401 - what pydantic gives
        if isinstance(given, dict) and not given.get("url"):
            account = str(given.get("account") or "")
            label = account.lower().replace("_", "-") if re.fullmatch(ACCOUNT, account) else ""
            return given | {"url": f"https://{label}.suitetalk.api.netsuite.com" if label else ""}
        return given

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        return web_address(text, path=False) if text else text

    @field_validator("private_key")
    @classmethod
    def _lines(cls, key: SecretStr) -> SecretStr:
        """In an environment variable line breaks often stand as a backslash and an n."""
        text = SecretStr(key.get_secret_value().replace("\\n", "\n").strip())
        if text.get_secret_value():
            algorithm_of(text.get_secret_value())
        return text

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        tba, m2m = self._given(TBA), self._given(M2M)
        if any(tba) and any(m2m):
            raise ValueError("both OAuth 2.0 and TBA are given: keep the fields of one")
        names, given = (TBA, tba) if any(tba) else (M2M, m2m)
        missing = [name for name, there in zip(names, given, strict=True) if not there]
        if missing:
            raise ValueError(f"{missing[0]} is missing: give {', '.join(names)}")
        return self

    def _given(self, names: tuple[str, ...]) -> list[bool]:
        values = (getattr(self, name) for name in names)
        return [
            bool(v.get_secret_value() if isinstance(v, SecretStr) else v.strip()) for v in values
        ]

    @property
    def uses_tba(self) -> bool:
        """Whether requests are signed with OAuth 1.0a, not sent with a bearer token."""
        return bool(self.consumer_key)

    @property
    def rest(self) -> str:
        """Where the REST services begin."""
        return f"{self.url}/services/rest"

    @property
    def token_url(self) -> str:
        """Token endpoint, and the assertion's audience."""
        return f"{self.rest}/auth/oauth2/v1/token"

    @property
    def realm(self) -> str:
        """The account as OAuth 1.0a's realm: upper case, with underscores."""
        return self.account.upper().replace("-", "_")

    @property
    def names(self) -> Names:
        """How the record's fields are called."""
        return Names(
            key=self.key_field,
            version=self.version_field,
            snapshot=self.snapshot_field,
            message=self.message_field,
            asset=self.asset_field,
        )


_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def algorithm_of(private_key: str) -> str:
    """The signing algorithm that goes with a PEM key, among those that NetSuite takes (D).

    ES256, ES384 or ES512 by its curve, PS256 for RSA. ValueError where it is no such key.
    """
    try:
        key = load_pem_private_key(private_key.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, rsa.RSAPrivateKey):
        return "PS256"
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    raise ValueError(
        "it is no private key of EC P-256, P-384, P-521 or RSA in PEM form without a password: "
        "give the key's text, not its file's name"
    )
