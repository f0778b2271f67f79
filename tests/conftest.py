"""For all tests: hypothesis without a clock, as first calls compile; logs as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

settings.register_profile("fieldline", deadline=None)
settings.load_profile("fieldline")


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command run within a test may hush the logs that the next test looks at."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
