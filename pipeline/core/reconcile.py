"""Comparing the books with the targets: what to look at, and what to say of what was seen. Pure.

| kind | what was seen |
|---|---|
| missing_at_target | the books say delivered, and the target does not have it |
| unknown_at_ledger | the target has a record of ours that neither books nor ledger know |
| doubled_at_target | the target has two records with one key |
| stuck_in_flight | the ledger's row is in flight or unknown for long, and no worker waits with it |
| balance | a line of the balance does not close |

A mismatch has the same id whenever it is seen. It is open until a look that would have seen it
does not, or until a person resolves it; one that was resolved is not opened again while it says
the same as it did then.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pipeline.core.fates import StageLine

HOUR_MS = 3_600_000
STUCK_MS = HOUR_MS
"""How long a ledger row may be in flight or unknown."""
OPEN_MAX = 1_000
"""Most mismatches of one kind and sink that are written in one pass."""
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


class Kind(StrEnum):
    """What is wrong."""

    MISSING_AT_TARGET = "missing_at_target"
    UNKNOWN_AT_LEDGER = "unknown_at_ledger"
    DOUBLED_AT_TARGET = "doubled_at_target"
    STUCK_IN_FLIGHT = "stuck_in_flight"
    BALANCE = "balance"


class State(StrEnum):
    """Whether a mismatch is still seen."""

    OPEN = "open"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One mismatch; fields as in schemas/avro/review_item.

    `detail` tells no age, so that the same mismatch says the same at each look.
    """

    kind: Kind
    sink: str
    subject: str
    detail: str
    event_id: str | None = None
    target_id: str | None = None

    @property
    def id(self) -> str:
        """Same mismatch, same id: 120 bits of SHA-256, base32, 24 characters."""
        text = f"{self.kind}\x1f{self.sink}\x1f{self.subject}"
        digest = hashlib.sha256(text.encode()).digest()
        return base64.b32encode(digest[:15]).decode().lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A mismatch as it stands in operations.review. `at_ms` is of its last change."""

    finding: Finding
    state: State
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of ours as the target lists it. `id` rises in the order of creation."""

    key: str
    id: int


def settle(
    known: Mapping[str, Item],
    found: Sequence[Finding],
    *,
    looked: Callable[[Finding], bool],
    resolved: Mapping[str, int],
    now_ms: int,
) -> list[Item]:
    """What to write after a look: mismatches that are new or say something else, and those gone.

    `known` are the items by id as they were written last; `looked` says whether this look
    would have found that mismatch again; `resolved` has by id when a person resolved it.
    """
    out: list[Item] = []
    seen: set[str] = set()
    for finding in found:
        if finding.id in seen:
            continue
        seen.add(finding.id)
        item = known.get(finding.id)
        same = item is not None and item.finding.detail == finding.detail
        if item and same and (item.state is State.OPEN or resolved.get(finding.id) == item.at_ms):
            continue
        out.append(Item(finding=finding, state=State.OPEN, at_ms=now_ms))
    for key, item in known.items():
        if key in seen or not looked(item.finding):
            continue
        # A resolved one is written once more: should it come back, it is opened again.
        if item.state is State.OPEN or resolved.get(key) == item.at_ms:
            out.append(Item(finding=item.finding, state=State.GONE, at_ms=now_ms))
    return out


def hour_seed(now_ms: int) -> int:
    """The seed of the sample: another one each hour, the same within it."""
    return now_ms // HOUR_MS


def probes(seed: int, sink: str, count: int) -> list[str]:
    """`count` places among the event ids of a sink, evenly spread and the same for one seed.

    Event ids are base32 of a hash, so the rows that follow these places are a fair sample.
    """
    out = []
    for n in range(count):
        digest = hashlib.sha256(f"{seed}\x1f{sink}\x1f{n}".encode()).digest()
        out.append("".join(_ALPHABET[byte & 31] for byte in digest[:8]))
    return sorted(out)


def missing_at_target(sink: str, event_id: str, target_id: str, action: str) -> Finding:
    """The target does not have what was delivered."""
    what = "the record" if action == "raise" else f"the {action}"
    known = f" ({what} was {target_id})" if target_id else ""
    return Finding(
        kind=Kind.MISSING_AT_TARGET,
        sink=sink,
        subject=event_id,
        event_id=event_id,
        target_id=target_id or None,
        detail=(
            f"{sink} has confirmed event {event_id} and does not have it any more{known}: ask who "
            "deleted or changed it there, and enter it again by hand if it is still needed."
        ),
    )


def not_listed_by_us(
    sink: str,
    records: Iterable[Record],
    *,
    known: Callable[[str], bool],
    first: Callable[[Record], int],
    since: int,
) -> list[Finding]:
    """Mismatches among records that the target lists, ids rising.

    `known` says whether books or ledger know a key; `first` gives the id of the first record
    with a record's key. Records below `since` are older than the books: nothing is known of
    them, so that they are only looked at for doubles.
    """
    out = []
    for record in records:
        before = first(record)
        if before != record.id:
            out.append(doubled(sink, record, before))
        elif record.id >= since and not known(record.key):
            out.append(unknown(sink, record))
    return out


def unknown(sink: str, record: Record) -> Finding:
    """A record of ours that we know nothing of."""
    return Finding(
        kind=Kind.UNKNOWN_AT_LEDGER,
        sink=sink,
        subject=str(record.id),
        event_id=record.key or None,
        target_id=str(record.id),
        detail=(
            f"{sink} has record {record.id} with our mark and key {record.key!r}, which neither "
            "the books nor the ledger know: ask who made it, and delete or rename it there."
        ),
    )


def doubled(sink: str, record: Record, before: int) -> Finding:
    """A second record with a key."""
    return Finding(
        kind=Kind.DOUBLED_AT_TARGET,
        sink=sink,
        subject=str(record.id),
        event_id=record.key or None,
        target_id=str(record.id),
        detail=(
            f"{sink} has records {before} and {record.id} with the same key {record.key!r}: "
            f"close one of them there ({before} was first)."
        ),
    )


def stuck(sink: str, key: str, *, state: str, owner: str, since: str) -> Finding:
    """A ledger row that nobody brings to an end. `since` is an instant for a person."""
    return Finding(
        kind=Kind.STUCK_IN_FLIGHT,
        sink=sink,
        subject=key,
        event_id=key,
        detail=(
            f"The ledger has event {key} {state.replace('_', ' ')} for {sink} since {since}, begun "
            f"by {owner or 'an unknown worker'}, and no worker waits with it: see that "
            f"deliver-{sink} runs, then look it up at {sink} and send it again if it is not there."
        ),
    )


def not_closing(line: StageLine, where: str, lost: Sequence[str]) -> Finding:
    """A line of the balance that does not close. `lost` are some of the events, by id."""
    named = f" ({', '.join(lost)})" if lost else ""
    if line.missing > 0:
        detail = (
            f"{line.missing} of {line.accepted} events accepted in {where} are in none of its "
            f"places{named}: their worker has passed them without a result; keep the topics as "
            "they are, and see infra/docs/reconciler-runbook.md."
        )
    else:
        detail = (
            f"{where} has {-line.missing} results more than events were accepted{named}: "
            "somebody writes results of events that are not in its topic; "
            "see infra/docs/reconciler-runbook.md."
        )
    return Finding(kind=Kind.BALANCE, sink=line.sink, subject=line.key, detail=detail)
