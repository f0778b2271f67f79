"""For all tests: hypothesis without a clock, as first calls compile."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("fieldline", deadline=None)
settings.load_profile("fieldline")
