"""Where the receiver is and what we sign with."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from pipeline.settings import Settings, SettingsError

BATCH_MAX = 200
"""Most events in one request."""
KEY_PLACE = "{key}"
_WHSEC = "whsec_"
_KEY_BYTES = range(16, 129)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """One receiver.

    `url` takes the posts; it stays out of reprs, for such addresses often carry a token.
    `secret` is what both signatures are made with; several with blanks between while one
    replaces another; None = not signed. `look_up_url` has {key} where an event's key goes;
    None = the receiver cannot be asked. `batch` above 1 posts so many events in one request.
    `keyed`: the receiver keeps an event to once, by Idempotency-Key or by the event's own id
    in a batch. `timeout_s` is for each phase of a request, seconds.

    Raises SettingsError where something of this cannot be used.
    """

    url: str = field(repr=False)
    secret: SecretStr | None = None
    look_up_url: str | None = field(default=None, repr=False)
    batch: int = 1
    keyed: bool = True
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        _check_address("WEBHOOK_URL", self.url)
        if self.look_up_url is not None:
            # Braces must be gone before httpx sees them: it would encode them.
            if self.look_up_url.count(KEY_PLACE) != 1:
                raise SettingsError(
                    "WEBHOOK_LOOK_UP_URL does not say where the event's key goes: "
                    "write {key} there, once."
                )
            _check_address("WEBHOOK_LOOK_UP_URL", self.look_up_url.replace(KEY_PLACE, "k"))
            if (
                httpx.URL(self.look_up_url.replace(KEY_PLACE, "k")).host
                != httpx.URL(self.look_up_url.replace(KEY_PLACE, "other")).host
            ):
                raise SettingsError(
                    "WEBHOOK_LOOK_UP_URL has {key} in its host: put it in the path or the query."
                )
        if not 1 <= self.batch <= BATCH_MAX:
            raise SettingsError(f"WEBHOOK_BATCH is {self.batch}: give 1 to {BATCH_MAX}.")
        if not self.timeout_s > 0:
            raise SettingsError("WEBHOOK_TIMEOUT_S is not above zero: give seconds, say 20.")
        self.signing_keys()

    def signing_keys(self) -> tuple[bytes, ...]:
        """Keys of the signatures, newest first; SettingsError where one is unusable.

        'whsec_' and base64 is how Standard Webhooks writes one; anything else is the key.
        """
        if self.secret is None:
            return ()
        return tuple(_key(text) for text in self.secret.get_secret_value().split())

    def look_up_address(self, key: str) -> str | None:
        """Where to ask for that event; None where the receiver cannot be asked."""
        if self.look_up_url is None:
            return None
        return self.look_up_url.replace(KEY_PLACE, quote(key, safe=""))


def from_settings(settings: Settings) -> WebhookConfig:
    """The configuration that the process's settings hold; SettingsError where it is unusable."""
    return WebhookConfig(
        url=settings.webhook_url,
        secret=settings.webhook_secret,
        look_up_url=settings.webhook_look_up_url or None,
        batch=settings.webhook_batch,
        keyed=settings.webhook_keyed,
        timeout_s=settings.webhook_timeout_s,
    )


def _check_address(name: str, text: str) -> None:
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    # The text given is not repeated: it may hold a token.
    if url.scheme not in {"http", "https"} or not url.host or url.fragment:
        raise SettingsError(f"{name} is no web address: write http(s)://host/path.")
    if url.userinfo:
        raise SettingsError(
            f"{name} holds a user or password: leave it out, requests are signed with "
            "WEBHOOK_SECRET instead."
        )


def _key(text: str) -> bytes:
    if not text.startswith(_WHSEC):
        key = text.encode()
    else:
        try:
            key = base64.b64decode(text.removeprefix(_WHSEC), validate=True)
        except (binascii.Error, ValueError):
            key = b""
    if len(key) not in _KEY_BYTES:
        raise SettingsError(
            f"WEBHOOK_SECRET is unusable: give {_KEY_BYTES.start} to {_KEY_BYTES.stop - 1} bytes, "
            "or whsec_ and as many in base64."
        )
    return key
