"""The parts of one lake by its settings: where its objects are, and its tables."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from connectors.lake import cloud_store
from connectors.lake.base import ObjectStore, Table
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg import IcebergTable
from connectors.lake.local_store import LocalStore
from connectors.lake.store import S3Store
from pipeline.core.lake_columns import Dataset
from pipeline.settings import SettingsError
from pipeline.wire.lake import columns_of


def make_store(config: LakeConfig) -> ObjectStore:
    """The store that holds the lake's objects; SettingsError where its address has no store."""
    scheme = urlsplit(config.url).scheme
    if scheme == "s3":
        return S3Store(config)
    if scheme in cloud_store.SCHEMES:
        return cloud_store.CloudStore(config)
    if scheme == "file":
        return LocalStore(Path(unquote(urlsplit(config.url).path)))
    raise SettingsError(
        f"LAKE_URL begins with {scheme}://, and the lake is written to s3://, gs://, abfs:// or "
        "file:///: correct it."
    )


def make_table(config: LakeConfig, dataset: Dataset) -> Table | None:
    """The dataset's table; None where the lake has no catalogue (LAKE_CATALOG)."""
    if config.catalog is None:
        return None
    return IcebergTable(config, dataset, columns_of(dataset))
