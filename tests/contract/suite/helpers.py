"""What the suite's tests share: a system's case, what it lacks, what an outcome may say."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import pytest

from pipeline.core.outcome import Delivered, Outcome, Retryable, Unknown
from tests.contract.case import Case, Trait
from tests.contract.world import World


def has_case(name: str) -> bool:
    """Whether somebody wrote the case of that system."""
    return find_spec(f"tests.contract.cases.{name}") is not None


def case_of(name: str) -> Case:
    """The case of a system; a missing one is a failure, not a skip."""
    if not has_case(name):
        pytest.fail(f"{name} has no case: write tests/contract/cases/{name}.py (see case.py).")
    found: Case = import_module(f"tests.contract.cases.{name}").CASE
    return found


def lacking(world: World, *traits: Trait) -> bool:
    """Whether the case says that the system lacks one of them: then nothing is asked of it."""
    return any(world.case.lacks.get(trait) for trait in traits)


def truthful(outcome: Outcome, *, there: bool, keyed: bool) -> None:
    """An outcome never says more than is known: not delivered without, not refused with."""
    if isinstance(outcome, Delivered):
        assert there, f"said to be delivered, and it is not there: {outcome}"
    elif there:
        again = isinstance(outcome, Unknown) or (keyed and isinstance(outcome, Retryable))
        assert again, f"it is there, and would be sent again or given up: {outcome}"
