"""The routing table's file: YAML to routes, with errors that name the row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from pipeline.core.events import Disposition, Severity
from pipeline.core.routing import Route
from pipeline.settings import SettingsError

_CONDITIONS = ("type", "severity", "tenant", "disposition")
_SINK_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


def load_routes(path: Path) -> tuple[Route, ...]:
    """The routes in `path`; SettingsError with one sentence where the file is unusable."""
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"The routing table {path} cannot be read ({error.strerror}): "
            "set FIELDLINE_ROUTES_FILE to a readable file."
        ) from error
    except yaml.YAMLError as error:
        raise SettingsError(f"The routing table {path} is not YAML: {error}.") from error
    rows = document.get("routes") if isinstance(document, dict) else None
    if not isinstance(rows, list) or not rows:
        raise SettingsError(f"The routing table {path} has no list 'routes': add at least one.")
    return tuple(_route(path, number, row) for number, row in enumerate(rows, start=1))


def _route(path: Path, number: int, row: Any) -> Route:  # noqa: ANN401 - YAML gives anything
    where = f"Route {number} in {path}"
    if not isinstance(row, dict) or row.keys() - {"when", "sinks"}:
        raise SettingsError(f"{where} may only have 'when' and 'sinks'.")
    sinks = _texts(where, "sinks", row.get("sinks"))
    if not sinks:
        raise SettingsError(f"{where} names no sink: add 'sinks: [NAME]'.")
    for sink in sinks:
        if not _SINK_NAME.fullmatch(sink):
            raise SettingsError(f"{where}: sink {sink!r} must be a lower-case word, a-z 0-9 -.")
    when = row.get("when") or {}
    if not isinstance(when, dict) or when.keys() - set(_CONDITIONS):
        raise SettingsError(f"{where}: 'when' takes only {', '.join(_CONDITIONS)}.")
    severities = _texts(where, "severity", when.get("severity"))
    unknown = [s for s in severities if s not in list(Severity)]
    if unknown:
        raise SettingsError(f"{where}: severity {unknown[0]!r} is none of {', '.join(Severity)}.")
    dispositions = _texts(where, "disposition", when.get("disposition"))
    unknown = [d for d in dispositions if d not in list(Disposition)]
    if unknown:
        raise SettingsError(
            f"{where}: disposition {unknown[0]!r} is none of {', '.join(Disposition)}."
        )
    return Route(
        sinks=sinks,
        dispositions=tuple(Disposition(d) for d in dispositions) or (Disposition.DELIVER,),
        types=_texts(where, "type", when.get("type")),
        severities=tuple(Severity(s) for s in severities),
        tenants=_texts(where, "tenant", when.get("tenant")),
    )


def _texts(where: str, name: str, value: Any) -> tuple[str, ...]:  # noqa: ANN401 - the same
    items = [value] if isinstance(value, str) else (value or [])
    if not isinstance(items, list) or not all(isinstance(i, str) and i for i in items):
        raise SettingsError(f"{where}: '{name}' must be a text or a list of texts.")
    return tuple(items)
