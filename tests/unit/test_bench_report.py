from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench import report
from tests.bench.measure import Run, Watched
from tests.bench.shapes import SINGLE

RUN = Run(
    engine="fieldline",
    shape="single",
    readings=12_000_000,
    readings_per_s=1_000_000.0,
    seconds_steady=12.0,
    seconds_first=3.0,
    seconds_total=16.0,
    peak_rss_mb=400.0,
    cpu_cores=1.0,
)


def test_the_rate_of_an_engine_is_the_median_and_its_memory_the_worst() -> None:
    runs = [replace(RUN, readings_per_s=r, peak_rss_mb=m) for r, m in ((9, 300), (2, 500), (4, 1))]
    results = report.of_detect(runs, {}, quick=False)
    assert results["readings_per_s"] == {"fieldline": 4}
    assert results["peak_rss_mb"] == {"fieldline": 500}
    assert results["sizes"] == {"fieldline": 12_000_000}
    assert len(results["runs"]) == 3


def test_a_shape_that_was_not_run_keeps_its_results() -> None:
    before = {"shapes": {"ten": {"readings_per_s": 7, "peak_rss_mb": 100.0}}, "readings_per_s": {}}
    million = replace(RUN, shape="million", peak_rss_mb=1_100.0)
    results = report.of_detect([million], before, quick=True)
    assert results["shapes"]["ten"]["readings_per_s"] == 7
    assert "readings_per_s" not in results
    assert results["shapes"]["million"]["quick"] is True


def test_bytes_per_series_is_what_a_million_series_need_more_than_ten_thousand() -> None:
    runs = [
        replace(RUN, shape="ten", peak_rss_mb=100.0),
        replace(RUN, shape="million", peak_rss_mb=1_090.0),
    ]
    shapes = report.of_detect(runs, {}, quick=False)["shapes"]
    assert shapes["million"]["bytes_per_series"] == round(990 * 1024 * 1024 / 990_000)


def test_no_bytes_per_series_without_anything_to_compare_with() -> None:
    shapes = report.of_detect([replace(RUN, shape="million")], {}, quick=False)["shapes"]
    assert "bytes_per_series" not in shapes["million"]


def test_results_of_several_benches_stand_side_by_side_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "detect.json"
    report.merge({"latency": {"p50_ms": 1}}, path)
    report.merge({"bridge": {"ratio_to_bare": 0.9}}, path)
    report.merge({"latency": {"p50_ms": 2}}, path)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["latency"] == {"p50_ms": 2}
    assert found["bridge"] == {"ratio_to_bare": 0.9}
    assert {"cpu_model", "cores", "memory_gib", "python", "kernel", "date"} <= set(found["host"])


def test_a_spoilt_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "detect.json"
    path.write_text("{", encoding="utf-8")
    report.merge({"latency": {}}, path)
    assert "latency" in json.loads(path.read_text(encoding="utf-8"))


def shown(runs: list[Run]) -> str:
    out = io.StringIO()
    report.show(Console(file=out, width=110), SINGLE, runs, quick=False)
    return out.getvalue()


def test_the_table_has_every_engine_and_how_it_compares_with_ours() -> None:
    text = shown([RUN, replace(RUN, engine="quix", readings_per_s=20_000.0, readings=400_000)])
    assert "1,000,000" in text
    assert "1/50.0" in text
    assert "Other programs" not in text


def test_the_table_says_so_when_the_machine_was_busy_with_other_things() -> None:
    assert "Other programs used up to 1.2 cores" in shown([replace(RUN, others_cores=1.2)])


def test_the_rate_is_taken_between_first_and_last_output() -> None:
    watched = Watched(
        seconds_first=4.0,
        seconds_last=14.0,
        done_first=1_000.0,
        done_last=101_000.0,
        cpu_s=5.0,
        others_s=-0.1,
        peak_rss_mb=1.0,
    )
    assert watched.rate == pytest.approx(10_000)
    assert watched.cores == pytest.approx(0.5)
    assert watched.others == 0.0


def test_an_output_that_came_in_one_piece_is_rated_over_the_whole_run() -> None:
    watched = Watched(
        seconds_first=4.0,
        seconds_last=4.0,
        done_first=1_000.0,
        done_last=1_000.0,
        cpu_s=0.0,
        others_s=0.0,
        peak_rss_mb=1.0,
    )
    assert watched.rate == pytest.approx(250)
