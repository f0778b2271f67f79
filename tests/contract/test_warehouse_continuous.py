"""fieldline lake load --continuous: again and again, until it is told to end."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_warehouse_command import FIELDLINE, places
from tests.contract.warehouse_world import Lake
from tests.sandboxes.bigquery import BUCKET, PROJECT, BigQuery
from tests.sandboxes.serve import running
from tests.waiting import WITHIN_S, blocking_until

PAUSE_S = 3_600
"""Longer than a test may take: what ends it then is the signal."""


class Running:
    """The command, its lines in a file."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self._process, self._out, self._err = process, out, err

    def results(self) -> list[Any]:
        """What it has told so far, whole lines only."""
        told = self._out.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in told.splitlines()]

    def until(self, count: int) -> list[Any]:
        blocking_until(
            lambda: len(self.results()) >= count or self._process.poll() is not None,
            f"there are no {count} results",
        )
        assert self._process.poll() is None, self._err.read_text()
        return self.results()

    def end(self, sign: signal.Signals) -> tuple[int, str]:
        """Its exit code, and what it wrote to stderr."""
        self._process.send_signal(sign)
        return self._process.wait(WITHIN_S), self._err.read_text()


@contextmanager
def continuously(lake: Lake, box: BigQuery, folder: Path, pause_s: float) -> Iterator[Running]:
    key, out, err = folder / "key.json", folder / "out", folder / "err"
    key.write_text(box.key_file())
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            [
                # What runs in the background of a script has Ctrl-C ignored, and so its children.
                *("env", "--default-signal=INT"),
                *(FIELDLINE, "lake", "load", "bigquery", "-d", "telemetry", "--json"),
                *("--continuous", str(pause_s)),
            ],
            env={
                "PATH": "/usr/bin:/bin",
                "BIGQUERY_URL": box.base,
                "BIGQUERY_TOKEN_URL": f"{box.base}/token",
                "BIGQUERY_PROJECT": PROJECT,
                "BIGQUERY_CREDENTIALS_FILE": str(key),
                "BIGQUERY_LAKE_URL": BUCKET,
                "BIGQUERY_TIMEOUT_S": "60",
                **places(lake),
            },
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=to_out,
            stderr=to_err,
        )
    try:
        yield Running(process, out, err)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = Lake(tmp_path / "lake")
    made.readings(3)
    return made


@pytest.fixture
def box(lake: Lake) -> Iterator[BigQuery]:
    made = BigQuery(lake.root)
    made.polls = 0
    with running(made):
        yield made


def test_what_the_lake_gets_meanwhile_comes_with_a_later_load(
    lake: Lake, box: BigQuery, tmp_path: Path
) -> None:
    with continuously(lake, box, tmp_path, 0.1) as command:
        [first, *_] = command.until(1)
        assert (first["result"], first["rows"]) == ("loaded", 18)
        lake.readings(2)
        blocking_until(lambda: sum(one["rows"] for one in command.results()) == lake.rows())
        code, err = command.end(signal.SIGTERM)
        told = command.results()
    assert (code, err) == (0, "")
    assert {one["result"] for one in told} == {"loaded"}
    assert not any(one["differences"] for one in told)
    assert box.db.execute("SELECT count(*) FROM telemetry").fetchone() == (lake.rows(),)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_between_two_loads_a_signal_ends_it_as_asked_and_without_a_word(
    lake: Lake, box: BigQuery, tmp_path: Path, sign: signal.Signals
) -> None:
    with continuously(lake, box, tmp_path, PAUSE_S) as command:
        [told] = command.until(1)
        assert command.end(sign) == (0, "")
    assert told["rows"] == lake.rows()


def test_a_warehouse_that_is_away_is_tried_again_until_it_is_back(
    lake: Lake, box: BigQuery, tmp_path: Path
) -> None:
    box.knobs.set_faults([{"mode": "answer", "status": 503, "body_text": "{}", "times": 10**6}])
    with continuously(lake, box, tmp_path, 0.1) as command:
        assert {one["result"] for one in command.until(2)[:2]} == {"retry"}
        box.knobs.set_faults([])
        blocking_until(lambda: command.results()[-1]["result"] == "loaded")
        code, err = command.end(signal.SIGINT)
        told = command.results()
    assert (code, err) == (0, "")
    assert sum(one.get("rows", 0) for one in told) == lake.rows()
