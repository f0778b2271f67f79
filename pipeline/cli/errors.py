"""Errors for people: one sentence, what is wrong and how to mend it."""

from __future__ import annotations

from aiokafka.errors import KafkaConnectionError, KafkaError
from redis.exceptions import RedisError

from pipeline.bridge.mqtt import RefusedError
from pipeline.settings import ENV_FILE, Settings, SettingsError
from pipeline.state.rules_file import RulesFileError

_HINT = (
    f"start the local stack with `make run`, or set the address in the environment or {ENV_FILE}"
)


def sentence(error: Exception, settings: Settings | None) -> str | None:
    """What to tell the person, or None for an error that is a defect of ours."""
    if isinstance(error, (SettingsError, RulesFileError, RefusedError)):
        return str(error)
    kafka = settings.kafka_bootstrap if settings else "the configured address"
    if isinstance(error, KafkaConnectionError):
        return f"Kafka does not answer at {kafka}: {_HINT} (KAFKA_BOOTSTRAP)."
    if isinstance(error, KafkaError):
        return f"Kafka at {kafka} refused ({type(error).__name__}): {error}."
    if isinstance(error, LookupError) and error.args and isinstance(error.args[0], str):
        return f"Topic {error.args[0]} is not on {kafka}: run `fieldline topics create` first."
    if isinstance(error, RedisError):
        return f"The ledger's Redis does not answer ({type(error).__name__}): {_HINT} (REDIS_URL)."
    return None
