"""For all tests: hypothesis without a clock, as first calls compile; logs as they were; and
settings that a test gives itself, never those of a stack that happens to run in `.local`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from connectors.settings import ConnectorSettings
from pipeline.settings import Settings

settings.register_profile("fieldline", deadline=None)
settings.load_profile("fieldline")

# Before a class is made of these, which takes its configuration over.
for _base in (Settings, ConnectorSettings):
    _base.model_config["env_file"] = None


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """A command run within a test may hush the logs that the next test looks at."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)
