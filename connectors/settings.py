"""What every connector's settings have in common: where they come from, and how errors read.

Each system has a class of its own (connectors/<system>/config.py) whose fields are read from
the environment as <SYSTEM>_<FIELD>, then from .local/fieldline.env; `fieldline send --config`
and tests give values instead, by the fields' own names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from pipeline.settings import ENV_FILE, SettingsError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
NAME_MAX = 64


class ConnectorSettings(BaseSettings):
    """Settings that each system has. A subclass sets `env_prefix` and adds its own.

    Secrets are SecretStr.
    """

    model_config = SettingsConfigDict(
        env_file=ENV_FILE, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    url: str = Field("", description="Base address of the system.")
    timeout_s: float = Field(
        20.0,
        gt=0,
        le=600,
        description="Longest wait in each phase of a request (connecting, sending, reading), "
        "seconds.",
    )

    def hosts(self) -> frozenset[str]:
        """The only hosts that a request may go to; also of tokens."""
        return frozenset({host_of(self.url)})

    def secrets(self) -> tuple[str, ...]:
        """Every secret among the fields, in clear, so that answers can be cleaned of them."""
        found = (getattr(self, name) for name in type(self).model_fields)
        return tuple(
            text
            for one in found
            if hasattr(one, "get_secret_value")
            if (text := str(one.get_secret_value()))
        )


S = TypeVar("S", bound=ConnectorSettings)


def make(kind: type[S], values: Mapping[str, Any] | None = None, *, prefix: str | None = None) -> S:
    """Settings of that kind: `values`, then the environment; SettingsError in one sentence.

    Where values are given, .local/fieldline.env is not read: it is of the stack that runs here,
    and the values are of another system. `prefix` begins the variables' names, the kind's own
    by default.
    """
    prefix = str(kind.model_config.get("env_prefix", "")) if prefix is None else prefix
    unknown = sorted(map(str, set(values or {}) - set(kind.model_fields)))
    if unknown:
        raise SettingsError(
            f"There is no setting {unknown[0][:NAME_MAX]!r}: choose among "
            f"{', '.join(sorted(kind.model_fields))}."
        )
    try:
        source: dict[str, Any] = {"_env_prefix": prefix}
        if values is not None:
            source["_env_file"] = None
        made = kind(**source, **dict(values or {}))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"])
        variable = f"{prefix}{str(first['loc'][0]).upper()}" if name else ""
        where = f"setting {name[:NAME_MAX]} ({variable})" if name else f"the {prefix}* settings"
        what = str(first["msg"]).removeprefix("Value error, ").rstrip(".")
        raise SettingsError(f"Correct {where}: {what}.") from None
    except SourceError as error:
        # Its words name the field; what stands in the environment may be a secret.
        name = str(error).partition('field "')[2].partition('"')[0]
        raise SettingsError(
            f"Correct setting {name} ({prefix}{name.upper()}): it must be JSON."
        ) from None
    if not made.url:
        raise SettingsError(f"Set {prefix}URL: it is where the system is.")
    return made


def variables(kind: type[ConnectorSettings]) -> tuple[str, ...]:
    """Names of the environment variables that settings of that kind are read from, URL first."""
    prefix = str(kind.model_config.get("env_prefix", ""))
    fields = sorted(kind.model_fields, key=lambda name: name != "url")
    return tuple(f"{prefix}{name}".upper() for name in fields)


def web_address(text: str, *, path: bool = True) -> str:
    """A usable http(s) address without its last slash; ValueError with the mend otherwise.

    Clear http is for loopback only: anywhere else it would show credentials to the network.
    The text given is not repeated in errors, for it may hold a password.
    """
    try:
        parts = urlsplit(text)
        usable = bool(httpx.URL(text).host and parts.hostname and parts.port != 0)
    except (httpx.InvalidURL, ValueError):
        usable = False
    plain = text.isprintable() and not set(text) & set(" \\")
    if not usable or not plain or parts.scheme not in {"http", "https"}:
        raise ValueError("it is no web address, write https://host/path")
    if "@" in parts.netloc or set(text) & set("?#"):
        raise ValueError("it holds more than host, port and path: give credentials as settings")
    if parts.scheme == "http" and not stays_here(parts.hostname):
        raise ValueError("it is not encrypted: write https:// (http is for loopback only)")
    if not path and parts.path.strip("/"):
        raise ValueError("it has a path: give scheme, host and port only")
    return text.rstrip("/")


def stays_here(host: str | None) -> bool:
    """Loopback, and names that no public server can have (RFC 6761, 6.2 and 6.3)."""
    return host in LOOPBACK or (host or "").endswith((".test", ".localhost"))


def host_of(url: str) -> str:
    """Host of an address, in lower case; '' where it is none.

    Of both ways to write a name beyond ASCII (RFC 5890) it is the one that people read.
    """
    try:
        return httpx.URL(url).host
    except (httpx.InvalidURL, ValueError):
        return ""
