"""Conversations with a document store, whichever binding it speaks. Pure.

    raise    a service report, and a snapshot of the readings where there are any
    update   a new version of both, still open
    clear    the last version, closed; another update after it opens it again

The report comes last, so where it shows an event, the snapshot does too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from connectors.base import Checked, Conversation, Delivery
from connectors.dms.answers import NAME
from connectors.dms.cmis import TITLE, Cmis
from connectors.dms.config import DmsSettings
from connectors.dms.mapping import REPORT, documents_of, folder_of, name_of, usable
from connectors.dms.session import Session
from connectors.dms.store import Store
from connectors.dms.webdav import WebDav
from connectors.fields import Policy
from connectors.mapped import in_order
from pipeline.core.events import Action
from pipeline.core.outcome import LookUp, NotFound, Outcome, Rejected


class DmsConnector:
    """The connector. Neither binding takes several documents in one request."""

    name = NAME
    batch_size = 1
    keyed = True

    def __init__(self, settings: DmsSettings, policy: Policy, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._policy = policy
        session = Session(settings, TITLE, clock)
        self._store: Store = Cmis(session) if settings.binding == "cmis" else WebDav(session)

    def deliver(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[Outcome]]:
        """One event's documents after the other's; one outcome per delivery, in order."""
        results: dict[str, Outcome] = {}
        for one in deliveries:
            if one.key not in results:
                results[one.key] = yield from self._deliver(one)
        return in_order(deliveries, results)

    def look_up(self, deliveries: Sequence[Delivery]) -> Conversation[Sequence[LookUp]]:
        """By the report's path; a change is there where the report shows it, or a later one."""
        answers: list[LookUp] = []
        for one in deliveries:
            if usable(one) is not None:
                answers.append(NotFound())
                continue
            path = f"{folder_of(one, self._settings)}/{name_of(one, REPORT, self._settings)}"
            answers.append((yield from self._store.look_up(one, path)))
        return answers

    def check(self) -> Conversation[Sequence[Checked]]:
        """Whether we are let in, and what is needed is there."""
        return (yield from self._store.check())

    def _deliver(self, one: Delivery) -> Conversation[Outcome]:
        made = documents_of(one, self._policy, self._settings)
        if isinstance(made, Rejected):
            return made
        if one.event.action is Action.RAISE:
            return (yield from self._store.create(made))
        return (yield from self._store.change(one, made))
