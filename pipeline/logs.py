"""Logs of a worker: one JSON object a line on standard output, the library's too."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from time import monotonic

import structlog

_MOST_KINDS = 1_000


class Repeats(logging.Filter):
    """Lets one line of a kind through per interval and says how many it held back.

    aiokafka writes thousands of identical lines a second while a broker is away; they would
    fill a disk and hide the one line that matters. Lines are alike where logger and template are.
    """

    def __init__(self, *, interval_s: float = 5.0, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._interval_s = interval_s
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """False for a line whose like was let through less than an interval ago."""
        if not isinstance(record.msg, str) or record.levelno >= logging.CRITICAL:
            return True  # structlog's records, ours, are dictionaries: each says something
        kind = (record.name, record.msg[:80])
        now = self._clock()
        last, held = self._seen.get(kind, (float("-inf"), 0))
        if now - last < self._interval_s:
            self._seen[kind] = (last, held + 1)
            return False
        if len(self._seen) >= _MOST_KINDS:
            self._seen.clear()
        self._seen[kind] = (now, 0)
        if held:
            record.msg = f"{record.msg} (and {held} more like it)"
        return True


def configure(level: int = logging.INFO) -> None:
    """Send structlog and the standard library's loggers to standard output as JSON."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    handler.addFilter(Repeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for library in ("aiokafka", "asyncio"):
        logging.getLogger(library).setLevel(level)
    # Request lines would carry addresses with query strings; the driver logs what matters.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def quiet() -> None:
    """Only what a person must know, for commands that show their progress themselves."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
