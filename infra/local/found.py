"""What other systems say they have of a run's events: asked by key, through their connectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.base import Delivery
from connectors.client import make_client
from connectors.exchange import Exchange, converse
from connectors.registry import has, make_connector
from infra.local.part import StackError
from pipeline.core.fates import Fate
from pipeline.core.outcome import Found, LookUp
from pipeline.ops.books import Books
from pipeline.ops.reconcile_sample import delivery
from pipeline.settings import Settings

BATCH = 100


async def found(settings: Settings, books: Books, sink: str) -> tuple[int, int]:
    """How many events were delivered there, and how many of them the system shows.

    StackError where it does not tell.
    """
    results = books.sinks[sink].results
    wanted = [
        _delivery(event, books.sources)
        for event in books.sinks[sink].accepted
        if results.get(event) == "delivered" and event not in books.changes
    ]
    shown = 0
    connector = make_connector(sink)
    async with make_client(sink) as client:
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            exchange: Exchange[Sequence[LookUp]] = await converse(
                lambda batch=batch: connector.look_up(batch),  # type: ignore[misc]
                client,
                request_s=settings.delivery_request_s,
                late=lambda: True,
            )
            if exchange.result is None:
                raise StackError(f"{sink} could not be asked ({exchange.bug or 'broken off'}).")
            shown += sum(isinstance(answer, Found) for answer in exchange.result)
    return len(wanted), shown


def others(books: Books, *known: str) -> list[str]:
    """Sinks of the run that have a connector and are not among the known ones."""
    return [sink for sink in books.sinks if sink not in known and has(sink)]


def _delivery(event_id: str, sources: Mapping[str, tuple[str, int, int]]) -> Delivery:
    device_id = sources[event_id][0] if event_id in sources else "/"
    fate = Fate(tenant=device_id.partition("/")[0], device_id=device_id, partition=0)
    return delivery(event_id, fate)
