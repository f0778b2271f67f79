"""The suite's one fixture: every system of the registry, in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from connectors import registry
from tests.contract.suite.helpers import case_of, has_case
from tests.contract.world import World


def _param(name: str) -> Any:  # noqa: ANN401 - pytest's
    # Where a case is missing, that system's tests fail: to fail here would end all others', too.
    marks = [pytest.mark.parts] if has_case(name) and case_of(name).parts else []
    return pytest.param(name, marks=marks)


@pytest.fixture(params=[_param(name) for name in registry.names()])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """Each system's far end, empty, and what is sent to it."""
    case = case_of(request.param)
    with case.start() as far:
        if case.prepare is not None:
            case.prepare(far)
        yield World(case, far)
