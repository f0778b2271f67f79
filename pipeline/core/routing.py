"""Which sinks an event goes to: a table of routes, all that match apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.core.events import Action, BusinessEvent, Disposition, Severity
from pipeline.core.rules import SEVERITIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row. An empty condition matches everything; patterns use * and ? (fnmatch).

    Events that are for review, or held back in a storm, go only where a row asks for them. An
    update goes where what it updates went too: that had the severity `warning` or more. A
    clear has the severity, the type and the disposition of what it clears.
    """

    sinks: tuple[str, ...]
    types: tuple[str, ...] = ()
    severities: tuple[Severity, ...] = ()
    tenants: tuple[str, ...] = ()
    dispositions: tuple[Disposition, ...] = (Disposition.DELIVER,)

    def matches(self, event: BusinessEvent) -> bool:
        """Whether the event meets every condition of this row."""
        return (
            event.disposition in self.dispositions
            and (not self.types or any(fnmatchcase(event.type, p) for p in self.types))
            and (not self.severities or any(s in self.severities for s in _severities(event)))
            and (not self.tenants or any(fnmatchcase(event.tenant, p) for p in self.tenants))
        )


def _severities(event: BusinessEvent) -> tuple[Severity, ...]:
    """Its own, and for an update those that the event it updates can have had."""
    if event.action is not Action.UPDATE:
        return (event.severity,)
    return SEVERITIES[1 : SEVERITIES.index(event.severity) + 1] or (event.severity,)


def sinks_for(event: BusinessEvent, routes: Sequence[Route]) -> tuple[str, ...]:
    """Sinks of all matching routes, each once, in the order of the table; may be empty."""
    return tuple(dict.fromkeys(s for r in routes if r.matches(event) for s in r.sinks))


def sinks_of(routes: Sequence[Route]) -> tuple[str, ...]:
    """Every sink the table names, each once, in its order."""
    return tuple(dict.fromkeys(s for r in routes for s in r.sinks))
