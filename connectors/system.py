"""What a system declares of itself, so that tools and tests can read it from the code.

Each connector's folder has a `system.py` with one `SYSTEM`. From it come the registry,
`fieldline connectors list|check|contract`, `fieldline mapping show`, `fieldline docs export`
and the contract suite, which fails where a request is made that no `Call` here tells of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from connectors.answers import Row
from connectors.base import Connector, Effect
from connectors.fields import OPEN, Field, Policy
from connectors.settings import ConnectorSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSpec:
    """One kind of request that a connector makes; `step` as in its `Call`s.

    `request` is method and path; `key` says which key it carries and where; `once` by what
    mechanism it takes effect once; `unknown` what is done where its end is not known. For a
    request that only reads the last three may be empty.
    """

    step: str
    request: str
    effect: Effect
    key: str = ""
    once: str = ""
    unknown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSpec:
    """One object at the target and its fields. `canonical` is the object of the canonical model.

    `owner` names the system of record of the object; `conflict` the rule where both changed.
    """

    canonical: str
    fields: Sequence[Field]
    owner: str
    conflict: str


Make = Callable[[Any, Policy, Callable[[], float]], Connector]
"""(settings of the system's own kind, policy, clock) → connector; most are the class itself."""


def reads(step: str, request: str) -> CallSpec:
    """A request that only reads, and so may be repeated."""
    return CallSpec(step=step, request=request, effect=Effect.READ)


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """One system.

    `make(settings, policy, clock)` is its connector; `clock` gives seconds since the Unix
    epoch. `objects` by the target's own name. `answers` are all lines of its tables.
    `unsure` lists facts that no vendor document or source confirms. `mounts` gives httpx
    transports by scheme ('sftp://') for systems that do not speak HTTP.
    """

    name: str
    title: str
    settings: type[ConnectorSettings]
    make: Make
    objects: Mapping[str, MapSpec]
    calls: Sequence[CallSpec]
    answers: Sequence[Row]
    unsure: Sequence[str] = ()
    mounts: Callable[[Any], Mapping[str, httpx.AsyncBaseTransport]] = field(default=lambda _: {})


__all__ = ["OPEN", "CallSpec", "MapSpec", "Policy", "System", "reads"]
