"""A producer for loads that outlive their broker: thrown away at a failure, made anew after it."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from pipeline.settings import Settings
from pipeline.wire import kafka


class Renewed:
    """At most one producer at a time. After `drop` nothing of the one before is sent any more."""

    def __init__(self, settings: Settings, *, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._now: AIOKafkaProducer | None = None

    async def get(self) -> AIOKafkaProducer:
        """One that is connected; KafkaError or OSError where the broker is away."""
        if self._now is None:
            client = kafka.producer(self._settings, client_id=self._client_id)
            try:
                await client.start()
                self._now = client
            finally:
                if self._now is None:  # a cancellation, too, must not leave it open
                    await kafka.abandon(client)
        return self._now

    async def drop(self) -> None:
        """Throw the present one away."""
        client, self._now = self._now, None
        if client is not None:
            await kafka.abandon(client)
