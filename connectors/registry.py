"""Every connector: a folder below this one with a `system.py` in it. Nothing else to edit.

A sink has the name of its system, or that name, a dash and a word of one's own: `salesforce`,
`salesforce-us`. So there can be several of one system, each with settings of its own
(SALESFORCE_US_URL, …) and, in sinks.yaml, with regions of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from connectors.base import Connector
from connectors.settings import ConnectorSettings
from connectors.settings import make as make_settings
from connectors.system import OPEN, Policy, System
from pipeline.settings import SettingsError


@cache
def names() -> tuple[str, ...]:
    """Names of all systems, sorted. Nothing is imported for it."""
    here = Path(__file__).parent
    return tuple(sorted(path.parent.name for path in here.glob("*/system.py")))


def system(name: str) -> System:
    """What a system declares; SettingsError where there is none of that name."""
    own = name.partition("-")[0]
    if own not in names():
        raise SettingsError(f"There is no connector {name!r}: choose among {', '.join(names())}.")
    found: System = import_module(f"connectors.{own}.system").SYSTEM
    return found


def has(sink: str) -> bool:
    """Whether that sink has a connector."""
    return sink.partition("-")[0] in names()


def settings_of(sink: str, values: Mapping[str, Any] | None = None) -> ConnectorSettings:
    """The settings of a sink; SettingsError where they are unusable."""
    prefix = f"{sink.replace('-', '_').upper()}_"
    return make_settings(system(sink).settings, values, prefix=prefix)


def make_connector(
    sink: str,
    *,
    values: Mapping[str, Any] | None = None,
    policy: Policy = OPEN,
    clock: Callable[[], float] = time.time,
) -> Connector:
    """The connector of a sink; SettingsError where there is none, or its settings are unusable.

    `values` are settings by their own names; the environment has the others.
    """
    made = system(sink).make(settings_of(sink, values), policy, clock)
    # The ledger, the board and the metrics go by the sink, not by its system.
    made.name = sink
    return made
