"""Every warehouse by its name: its dialect, and the load that speaks it."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Literal, Protocol, TypeVar
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_settings import SettingsError as SourceError

from connectors.lake.config import LakeConfig
from connectors.settings import ConnectorSettings, make
from connectors.warehouse import redshift, snowflake, tsql
from connectors.warehouse.base import Entry, Halt, LakeSide, Result, Retry, Session, Warehouse
from connectors.warehouse.bigquery import BigQueryLoad
from connectors.warehouse.bigquery_api import BigQueryApi, read_key
from connectors.warehouse.bigquery_sql import BigQuerySql
from connectors.warehouse.config import (
    BigQuerySettings,
    FabricSettings,
    RedshiftSettings,
    SnowflakeSettings,
    SynapseSettings,
)
from connectors.warehouse.dialects import Dialect
from connectors.warehouse.sql_load import SqlLoad
from pipeline.core.lake_columns import Column
from pipeline.settings import SettingsError

S = TypeVar("S", bound=ConnectorSettings)

TESTED = {
    Warehouse.SNOWFLAKE: snowflake.Snowflake.tested,
    Warehouse.BIGQUERY: BigQuerySql.tested,
    Warehouse.REDSHIFT: redshift.Redshift.tested,
    Warehouse.SYNAPSE: tsql.Synapse.tested,
    Warehouse.FABRIC: tsql.Fabric.tested,
}
"""Against what each was run."""
_READS = {
    Warehouse.BIGQUERY: ("gs",),
    Warehouse.REDSHIFT: ("s3",),
    Warehouse.SYNAPSE: ("https",),
    Warehouse.FABRIC: ("https",),
    Warehouse.SNOWFLAKE: ("s3", "gs", "gcs", "azure", "abfs", "abfss"),
}
"""Where each can read from."""


class Load(Protocol):
    """What both kinds of load can do. Nothing here raises but SettingsError."""

    def load(self, lake: LakeSide, columns: Sequence[Column], *, anew: bool = False) -> Result:
        """Bring the table to the lake's snapshot."""
        ...

    def check(self, lake: LakeSide) -> Result:
        """Compare all dates."""
        ...

    def ledger(self, lake: LakeSide) -> tuple[Entry, ...] | Retry | Halt:
        """What was loaded when."""
        ...

    def forget(self, lake: LakeSide, device: str) -> Retry | Halt | None:
        """Delete a device's rows."""
        ...


def dialect_of(
    warehouse: Warehouse, lake: LakeConfig, put: Callable[[str, bytes], None]
) -> Dialect:
    """The dialect with the settings of the environment. `put` writes below the lake's root."""
    match warehouse:
        case Warehouse.SNOWFLAKE:
            return snowflake.Snowflake(
                _settings(SnowflakeSettings), _address(warehouse, "", lake.url)
            )
        case Warehouse.BIGQUERY:
            google = _settings(BigQuerySettings)
            return BigQuerySql(google, _address(warehouse, google.lake_url, lake.url))
        case Warehouse.REDSHIFT:
            amazon = _settings(RedshiftSettings)
            return redshift.Redshift(amazon, _address(warehouse, amazon.lake_url, lake.url), put)
        case Warehouse.SYNAPSE:
            pool = _settings(SynapseSettings)
            return tsql.Synapse(pool, _address(warehouse, pool.lake_url, lake.url))
        case Warehouse.FABRIC:
            fabric = _settings(FabricSettings)
            return tsql.Fabric(fabric, _address(warehouse, fabric.lake_url, lake.url))


def load_of(warehouse: Warehouse, lake: LakeConfig, put: Callable[[str, bytes], None]) -> Load:
    """The load with the settings of the environment; it connects at each call."""
    now, token = _now, partial(secrets.token_hex, 4)
    if warehouse is Warehouse.BIGQUERY:
        settings = _settings(BigQuerySettings)
        if not settings.project:
            raise SettingsError("Set BIGQUERY_PROJECT: the project that holds the data.")
        key = read_key(settings)
        return BigQueryLoad(
            settings,
            _address(warehouse, settings.lake_url, lake.url),
            lambda: BigQueryApi(settings, key, clock=time.time, sleep=time.sleep),
            now=now,
            token=token,
        )
    dialect = dialect_of(warehouse, lake, put)
    return SqlLoad(dialect, _sessions(warehouse), now=now, token=token)


def _sessions(
    warehouse: Literal[
        Warehouse.SNOWFLAKE, Warehouse.REDSHIFT, Warehouse.SYNAPSE, Warehouse.FABRIC
    ],
) -> Callable[[], Session]:
    """What connects to a warehouse that speaks SQL."""
    match warehouse:
        case Warehouse.SNOWFLAKE:
            return partial(snowflake.connect, _settings(SnowflakeSettings))
        case Warehouse.REDSHIFT:
            return partial(redshift.connect, _settings(RedshiftSettings))
        case Warehouse.SYNAPSE:
            return partial(tsql.connect, _settings(SynapseSettings), "SYNAPSE_")
        case Warehouse.FABRIC:
            return partial(tsql.connect, _settings(FabricSettings), "FABRIC_")


def _settings(kind: type[S]) -> S:
    try:
        return kind()
    except (ValidationError, SourceError):
        return make(kind)  # which says it in one sentence


def _address(warehouse: Warehouse, told: str, lake_url: str) -> str:
    """The lake as the warehouse sees it."""
    address = (told or lake_url).rstrip("/")
    if urlsplit(address).scheme not in _READS[warehouse]:
        prefix = warehouse.value.upper()
        mend = (
            "the stage reads s3://, gs:// or Azure"
            if warehouse is Warehouse.SNOWFLAKE
            else f"set {prefix}_LAKE_URL to where it sees the lake's files"
        )
        raise SettingsError(
            f"{warehouse.value} cannot read a lake at {urlsplit(address).scheme}://: {mend}."
        )
    return address


def _now() -> str:
    return datetime.now(tz=UTC).strftime("%Y-%m-%d %H:%M:%S")
