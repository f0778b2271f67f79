"""Where the receiver is, what we sign with, and what a post looks like."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Literal
from urllib.parse import quote, urlsplit

import httpx
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from connectors.settings import LOOPBACK, ConnectorSettings, host_of

BATCH_MAX = 200
"""Most events in one request."""
KEY_PLACE = "{key}"
HEADERS_MAX = 20
HEADER_MAX = 4_096
"""Most further headers, and most characters of one."""
OWN_HEADERS = frozenset(
    {
        *("host", "content-length", "transfer-encoding", "connection", "traceparent"),
        *("idempotency-key", "webhook-id", "webhook-timestamp", "webhook-signature", "x-signature"),
    }
)
"""Headers that are the connector's own or the connection's."""
_WHSEC = "whsec_"
_KEY_BYTES = range(16, 129)
_PLACE = re.compile(r"\{[^{}]*\}")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class WebhookSettings(ConnectorSettings):
    """One receiver. Its addresses stay out of reprs, for such addresses often carry a token."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOK_")

    url: str = Field(
        "",
        repr=False,
        description="Address that takes the posts. With a template it may have placeholders, "
        "e.g. https://host/tickets/{event.entity}.",
    )
    secret: SecretStr | None = Field(
        None,
        description="What both signatures are made with (whsec_…, Standard Webhooks); several "
        "with blanks between while one replaces another. None = not signed.",
    )
    look_up_url: str = Field(
        "",
        repr=False,
        description="Address with {key} that says whether the receiver has an event; empty = it "
        "cannot be asked.",
    )
    batch: int = Field(1, ge=1, le=BATCH_MAX, description="Events in one request.")
    keyed: bool = Field(
        default=True,
        description="Whether the receiver keeps an event to once: by Idempotency-Key, by the "
        "event's own id in a batch, or because the address names the record.",
    )
    template: str = Field(
        "", description="File with the body as JSON with placeholders; empty = CloudEvents."
    )
    method: Literal["POST", "PUT", "PATCH"] = Field(
        "POST", description="Method of a post; others than POST are for templates."
    )
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Further headers, e.g. Authorization, as JSON."
    )

    @field_validator("url")
    @classmethod
    def _address(cls, text: str) -> str:
        return _checked(text) if text else text

    @field_validator("look_up_url")
    @classmethod
    def _look_up_address(cls, text: str) -> str:
        if not text:
            return text
        # Braces must be gone before httpx sees them: it would encode them.
        if text.count(KEY_PLACE) != 1:
            raise ValueError(
                "it does not say where the event's key goes, write {key} there, once, "
                "in the path or the query"
            )
        return _checked(text)

    @field_validator("secret")
    @classmethod
    def _can_sign(cls, secret: SecretStr | None) -> SecretStr | None:
        for text in secret.get_secret_value().split() if secret else ():
            _key(text)
        return secret

    @field_validator("headers")
    @classmethod
    def _can_be_sent(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        if len(headers) > HEADERS_MAX:
            raise ValueError(f"it has more than {HEADERS_MAX} headers")
        for name, value in headers.items():
            text = value.get_secret_value()
            if not _TOKEN.fullmatch(name) or name.lower() in OWN_HEADERS:
                raise ValueError(f"the header {name[:64]!r} cannot be set here, leave it out")
            if not (text.isascii() and text.isprintable() and len(text) <= HEADER_MAX):
                raise ValueError(f"the value of header {name!r} is no line of visible ASCII")
        return headers

    @model_validator(mode="after")
    def _agrees(self) -> WebhookSettings:
        if self.template and self.batch != 1:
            raise ValueError("a template posts events one by one, set WEBHOOK_BATCH to 1")
        if not self.template and (self.method != "POST" or "{" in self.url):
            raise ValueError(
                "another method or placeholders in the address need WEBHOOK_TEMPLATE, "
                "CloudEvents are posted to one address"
            )
        return self

    def hosts(self) -> frozenset[str]:
        """The receiver's, and the one that is asked."""
        return frozenset({host_of(self.url), host_of(self.look_up_url)} - {""})

    def secrets(self) -> tuple[str, ...]:
        """Signing secrets and further headers: whole, and word by word ('Bearer …')."""
        values = [value.get_secret_value() for value in self.headers.values()]
        if self.secret is not None:
            values.append(self.secret.get_secret_value())
        words = {word for value in values for word in value.split() if len(word) >= _WORD}
        return tuple(sorted({*filter(None, values), *words}, key=len, reverse=True))

    def signing_keys(self) -> tuple[bytes, ...]:
        """Keys of the signatures, newest first.

        'whsec_' and base64 is how Standard Webhooks writes one; anything else is the key.
        """
        return tuple(map(_key, self.secret.get_secret_value().split())) if self.secret else ()

    def look_up_address(self, key: str) -> str | None:
        """Where to ask for that event; None where the receiver cannot be asked."""
        if not self.look_up_url:
            return None
        return self.look_up_url.replace(KEY_PLACE, quote(key, safe=""))


_WORD = 8
"""A shorter word of a header is no secret, and would star half of an answer."""


def _checked(text: str) -> str:
    """The address; ValueError, which does not repeat it, where it is none."""
    try:
        plain = _PLACE.sub("k", text)
        url = httpx.URL(plain)
        parts = urlsplit(text)
        port_and_host_are_plain = not set(parts.netloc) & set("{}")
    except (httpx.InvalidURL, ValueError):
        raise ValueError("it is no web address, write https://host/path") from None
    if url.scheme not in {"http", "https"} or not url.host or url.fragment:
        raise ValueError("it is no web address, write https://host/path")
    if url.userinfo:
        raise ValueError(
            "it holds a user or password, leave it out: requests are signed with WEBHOOK_SECRET, "
            "and WEBHOOK_HEADERS may say who we are"
        )
    if not port_and_host_are_plain:
        raise ValueError("it has a placeholder in its host, put it in the path or the query")
    if url.scheme == "http" and url.host not in LOOPBACK:
        raise ValueError("it is not encrypted, write https:// (http is for loopback only)")
    return text


def _key(text: str) -> bytes:
    if not text.startswith(_WHSEC):
        key = text.encode()
    else:
        try:
            key = base64.b64decode(text.removeprefix(_WHSEC), validate=True)
        except (binascii.Error, ValueError):
            key = b""
    if len(key) not in _KEY_BYTES:
        raise ValueError(
            f"it is unusable, give {_KEY_BYTES.start} to {_KEY_BYTES.stop - 1} bytes, "
            "or whsec_ and as many in base64"
        )
    return key
