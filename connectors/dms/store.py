"""What both bindings do, and a store that is spoken to by one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from connectors.base import Checked, Conversation, Delivery
from connectors.dms.answers import NO_RECORD
from connectors.dms.mapping import Document, closes
from pipeline.core.outcome import Delivered, LookUp, Outcome, Rejected

TRIES = 2
"""How often a change is begun where it changed meanwhile: then it is the event's own trouble."""


class Store(Protocol):
    """A repository by one binding."""

    def create(self, documents: Sequence[Document]) -> Conversation[Outcome]:
        """Bring them there, each at most once; the outcome is the last one's."""
        ...

    def change(self, one: Delivery, documents: Sequence[Document]) -> Conversation[Outcome]:
        """Make a new version of each; the last one must be there."""
        ...

    def look_up(self, one: Delivery, path: str) -> Conversation[LookUp]:
        """Whether the report at that path is there and shows the event, or a later one."""
        ...

    def check(self) -> Conversation[Sequence[Checked]]:
        """Whether we are let in, and what is needed is there. Only reads."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A document as it was read. `id` stays through all versions; `pwc` is its working copy."""

    id: str
    object_id: str
    version: str
    pwc: str = ""
    pwc_by: str = ""
    etag: str = ""


def one_by_one(
    documents: Sequence[Document], bring: Callable[[Document], Conversation[Outcome]]
) -> Conversation[Outcome]:
    """Each as long as the one before it was taken: the report, which is last, tells of all."""
    *before, report = documents
    for document in before:
        outcome = yield from bring(document)
        if not isinstance(outcome, Delivered):
            return outcome
    return (yield from bring(report))


def no_record(one: Delivery) -> Rejected:
    """A change of a document that is not there."""
    return Rejected(
        code=NO_RECORD.code,
        message="The repository does not have the report that this changes.",
        final=closes(one),
    )


TOLD_WRITING = "Rights to create and write show only when something is written."
