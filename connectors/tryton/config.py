"""Where Tryton is and who we are there."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from pydantic import SecretStr

from pipeline.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrytonConfig:
    """One Tryton database, one user.

    `url` is the server with the database's name as path. `company` is the company's name,
    needed only where the user's current company is not the one to work for. `timeout_s`
    is for each phase of a request, seconds; Tryton ends a read itself after 60
    (trytond/config.py, request.timeout) and a write after no limit.

    Raises SettingsError where the address or the user cannot be used.
    """

    url: str
    user: str
    password: SecretStr
    company: str | None = None
    timeout_s: float = 20.0

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except (httpx.InvalidURL, TypeError):
            url = httpx.URL("")
        path = url.path.strip("/")
        if url.scheme not in {"http", "https"} or not url.host or not path or "/" in path:
            # The text given is not repeated: it may hold a password.
            raise SettingsError(
                "TRYTON_URL is no address of a Tryton database: "
                "write http(s)://host:port/database-name."
            )
        if url.userinfo or url.query or url.fragment:
            raise SettingsError(
                "TRYTON_URL holds more than host, port and database name: "
                "give the user in TRYTON_USER and the password in TRYTON_PASSWORD."
            )
        if not self.user or ":" in self.user:
            raise SettingsError("TRYTON_USER is empty or has a colon: give a Tryton login.")

    @property
    def rpc_url(self) -> httpx.URL:
        """Address of JSON-RPC; without the last slash Tryton redirects (dispatcher.rpc)."""
        url = httpx.URL(self.url)
        return url.copy_with(path=f"/{url.path.strip('/')}/rpc/")


def from_settings(
    settings: Settings, *, company: str | None = None, timeout_s: float = 20.0
) -> TrytonConfig:
    """The configuration that the process's settings hold; SettingsError where it is unusable."""
    return TrytonConfig(
        url=settings.tryton_url,
        user=settings.tryton_user,
        password=settings.tryton_password,
        company=company,
        timeout_s=timeout_s,
    )
