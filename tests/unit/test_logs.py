from __future__ import annotations

import logging

from pipeline.logs import Repeats


def line(text: object, level: int = logging.ERROR, name: str = "aiokafka") -> logging.LogRecord:
    return logging.LogRecord(name, level, "file", 1, text, (), None)


def test_like_lines_pass_once_per_interval_and_say_how_many_were_held() -> None:
    now = [0.0]
    repeats = Repeats(interval_s=5.0, clock=lambda: now[0])
    assert repeats.filter(line("no broker"))
    assert not any(repeats.filter(line("no broker")) for _ in range(3))
    assert repeats.filter(line("no leader"))
    assert repeats.filter(line("no broker", name="faust"))
    now[0] = 5.0
    again = line("no broker")
    assert repeats.filter(again)
    assert again.msg == "no broker (and 3 more like it)"


def test_our_own_lines_and_critical_ones_always_pass() -> None:
    repeats = Repeats(clock=lambda: 0.0)
    for _ in range(3):
        assert repeats.filter(line({"event": "quarantined"}))
        assert repeats.filter(line("worker halts", level=logging.CRITICAL))
