"""The catalogue that knows the lake's Iceberg tables: SQL by default, REST by setting.

`LAKE_CATALOG` is a SQLAlchemy address (sqlite:///…, postgresql+psycopg2://…) or that of an
Iceberg REST catalogue: https://[CLIENT:SECRET@]HOST[/PATH][?warehouse=NAME]. A client and secret
are OAuth2 client credentials, a secret alone (https://:TOKEN@HOST) is a bearer token.

Whatever waits here waits for a stated time: pyiceberg itself sets no limit to a REST request,
and DBAPI drivers none to a connection.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

import s3fs
from aiohttp import ClientError
from botocore.exceptions import BotoCoreError
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    RESTError,
    TableAlreadyExistsError,
)
from pyiceberg.io.fsspec import FsspecFileIO
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from connectors.lake.config import LakeConfig
from pipeline.settings import SettingsError

NAMESPACE: Final = "fieldline"

RACE: Final = (CommitFailedException, TableAlreadyExistsError, NamespaceAlreadyExistsError)
"""Somebody else was first."""
TROUBLE: Final = (
    *(OSError, TimeoutError, SQLAlchemyError, RESTError, NoSuchNamespaceError),
    *(BotoCoreError, ClientError),
)
"""What catalogue and store raise when they are away or refuse; it is tried again."""

_CONNECT: Final = "fieldline.connect-s"
_READ: Final = "fieldline.read-s"
_S3_TRIES: Final = 2
"""s3fs tries a request five times by itself, and botocore under it five times more."""

__all__ = ["NAMESPACE", "RACE", "TROUBLE", "NoSuchTableError", "is_rest", "open_catalog"]


def is_rest(config: LakeConfig) -> bool:
    """Whether the catalogue is a REST catalogue: it then keeps the metadata where it likes."""
    address = "" if config.catalog is None else config.catalog.get_secret_value()
    return address.startswith(("http://", "https://"))


def open_catalog(config: LakeConfig) -> Catalog:
    """The catalogue of this lake, with its namespace; it raises what pyiceberg does.

    SettingsError where the lake has none.
    """
    if config.catalog is None:
        raise SettingsError("The lake has no tables: set LAKE_CATALOG to the catalogue's address.")
    address = config.catalog.get_secret_value()
    properties: dict[str, Any] = {
        "warehouse": config.url,
        "py-io-impl": "connectors.lake.catalog.LakeFileIO",
        _CONNECT: str(config.connect_s),
        _READ: str(config.read_s),
        **config.io_properties(),
    }
    catalog = _rest(address, properties) if is_rest(config) else _sql(address, properties, config)
    with contextlib.suppress(*RACE):
        catalog.create_namespace_if_not_exists(NAMESPACE)
    return catalog


def _rest(address: str, properties: dict[str, Any]) -> Catalog:
    # Through load_catalog: what a REST catalogue may want besides (scope, TLS, SigV4) is
    # pyiceberg's own configuration.
    parts = urlsplit(address)
    told = {"py-catalog-impl": "connectors.lake.catalog.RestCatalogue"}
    told["uri"] = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
    client, secret = unquote(parts.username or ""), unquote(parts.password or "")
    if client:
        told["credential"] = f"{client}:{secret}" if secret else client
    elif secret:
        told["token"] = secret
    for warehouse in parse_qs(parts.query).get("warehouse", ()):
        told["warehouse"] = warehouse
    return load_catalog(NAMESPACE, **(properties | told))


def _sql(address: str, properties: dict[str, Any], config: LakeConfig) -> Catalog:
    url = make_url(address)
    bounded = url.update_query_dict(
        {name: one for name, one in _limits(url, config).items() if name not in url.query}
    ).render_as_string(hide_password=False)
    catalog = SqlCatalog(NAMESPACE, **(properties | {"uri": bounded}))
    if url.get_backend_name() == "sqlite":
        # A connection that is kept would go on with a file that was removed or put back.
        catalog.engine.dispose()
        catalog.engine = create_engine(bounded, poolclass=NullPool)
    return catalog


def _limits(url: URL, config: LakeConfig) -> dict[str, str]:
    """How long the driver may wait, in its own words."""
    if url.get_backend_name() == "sqlite":
        return {"timeout": str(config.read_s)}
    if url.get_backend_name() == "postgresql" and "psycopg" in url.get_driver_name():
        read_ms = round(config.read_s * 1000)
        return {
            "connect_timeout": str(max(round(config.connect_s), 2)),
            "tcp_user_timeout": str(read_ms),
            "options": f"-c statement_timeout={read_ms} -c lock_timeout={read_ms}",
        }
    if url.get_backend_name() in {"mysql", "mariadb"}:
        read = str(round(config.read_s))
        return {"connect_timeout": read, "read_timeout": read, "write_timeout": read}
    return {}


class LakeFileIO(FsspecFileIO):
    """pyiceberg's files, with our patience and our way to the loopback."""

    def _get_fs(self, scheme: str, hostname: str | None = None) -> Any:  # noqa: ANN401 - fsspec's
        fs = super()._get_fs(scheme, hostname)
        # A folder that was listed once would else be taken for all there ever is: what another
        # worker writes into it would not be found.
        fs.dircache.use_listings_cache = False
        if isinstance(fs, s3fs.S3FileSystem):
            # Before its first request: only then it makes a client of these.
            fs.retries = _S3_TRIES
            fs.config_kwargs["retries"] = {"total_max_attempts": 1, "mode": "standard"}
            if LakeConfig.is_loopback(str(self.properties.get("s3.endpoint", ""))):
                fs.config_kwargs["proxies"] = {}
        return fs


class RestCatalogue(RestCatalog):
    """pyiceberg's REST catalogue, whose requests end."""

    def _config_headers(self, session: Session) -> None:
        # The first step of making a session: the token is asked for right after it.
        super()._config_headers(session)
        patience = (float(self.properties[_CONNECT]), float(self.properties[_READ]))
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Patient(patience))


class _Patient(HTTPAdapter):
    """Requests with a limit (connect, read; seconds) where they have none."""

    def __init__(self, patience: tuple[float, float]) -> None:
        super().__init__()
        self._patience = patience

    def send(self, request: PreparedRequest, *arguments: Any, **named: Any) -> Response:  # noqa: ANN401 - requests'
        if named.get("timeout") is None:
            named["timeout"] = self._patience
        return super().send(request, *arguments, **named)
