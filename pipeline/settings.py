"""Where the parts are. Read from the environment, then from .local/fieldline.env.

The local stack writes that file, so that any command typed in the checkout finds the
stack that runs there. Secrets are SecretStr: they print as stars.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

ENV_FILE = Path(".local/fieldline.env")


class SettingsError(Exception):
    """The configuration cannot be used; the text is one sentence with the mend."""


class Settings(BaseSettings):
    """All settings. Names in capitals are environment variables."""

    model_config = SettingsConfigDict(
        env_prefix="FIELDLINE_",
        env_file=ENV_FILE,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    kafka_bootstrap: str = Field("127.0.0.1:9092", validation_alias="KAFKA_BOOTSTRAP")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", validation_alias="KAFKA_SECURITY_PROTOCOL"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "PLAIN", validation_alias="KAFKA_SASL_MECHANISM"
    )
    kafka_username: str | None = Field(None, validation_alias="KAFKA_USERNAME")
    kafka_password: SecretStr | None = Field(None, validation_alias="KAFKA_PASSWORD")
    kafka_ca_file: Path | None = Field(None, validation_alias="KAFKA_CA_FILE")
    """Certificates (PEM) that sign the brokers'; None = the system's."""
    mqtt_url: str = Field("mqtt://127.0.0.1:1883", validation_alias="MQTT_URL")
    """mqtt://[user:password@]host:port, or mqtts:// for TLS."""
    redis_url: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"), validation_alias="REDIS_URL"
    )
    s3_endpoint: str | None = Field(None, validation_alias="S3_ENDPOINT")
    """None = AWS itself."""
    s3_bucket: str = Field("fieldline", validation_alias="S3_BUCKET")
    s3_region: str = Field(
        "us-east-1", validation_alias=AliasChoices("S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION")
    )
    s3_access_key: str | None = Field(
        None, validation_alias=AliasChoices("S3_ACCESS_KEY", "AWS_ACCESS_KEY_ID")
    )
    s3_secret_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("S3_SECRET_KEY", "AWS_SECRET_ACCESS_KEY")
    )
    lake_url: str | None = Field(None, validation_alias="LAKE_URL")
    """Root of the lake: s3://bucket (as S3_BUCKET says where this is not set), gs://bucket,
    abfs://container, file:///folder."""
    lake_catalog: SecretStr | None = Field(None, validation_alias="LAKE_CATALOG")
    """Catalogue of the lake's Iceberg tables: a SQLAlchemy address (sqlite:///…, postgresql://…)
    or http(s) of a REST catalogue. Without one there are the files alone."""
    schema_registry_url: str | None = Field(None, validation_alias="SCHEMA_REGISTRY_URL")

    partitions: int = Field(4, ge=1, le=10_000)
    """Partitions of the device-keyed topics, when they are created."""
    replication: int = Field(1, ge=1, le=15)
    rules_file: Path = Path("infra/config/rules.yaml")
    routes_file: Path = Path("infra/config/routes.yaml")
    devices_file: Path = Path("infra/config/devices.csv")
    sinks_file: Path = Path("infra/config/sinks.yaml")
    """How each sink is delivered to: retries, breaker, limits, retention."""
    data_dir: Path = Path(".local/state")
    """Where workers keep their RocksDB tables; one folder per worker below it."""
    log_dir: Path = Path(".local/log")

    dedup_window: int = Field(128, ge=8, le=65_536)
    """Sequence numbers per device and session within which dedup is exact."""
    bridge_batch_readings: int = Field(1_000, ge=1, le=100_000)
    bridge_linger_ms: int = Field(50, ge=1, le=60_000)
    bridge_max_payload: int = Field(262_144, ge=1)
    """Greatest MQTT payload that is decoded, bytes; a larger one is quarantined."""
    delivery_request_s: float = Field(20.0, gt=0)
    """Longest wait for one answer of a target, seconds."""
    delivery_settle_s: float = Field(30.0, gt=0)
    """Wait before looking up an unknown outcome, seconds: longer than delivery_request_s and
    than the target's own request time-out."""
    api_token: SecretStr | None = None
    """Bearer token of `fieldline identity serve`; 16 characters or more."""
    operator: str = ""
    """Who types the commands, for the audit trail; empty = the user of this machine."""
    metrics_port: int = Field(0, ge=0, le=65_535)
    """Port on 127.0.0.1 where the reconciler shows its metrics; 0 = nowhere."""
    reconcile_s: float = Field(3_600.0, ge=1)
    """How often the reconciler compares with the targets, seconds."""
    reconcile_sample: int = Field(200, ge=1, le=10_000)
    """Delivered events of each sink that it looks up each time."""
    lake_flush_rows: int = Field(1_000_000, ge=1)
    lake_flush_mb: int = Field(64, ge=1, le=65_536)
    lake_flush_s: float = Field(5.0, gt=0)
    """Rotation: a range of a partition's offsets is closed, and a file made of it for each event
    date, at so many rows, MB in memory or seconds since its first message, at 64 dates, or
    where lake_memory_mb is reached; whichever is first. The claim fixes where it was closed, so a
    replay makes the same files or none, and a partition that goes quiet is closed by its age. In
    production let it be minutes: fewer, larger files come of it."""
    lake_memory_mb: int = Field(256, ge=16, le=65_536)
    """What an archive worker may hold of messages that wait for the lake and of files on their
    way, MB, whatever the number of partitions and dates. Once it is reached nothing is read
    until the largest buffer is in the lake. Beside it come about 300 bytes for each row of the
    one range that is being made into files, and ranges that a worker had claimed that died."""
    lake_target_mb: int = Field(128, ge=1, le=1_024)
    """Size of the files that `fieldline lake compact` makes of small ones, MB."""
    lake_compact_after_days: int = Field(1, ge=0, le=3_650)
    """Compaction leaves dates alone until they are over for so many days: late data comes."""
    lake_grace_h: float = Field(24.0, ge=0, le=8_760)
    """So long after a file was replaced a reader may still be at it; then expire deletes it, hours.
    Until then whoever reads the folders without the table sees its rows twice."""
    lake_telemetry_days: int = Field(0, ge=0, le=36_500)
    lake_events_days: int = Field(0, ge=0, le=36_500)
    lake_deliveries_days: int = Field(0, ge=0, le=36_500)
    lake_quarantine_days: int = Field(0, ge=0, le=36_500)
    """How long each dataset is kept, days of event time; 0 = for ever."""
    stall_s: float = Field(60.0, ge=5)
    """A worker ends itself when a partition with work has stood still for so long, seconds."""
    recovery_s: float = Field(300.0, ge=5)
    """A worker ends itself when a rebalance with its table recovery takes longer, seconds."""


@lru_cache(maxsize=1)
def load() -> Settings:
    """The settings of this process; SettingsError with one sentence where one is unusable."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"Setting {name} is unusable ({first['msg']}): "
            f"correct it in the environment or in {ENV_FILE}."
        ) from error
