"""What becomes of an event once it was raised: it is made graver, and it is over.

Only where the rule says `clears`. A raised event stands in `Fleet.raised` under its lane until
its episode ends; then one event with action `clear` follows for each that stands there, with
the same type, severity and disposition, so that it goes where the raised one went. A lane
graver than `warning` updates the event that the warning raised. An `info` is nobody's to act
on and has no record that a warning could update: a warning after it is raised by itself.

The id of what is cleared is kept, not worked out again: it comes from the sample that began the
episode, and a device's window may have moved on since.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pipeline.core import telling
from pipeline.core.events import Action, BusinessEvent, Disposition, Severity, episode_id
from pipeline.core.plans import lane_number
from pipeline.core.rules import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.core.rules import MetricRule

PLACES: Final = len(SEVERITIES)
CLEARED: Final = "-cleared"
GRAVER: Final = "-graver"
"""After the detector's name, in what the id of a clear and of an update is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """An event of an episode that is not over. `raised_ms`: its event time, ms since the epoch."""

    id: str
    metric: str
    raised_ms: int
    disposition: Disposition


Lanes = dict[int, Raised]
"""By lane (plans.lane_number), what one device's episodes have raised."""


def lane_of(event: BusinessEvent) -> int:
    """The lane of an event that a detector raised."""
    return lane_number(event.detector, SEVERITIES.index(event.severity))


def made_graver(event: BusinessEvent, lanes: Lanes) -> BusinessEvent | None:
    """The event as the update of what it makes graver; None where it is one of its own.

    What was held back has no record at a sink to be updated. The update has an id of its own:
    after a crash a storm may come out otherwise (ADR 9) and the same sample raise an event, and
    one id must never stand for both.
    """
    first = lane_number(event.detector, SEVERITIES.index(Severity.WARNING))
    for lane in range(first, lane_of(event)):
        one = lanes.get(lane)
        if one is not None and one.disposition is Disposition.DELIVER:
            return replace(
                event,
                id=_id_after(one, event.device_id, event.metric, event.detector + GRAVER),
                action=Action.UPDATE,
                entity_id=one.id,
            )
    return None


def _id_after(one: Raised, device_id: str, metric: str, detector: str) -> str:
    """Id of what follows a raised event: each thing follows it once."""
    return episode_id(
        device_id=device_id, session=one.id, metric=metric, detector=detector, sequence=0
    )


def noted(event: BusinessEvent) -> Raised:
    """What is to be remembered of an event that was raised."""
    return Raised(
        id=event.id,
        metric=event.metric,
        raised_ms=event.occurred_at_ms,
        disposition=event.disposition,
    )


def cleared(
    over: BusinessEvent, lanes: Lanes, rule_of: Callable[[str], MetricRule]
) -> list[BusinessEvent]:
    """The clears of all that the episode has raised, mildest first; takes it out of `lanes`.

    `over` is the event of the sample that ended it, which says everything but whose end it is;
    its place among the events of its message is the first of PLACES kept for these.
    """
    out = []
    for place, severity in enumerate(SEVERITIES):
        one = lanes.pop(lane_number(over.detector, place), None)
        if one is None:
            continue
        reading = next((entry for entry in over.snapshot if entry.metric == one.metric), None)
        out.append(
            replace(
                over,
                id=_id_after(one, over.device_id, one.metric, over.detector + CLEARED),
                action=Action.CLEAR,
                entity_id=one.id,
                metric=one.metric,
                severity=severity,
                disposition=one.disposition,
                summary=telling.cleared(
                    over.detector,
                    one.metric,
                    rule_of(one.metric),
                    reading,
                    (over.occurred_at_ms - one.raised_ms) / 1000,
                ),
                source=replace(over.source, index=over.source.index + place),
            )
        )
    return out
