from __future__ import annotations

import csv
import gzip
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.cli import backtest as command
from pipeline.core.backtest import History, backtest
from pipeline.core.registry import Registry
from pipeline.settings import SettingsError
from pipeline.simulate.cmapss import CYCLE_MS, SENSORS, load_fleet
from pipeline.state.rules_file import RulesFileError, load, parse
from tests.bench.quality import nab, report
from tests.bench.quality.__main__ import main as quality
from tests.bench.quality.cmapss import moments
from tests.bench.quality.nab import Series

ROOT = Path(__file__).resolve().parents[2]
DEFAULTS = ROOT / "infra" / "config" / "rules.yaml"
LIMIT = """
name: tried
version: 7
defaults:
  limit:
    high: 10
    warning: {enter: 0, leave: -1, enter_samples: 1, leave_samples: 1}
episodes: {default: {cool_down: 3, min_duration_s: 0}}
"""


def run(*arguments: str | Path) -> Result:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    words = ["backtest", *map(str, arguments)]
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, words)


def written(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(LIMIT)
    return path


@pytest.fixture
def readings(tmp_path: Path) -> Path:
    path = tmp_path / "h.csv"
    values = [1, 2, "", 12, 11, 1, 1, 1, 1, 13]
    rows = "".join(f"2026-11-21 12:00:{n:02},{v}\n" for n, v in enumerate(values))
    path.write_text("timestamp,value\n" + rows)
    return path


def test_the_command_flags_one_row_for_each_episode(
    tmp_path: Path, rules: Path, readings: Path
) -> None:
    out = tmp_path / "o.csv"
    ended = run("--csv", readings, "--rules", rules, "--out", out)
    assert ended.exit_code == 0, ended.output
    rows = written(out)
    assert [row["flagged"] for row in rows] == list("0001000001")
    assert [row["value"] for row in rows][:4] == ["1", "2", "", "12"]
    assert [float(row["anomaly_score"]) >= 1.0 for row in rows] == [
        n in {3, 4, 9} for n in range(10)
    ]
    assert float(rows[2]["anomaly_score"]) == 0.0
    assert {row["detector"] for row in rows if row["flagged"] == "1"} == {"limit"}
    assert "10 readings of 1 series by rules tried@7: 2 flagged" in ended.output
    assert "2026-11-21 12:00:03" in ended.output


def test_the_command_draws_a_picture(tmp_path: Path, rules: Path, readings: Path) -> None:
    plot = tmp_path / "p.png"
    ended = run("--csv", readings, "--rules", rules, "--out", tmp_path / "o.csv", "--plot", plot)
    assert ended.exit_code == 0, ended.output
    assert plot.stat().st_size > 10_000


def test_without_flags_the_command_says_so_and_writes_all_rows(tmp_path: Path, rules: Path) -> None:
    calm = tmp_path / "calm.csv"
    calm.write_text("timestamp,value\n0,1\n1,2\n")
    ended = run("--csv", calm, "--rules", rules, "--out", tmp_path / "o.csv")
    assert ended.exit_code == 0, ended.output
    assert "0 flagged" in ended.output
    assert len(written(tmp_path / "o.csv")) == 2


def test_device_ids_and_metrics_pick_their_rules_and_come_out_again(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        LIMIT + "overrides:\n  - when: {tenant: acme, metric: t*}\n    set: {limit: {high: 100}}\n"
    )
    path = tmp_path / "h.csv"
    path.write_text("device_id,metric,timestamp,value\nacme/p,t,0,50\nacme/p,u,0,50\nq,t,0,50\n")
    ended = run("--csv", path, "--rules", rules, "--out", tmp_path / "o.csv")
    assert ended.exit_code == 0, ended.output
    rows = written(tmp_path / "o.csv")
    assert [row["flagged"] for row in rows] == list("011")
    assert [(row["device_id"], row["metric"]) for row in rows] == [
        ("acme/p", "t"),
        ("acme/p", "u"),
        ("q", "t"),
    ]


def test_files_that_would_overwrite_each_other_are_refused(readings: Path, rules: Path) -> None:
    ended = run("--csv", readings, "--rules", rules, "--out", readings)
    assert isinstance(ended.exception, SettingsError)
    assert "name the same file" in str(ended.exception)


def test_errors_of_the_rules_and_the_history_are_one_sentence(
    tmp_path: Path, readings: Path, rules: Path
) -> None:
    rules.write_text(LIMIT.replace("high: 10", "hihg: 10"))
    ended = run("--csv", readings, "--rules", rules, "--out", tmp_path / "o.csv")
    assert isinstance(ended.exception, RulesFileError)
    rules.write_text(LIMIT)
    readings.write_text("timestamp,value\n0,warm\n")
    ended = run("--csv", readings, "--rules", rules, "--out", tmp_path / "o.csv")
    assert isinstance(ended.exception, SettingsError)
    assert "Line 2 of" in str(ended.exception)
    assert not (tmp_path / "o.csv").exists()


def test_a_picture_that_cannot_be_drawn_is_refused_before_any_work(
    tmp_path: Path, readings: Path, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    out = tmp_path / "o.csv"
    ended = run("--csv", readings, "--rules", rules, "--out", out, "--plot", tmp_path / "p.png")
    assert isinstance(ended.exception, SettingsError)
    assert not out.exists()


def test_how_far_the_backtest_has_come_is_told_up_to_its_end() -> None:
    rows = 100_000
    told: list[int] = []
    history = History(
        device=["a/b"] * rows,
        metric=["m"] * rows,
        time_ms=np.arange(rows) * 1000,
        value=np.zeros(rows),
    )
    found = backtest(history, parse(LIMIT, "rules"), Registry(), progress=told.append)
    assert told == sorted(told)
    assert len(told) > 1
    assert told[-1] == rows
    assert not found.flagged.any()


def nab_folder(folder: Path) -> Path:
    """Two series: one with a jump in its window, one that is flat."""
    random = np.random.default_rng(5)
    (folder / "real").mkdir(parents=True)
    windows: dict[str, list[list[str]]] = {}
    for name in ("jump", "calm"):
        values = random.normal(size=1000)
        if name == "jump":
            values[800:] += 30.0
        days = [
            f"2026-01-{1 + n // 288:02} {n % 288 // 12:02}:{n % 12 * 5:02}:00" for n in range(1000)
        ]
        text = "timestamp,value\n" + "".join(
            f"{day},{value}\n" for day, value in zip(days, values, strict=True)
        )
        (folder / "real" / f"{name}.csv.gz").write_bytes(gzip.compress(text.encode()))
        windows[f"real/{name}.csv"] = [[days[790], days[850]]] if name == "jump" else []
    (folder / "windows.json").write_text(json.dumps(windows))
    return folder


def test_the_quality_bench_runs_the_real_core_over_each_series(tmp_path: Path) -> None:
    every = nab.load(nab_folder(tmp_path))
    measured = report.measure(every, load(DEFAULTS))
    assert [one.windows for one in measured.judged] == [0, 1]
    assert measured.judged[1].found == 1
    assert sum(measured.points(one) for one in measured.judged) == pytest.approx(measured.score)
    assert sum(measured.most(one) for one in measured.judged) == pytest.approx(100.0)
    written = report.nab_json(measured)
    assert set(written["files"]) == {"real/jump", "real/calm"}
    assert written["cross_validated"] < 77.5


def test_the_quality_bench_says_in_one_sentence_that_data_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--data", "--cmapss"):
        assert quality([option, str(tmp_path / "none"), "--out", str(tmp_path / "q.json")]) == 1
        said = capsys.readouterr().err
        assert "name their folder with" in said
        assert said.count("\n") == 1
    assert not (tmp_path / "q.json").exists()


def test_a_series_is_judged_from_an_empty_state(tmp_path: Path) -> None:
    every: list[Series] = nab.load(nab_folder(tmp_path))
    rules = load(DEFAULTS)
    alone = report.measure(every[1:], rules)
    assert report.measure(every, rules).judged[1] == alone.judged[0]


AGREE = LIMIT.replace("leave_samples: 1}", "leave_samples: 1, agree: 2}")


def two_metrics(*order: int) -> History:
    """Two metrics of one device, over the limit together at the third of four times."""
    metric = ["a", "b"] * 4
    value = np.array([1, 1, 20, 1, 20, 20, 1, 1], dtype=float)
    time_ms = np.repeat(np.arange(4), 2) * 1000
    rows = list(order) or list(range(8))
    return History(
        device=["acme/p"] * 8,
        metric=[metric[row] for row in rows],
        time_ms=time_ms[rows],
        value=value[rows],
    )


@pytest.mark.parametrize("order", [(0, 1, 2, 3, 4, 5, 6, 7), (0, 2, 4, 6, 1, 3, 5, 7)])
def test_metrics_of_one_device_and_time_are_one_sample(order: tuple[int, ...]) -> None:
    found = backtest(two_metrics(*order), parse(AGREE, "rules"), Registry())
    assert [order[row] for row in np.flatnonzero(found.flagged)] == [4]
    assert [event.source.sequence for event in found.events] == [2]


def test_a_series_whose_time_goes_back_is_judged_in_the_order_of_the_file() -> None:
    history = History(
        device=["acme/p"] * 4,
        metric=["a", "b", "a", "b"],
        time_ms=np.array([5000, 5000, 1000, 1000]),
        value=np.array([20.0, 20.0, 1.0, 1.0]),
    )
    found = backtest(history, parse(AGREE, "rules"), Registry())
    assert np.flatnonzero(found.flagged).tolist() == [0]
    assert [event.source.sequence for event in found.events] == [0]


def test_a_metric_twice_at_one_time_is_two_samples() -> None:
    history = History(
        device=["acme/p"] * 4,
        metric=["a", "b", "a", "b"],
        time_ms=np.full(4, 1000),
        value=np.array([1.0, 1.0, 20.0, 20.0]),
    )
    found = backtest(history, parse(AGREE, "rules"), Registry())
    assert found.flagged.tolist() == [False, False, True, False]
    assert found.events[0].source.sequence == 1


def test_an_engine_in_a_file_alarms_as_the_same_engine_does_live() -> None:
    values = load_fleet(engines=1).engines[0]
    cycles = len(values)
    history = History(
        device=["quality/engine-001"] * (cycles * len(SENSORS)),
        metric=list(SENSORS) * cycles,
        time_ms=np.repeat(np.arange(cycles) * CYCLE_MS, len(SENSORS)),
        value=values.ravel(),
    )
    found = backtest(history, load(DEFAULTS), Registry())
    live = moments(values, "engine-001", DEFAULTS)
    assert [(event.source.sequence, event.severity) for event in found.events] == live
