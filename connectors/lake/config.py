"""Where the lake is and how patiently it is spoken to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from pipeline.settings import Settings

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeConfig:
    """Where the lake is: `url` is its root, s3://bucket, gs://, abfs:// or file:///folder.

    `catalog` is the address of the Iceberg catalogue, None where the lake has no tables: a
    SQLAlchemy address, or http(s) of a REST catalogue (connectors.lake.catalog says how it
    carries a name, a secret and a warehouse). It may carry a password. For S3,
    `endpoint` None is AWS; keys None are botocore's own chain (role, profile).

    `connect_s` and `read_s` bound one attempt, `attempts` their number in one call and
    `call_s` the whole call: past that it is an Unavailable and the caller decides.
    """

    url: str
    catalog: SecretStr | None
    endpoint: str | None
    region: str
    access_key: str | None
    secret_key: SecretStr | None
    connect_s: float = 2.0
    read_s: float = 10.0
    attempts: int = 2
    call_s: float = 25.0

    @classmethod
    def from_settings(cls, settings: Settings) -> LakeConfig:
        """The lake of these settings."""
        return cls(
            url=(settings.lake_url or f"s3://{settings.s3_bucket}").rstrip("/"),
            catalog=settings.lake_catalog,
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key,
        )

    @property
    def bucket(self) -> str:
        """Bucket of an s3:// address."""
        return urlsplit(self.url).netloc

    def io_properties(self) -> dict[str, str]:
        """Properties of pyiceberg's FileIO. They hold the secret: never log them."""
        secret = None if self.secret_key is None else self.secret_key.get_secret_value()
        told = {
            "s3.endpoint": self.endpoint,
            "s3.region": self.region,
            "s3.access-key-id": self.access_key,
            "s3.secret-access-key": secret,
            "s3.connect-timeout": str(self.connect_s),
            "s3.request-timeout": str(self.read_s),
        }
        return {name: value for name, value in told.items() if value is not None}

    @staticmethod
    def is_loopback(address: str) -> bool:
        """Whether an http(s) address is on this machine, where no proxy has a way to."""
        return urlsplit(address).hostname in _LOOPBACK

    def s3fs_arguments(self) -> dict[str, Any]:
        """Arguments of s3fs.S3FileSystem. They hold the secret: never log them.

        Listings are not cached: another writer's claim must be seen at once. The instance
        is not shared either, fsspec would hand out one made for another event loop.
        """
        config: dict[str, Any] = {
            "connect_timeout": self.connect_s,
            "read_timeout": self.read_s,
            "retries": {"total_max_attempts": self.attempts, "mode": "standard"},
        }
        if self.endpoint is not None:
            # Servers other than AWS seldom have a DNS name per bucket.
            config["s3"] = {"addressing_style": "path"}
            if self.is_loopback(self.endpoint):
                config["proxies"] = {}
        return {
            "key": self.access_key,
            "secret": None if self.secret_key is None else self.secret_key.get_secret_value(),
            "endpoint_url": self.endpoint,
            "client_kwargs": {"region_name": self.region, "verify": True},
            "config_kwargs": config,
            "use_listings_cache": False,
            "skip_instance_cache": True,
        }
