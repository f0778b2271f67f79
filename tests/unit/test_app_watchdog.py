"""The watchdog's shell: the pulse thread and the sentences; its looks are tested on real Kafka."""

from __future__ import annotations

import threading

import pytest
from faust.types import TP

from pipeline.agents.watchdog import Pulse, sentence
from pipeline.core.watchdog import Kind, Look, Stall

LIMIT_S = 30.0


def test_a_loop_that_turns_no_more_ends_the_worker(capfd: pytest.CaptureFixture[str]) -> None:
    ended = threading.Event()
    pulse = Pulse(limit_s=0.05, every_s=0.01, end=ended.set)
    pulse.beat()
    pulse.start()
    assert ended.wait(LIMIT_S)
    pulse.join(LIMIT_S)
    assert "test_app_watchdog" in capfd.readouterr().err, "the stacks say where it hangs"


def test_a_pulse_at_rest_ends_nothing() -> None:
    ended = threading.Event()
    pulse = Pulse(limit_s=0.02, every_s=0.01, end=ended.set)
    pulse.rest()
    pulse.start()
    pulse.join(LIMIT_S)
    assert not pulse.is_alive()
    assert not ended.is_set()


@pytest.mark.parametrize(
    ("kind", "look", "says"),
    [
        (
            Kind.READING,
            Look(end=90, position=17, committed=None),
            "at offset 17 (committed: none): messages wait up to 90 and none was read for 61 s",
        ),
        (
            Kind.FINISHING,
            Look(end=90, position=90, committed=80, in_hand=10),
            "at offset 90 (committed: 80): 10 messages are in hand and none was finished for 61 s",
        ),
    ],
)
def test_the_sentence_names_what_stands_still_and_the_mend(
    kind: Kind, look: Look, says: str
) -> None:
    text = sentence(
        Stall(partition=TP("telemetry.readings", 3), kind=kind, for_s=61.4, look=look), 60.0
    )
    assert text.startswith("Topic telemetry.readings partition 3 stands still " + says)
    assert "FIELDLINE_STALL_S (now 60)" in text
    assert text.count(". ") == 0
