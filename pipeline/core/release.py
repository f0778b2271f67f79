"""The last step before an event leaves detection: what is to be done with it.

Events pass in the order of their samples, so what is decided here, of storms and of what a
later event changes or clears, does not depend on how messages were cut into rounds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.core import episodes, telling
from pipeline.core.detectors import storm
from pipeline.core.detectors.table import NUMBER
from pipeline.core.events import Action, BusinessEvent, Disposition, Severity, episode_id, tenant_of

if TYPE_CHECKING:
    from pipeline.core.fleet import Fleet
    from pipeline.core.plans import Plans
    from pipeline.core.registry import DeviceRecord, Devices
    from pipeline.core.rules import MetricRule, StormRule

STORM = "storm"
STORM_TYPE = "fieldline.storm.began"


class Gate:
    """Review, storms and episodes of the devices of one partition."""

    def __init__(self, fleet: Fleet, plans: Plans, registry: Devices) -> None:
        self.storms = {"asset": storm.Storm(), "site": storm.Storm()}
        self._fleet = fleet
        self._plans = plans
        self._registry = registry

    def release(self, event: BusinessEvent) -> list[BusinessEvent]:
        """What goes out for it: itself, after the one that tells of a storm it began.

        For the end of an episode that is one clear for each event that it has raised.
        """
        if event.action is Action.CLEAR:
            return self._over(event)
        if not self._clears(event):
            return self._admit(event)
        lanes = self._fleet.raised.setdefault(self._fleet.rows[event.device_id], {})
        graver = episodes.made_graver(event, lanes)
        if graver is not None:
            return [graver]
        out = self._admit(event)
        lanes[episodes.lane_of(event)] = episodes.noted(out[-1])
        return out

    def _clears(self, event: BusinessEvent) -> bool:
        if event.detector not in NUMBER:
            return False
        rule = self._rule(event.device_id, event.metric).of(event.detector)
        return rule is not None and rule.clears

    def _rule(self, device_id: str, metric: str) -> MetricRule:
        plan = self._plans.of(metric, *kind_of(device_id, self._registry))
        return self._plans.metric_rules[plan]

    def _over(self, event: BusinessEvent) -> list[BusinessEvent]:
        row = self._fleet.rows[event.device_id]
        lanes = self._fleet.raised.get(row)
        if lanes is None:
            return []
        out = episodes.cleared(event, lanes, lambda metric: self._rule(event.device_id, metric))
        if not lanes:
            del self._fleet.raised[row]
        return out

    def _admit(self, event: BusinessEvent) -> list[BusinessEvent]:
        """The event with what is to be done with it, after one that tells of a storm it began."""
        rules = self._plans.rules
        if event.confidence < rules.review_below:
            return [replace(event, disposition=Disposition.REVIEW)]
        record = self._registry.get(event.device_id)
        for kind, rule in (("asset", rules.storm_asset), ("site", rules.storm_site)):
            key = _storm_key(kind, event, record)
            if rule is None or not key or event.severity is Severity.INFO:
                continue
            verdict = self.storms[kind].admit(
                key, event.occurred_at_ms, events=rule.events, window_ms=int(rule.window_s * 1000)
            )
            if verdict is storm.Verdict.ADMIT:
                continue
            quiet = replace(event, disposition=Disposition.SUPPRESSED)
            if verdict is storm.Verdict.SUPPRESSED:
                return [quiet]
            return [_storm_event(event, kind, key, rule), quiet]
        return [event]


def kind_of(device_id: str, registry: Devices) -> tuple[str, str]:
    """Tenant and device class of a device: with the metric, what rules go by."""
    record = registry.get(device_id)
    return tenant_of(device_id), record.device_class if record else ""


def _storm_key(kind: str, event: BusinessEvent, record: DeviceRecord | None) -> str:
    if kind == "asset":
        return event.asset_id or event.device_id
    return (record.site or record.customer_id) if record else ""


def _storm_event(event: BusinessEvent, kind: str, key: str, rule: StormRule) -> BusinessEvent:
    """An event that stands for those that are suppressed from here on."""
    return replace(
        event,
        id=episode_id(
            device_id=event.device_id,
            session=event.id,
            metric=kind,
            detector=STORM,
            sequence=event.occurred_at_ms,
        ),
        type=STORM_TYPE,
        detector=STORM,
        metric=kind,
        confidence=1.0,
        summary=f"More than {rule.events} alarms of {kind} {key} within "
        f"{telling.duration(rule.window_s)}: those that follow are held back",
        snapshot=(),
    )
