"""The codec that the settings ask for: with a schema registry where one is configured."""

from __future__ import annotations

from pipeline.settings import Settings, SettingsError
from pipeline.wire.avro import Codec


def make_codec(settings: Settings) -> Codec:
    """Codec for `settings`; SettingsError where the registry's client is not installed."""
    if settings.schema_registry_url is None:
        return Codec()
    try:
        from pipeline.wire.registry import ConfluentRegistry  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SettingsError(
            "SCHEMA_REGISTRY_URL is set and its client is not installed: "
            "install fieldline with the extra 'registry', or unset it."
        ) from error
    return Codec(ConfluentRegistry(settings.schema_registry_url))
