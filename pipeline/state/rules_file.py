"""The rules file (YAML) as Rules. Every error names file, line and field in one sentence.

What each field means stands in infra/config/RULES.md.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pipeline.core.events import Severity
from pipeline.core.rules import (
    SEVERITIES,
    DriftRule,
    EpisodeRule,
    FeedbackRule,
    GeofenceRule,
    Rules,
    SilentRule,
    StormRule,
)
from pipeline.state.rules_fields import Fields, RulesFileError, Value, read_text, root
from pipeline.state.rules_metrics import (
    MAX_SAMPLES,
    Plan,
    check_name,
    read_metric,
    read_metrics,
    read_overrides,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pipeline.core.detectors.geofence import Circle, Polygon
    from pipeline.core.detectors.table import Detector

__all__ = ["MAX_BYTES", "MAX_VERSION", "TOP_FIELDS", "RulesFileError", "load", "parse", "read"]

MAX_BYTES: Final = 1_048_576
"""Largest rules file that is read."""
MAX_VERSION: Final = 2**31 - 1
MAX_FENCES: Final = 1_000
MAX_CORNERS: Final = 1_000
MAX_MARGIN_M: Final = 100_000.0
_YEAR_S: Final = 366 * 86_400.0

TOP_FIELDS: Final = (
    "name",
    "version",
    "review_below",
    "episodes",
    "storm",
    "silent",
    "geofence",
    "drift",
    "feedback",
    "defaults",
    "metrics",
    "overrides",
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def load(path: Path, detectors: Sequence[Detector] | None = None) -> Rules:
    """Rules in the file at `path`; RulesFileError where it cannot be read or used."""
    return parse(read(path), str(path), detectors)


def read(path: Path) -> str:
    """The text of the file at `path`; RulesFileError where it cannot be read."""
    return read_text(
        path,
        "rules file",
        MAX_BYTES,
        unreadable="name one that can, or set FIELDLINE_RULES_FILE to it",
        too_long="split it",
    )


def parse(text: str, source: str, detectors: Sequence[Detector] | None = None) -> Rules:
    """Rules in `text`; `source` is the file's name for errors.

    `detectors` are those that may be named: pipeline.core.detectors.table's where left out.
    """
    if len(text.encode(errors="replace")) > MAX_BYTES:
        raise RulesFileError(f"{source} line 1: the file is over {MAX_BYTES} bytes.")
    known = _all_detectors() if detectors is None else detectors
    top = root(text, source).fields(TOP_FIELDS)
    defaults = read_metric(top.need("defaults"), Plan(), known, defaults=True)
    metrics = {}
    if (given := top.on("metrics")) is not None:
        metrics = read_metrics(given, defaults, known)
    given = top.on("overrides")
    review, storm = top.get("review_below"), _storm(top.on("storm"))
    return Rules(
        name=_name(top.need("name")),
        version=top.need("version").count(1, MAX_VERSION),
        defaults=defaults.rule(known),
        metrics={name: plan.rule(known) for name, plan in metrics.items()},
        overrides=() if given is None else read_overrides(given, defaults, metrics, known),
        episodes=_episodes(top.on("episodes"), known),
        review_below=0.0 if review is None else review.number(0.0, 1.0),
        storm_asset=storm.get("asset"),
        storm_site=storm.get("site"),
        silent=_silent(top.on("silent")),
        geofence=_geofence(top.on("geofence")),
        drift=_drift(top.on("drift")),
        feedback=_feedback(top.on("feedback")),
    )


def _all_detectors() -> Sequence[Detector]:
    # Numba comes with it: commands that read no rules should not wait for that.
    from pipeline.core.detectors.table import DETECTORS  # noqa: PLC0415 - see above

    return DETECTORS


def _name(value: Value) -> str:
    name = value.text()
    if not _NAME.fullmatch(name):
        value.refuse("must be 1 to 64 letters, digits, dots and dashes")
    return name


def _episodes(value: Value | None, detectors: Sequence[Detector]) -> dict[str, EpisodeRule]:
    """By detector, '' for those not named; a module may have a COOL_DOWN of its own."""
    names = ("default", *(detector.name for detector in detectors))
    fields = None if value is None else value.fields(names)
    given = None if fields is None else fields.get("default")
    default = EpisodeRule() if given is None else _episode(given, EpisodeRule())
    out = {"": default}
    for detector in detectors:
        own: int | None = getattr(detector.module, "COOL_DOWN", None)
        base = default if own is None else replace(default, cool_down=own)
        given = None if fields is None else fields.get(detector.name)
        rule = base if given is None else _episode(given, base)
        if rule != default:
            out[detector.name] = rule
    return out


def _episode(value: Value, base: EpisodeRule) -> EpisodeRule:
    fields = value.fields(("cool_down", "min_duration_s"))
    cool_down, duration = fields.get("cool_down"), fields.get("min_duration_s")
    return EpisodeRule(
        cool_down=base.cool_down if cool_down is None else cool_down.count(1, MAX_SAMPLES),
        min_duration_s=(base.min_duration_s if duration is None else duration.number(0.0, _YEAR_S)),
    )


def _storm(value: Value | None) -> Mapping[str, StormRule]:
    out: dict[str, StormRule] = {}
    if value is not None:
        fields = value.fields(("asset", "site"))
        for name in ("asset", "site"):
            if (given := fields.on(name)) is not None:
                part = given.fields(("events", "window_s"))
                out[name] = StormRule(
                    events=part.need("events").count(1, 1_000_000),
                    window_s=part.need("window_s").number(1.0, _YEAR_S),
                )
    return out


def _severity(fields: Fields) -> Severity:
    return Severity(fields.need("severity").choice([s.value for s in SEVERITIES]))


def _silent(value: Value | None) -> SilentRule | None:
    if value is None:
        return None
    fields = value.fields(("after_s", "severity"))
    return SilentRule(
        after_s=fields.need("after_s").number(1.0, _YEAR_S), severity=_severity(fields)
    )


def _drift(value: Value | None) -> DriftRule | None:
    if value is None:
        return None
    fields = value.fields(("block_readings", "p"))
    return DriftRule(
        block_readings=fields.need("block_readings").count(1, 1_000_000_000),
        p=fields.need("p").number(1e-15, 0.5),
    )


def _feedback(value: Value | None) -> FeedbackRule | None:
    if value is None:
        return None
    fields = value.fields(("step", "least", "most"))
    return FeedbackRule(
        step=fields.need("step").number(0.001, 1.0),
        least=fields.need("least").number(0.01, 1.0),
        most=fields.need("most").number(1.0, 100.0),
    )


def _geofence(value: Value | None) -> GeofenceRule | None:
    if value is None:
        return None
    from pipeline.core.detectors.geofence import MARGIN_M, Fences  # noqa: PLC0415 - numba, as above

    fields = value.fields(("latitude", "longitude", "severity", "margin_m", "fences"))
    given, margin = fields.need("fences"), fields.get("margin_m")
    areas = {name: _fence(name, fence) for name, fence in given.fields(most=MAX_FENCES)}
    if not areas:
        given.refuse("names no fence; add one or leave geofence out")
    margin_m = MARGIN_M if margin is None else margin.number(0.0, MAX_MARGIN_M)
    try:
        fences = Fences(areas, margin_m)
    except ValueError as error:
        given.refuse(f"cannot be used ({_clause(error)})")
    return GeofenceRule(
        latitude=fields.need("latitude").text(),
        longitude=fields.need("longitude").text(),
        severity=_severity(fields),
        fences=fences,
    )


def _fence(name: str, value: Value) -> Circle | Polygon:
    from pipeline.core.detectors.geofence import Circle, Polygon  # noqa: PLC0415 - as above

    check_name(value, name)
    fields = value.fields(("circle", "polygon"), most=1)
    circle = fields.get("circle")
    try:
        if circle is not None:
            latitude, longitude, radius_m = circle.numbers(3, "[latitude, longitude, radius in m]")
            return Circle(latitude, longitude, radius_m)
        corners = fields.need("polygon").items(MAX_CORNERS)
        points = [corner.numbers(2, "[latitude, longitude]") for corner in corners]
        return Polygon(tuple((latitude, longitude) for latitude, longitude in points))
    except RulesFileError:
        raise
    except ValueError as error:
        value.refuse(f"is no area ({_clause(error)})")


def _clause(error: ValueError) -> str:
    """The sentence of an error, to stand within another."""
    text = str(error).rstrip(".")
    return text[:1].lower() + text[1:]
