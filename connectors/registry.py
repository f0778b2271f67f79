"""Every connector: a folder below this one with a `system.py` in it. Nothing else to edit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from connectors.base import Connector
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
    if name not in names():
        raise SettingsError(f"There is no connector {name!r}: choose among {', '.join(names())}.")
    found: System = import_module(f"connectors.{name}.system").SYSTEM
    return found


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
    found = system(sink)
    return found.make(make_settings(found.settings, values), policy, clock)
