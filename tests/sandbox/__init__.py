"""A webhook receiver in a process of its own, for tests and the bench: see server.py."""

from tests.sandbox.box import Box, sandbox
from tests.sandbox.faults import Fault, Limit

__all__ = ["Box", "Fault", "Limit", "sandbox"]
