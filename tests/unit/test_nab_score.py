import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from tests.bench.quality.flags import flag
from tests.bench.quality.nab import Flags, Judged, Series, judge, load, main, score, table


def series(
    rows: int = 1000, windows: tuple[tuple[int, int], ...] = ((400, 500),), name: str = "a/b"
) -> Series:
    return Series(name=name, time_ms=np.arange(float(rows)), value=np.zeros(rows), windows=windows)


def flags(*rows: int, of: int = 1000) -> Flags:
    out = np.zeros(of, dtype=np.bool_)
    out[list(rows)] = True
    return out


def s(y: float) -> float:
    return 2 / (1 + math.exp(5 * y)) - 1


def test_every_window_flagged_at_its_first_row_is_100() -> None:
    both = series(windows=((400, 500), (700, 800)))
    assert score([judge(both, flags(400, 700))]) == pytest.approx(100.0)


def test_no_flags_are_0() -> None:
    assert score([judge(series(), flags())]) == 0.0
    assert judge(series(), flags()).raw == -1.0


@pytest.mark.parametrize(
    ("row", "worth"),
    [(400, 1.0), (425, s(-0.75) / s(-1)), (450, 0.8482836 / 0.9866143), (500, 0.0)],
)
def test_a_window_is_worth_less_the_later_it_is_found(row: int, worth: float) -> None:
    found = judge(series(), flags(row))
    assert found.raw == pytest.approx(worth)
    assert (found.found, found.false_positives) == (1, 0)


def test_only_the_first_flag_in_a_window_counts() -> None:
    assert judge(series(), flags(420, 430, 500)) == judge(series(), flags(420))


def test_a_flag_before_the_first_window_costs_its_full_weight() -> None:
    found = judge(series(), flags(399))
    assert found.raw == pytest.approx(-1.0 - 0.11)
    assert (found.found, found.false_positives) == (0, 1)


@pytest.mark.parametrize(
    ("row", "cost"), [(501, 0.11 * s(0.01)), (600, 0.11 * s(1.0)), (800, 0.11 * s(3.0))]
)
def test_a_flag_after_a_window_costs_less_the_nearer_it_is(row: int, cost: float) -> None:
    assert judge(series(), flags(row)).raw == pytest.approx(-1.0 + cost)


def test_a_flag_beyond_three_lengths_costs_its_full_weight() -> None:
    assert judge(series(), flags(801)).raw == pytest.approx(-1.0 - 0.11)


def test_a_flag_between_two_windows_is_measured_from_the_one_before() -> None:
    both = series(windows=((200, 300), (600, 700)))
    assert judge(both, flags(599)).raw == pytest.approx(-2.0 + 0.11 * s(2.99))


def test_each_further_false_flag_costs_again() -> None:
    assert judge(series(), flags(200, 300, 301)).raw == pytest.approx(-1.0 - 0.33)


def test_flags_in_probation_do_not_count() -> None:
    assert judge(series(), flags(0, 149)) == judge(series(), flags())
    assert judge(series(), flags(150)).false_positives == 1
    assert series(rows=5000).probation == series(rows=20_000).probation == 750


def test_a_file_without_windows_only_costs() -> None:
    quiet = series(windows=())
    assert judge(quiet, flags(500)).raw == pytest.approx(-0.11)
    assert math.isnan(score([judge(quiet, flags())]))
    together = score([judge(quiet, flags(500)), judge(series(), flags(400))])
    assert together == pytest.approx(100.0 - 50.0 * 0.11)


def test_as_many_flags_as_rows_are_wanted() -> None:
    with pytest.raises(ValueError, match="a/b has 1000 rows, but 3 flags"):
        judge(series(), np.zeros(3, dtype=np.bool_))


def test_the_table_names_files_folders_and_the_whole() -> None:
    judged = [
        Judged(name="x/one", windows=1, raw=1.0, found=1, false_positives=0),
        Judged(name="y/two", windows=0, raw=-0.22, found=0, false_positives=2),
    ]
    assert [line.split() for line in table(judged).splitlines()] == [
        ["file", "windows", "found", "false", "score"],
        ["x/one", "1", "1", "0", "100.0"],
        ["y/two", "0", "0", "2", "-"],
        ["x", "1", "1", "0", "100.0"],
        ["y", "0", "0", "2", "-"],
        ["all", "1", "1", "2", "89.0"],
    ]


def test_an_episode_is_one_flag_until_it_was_quiet_for_long_enough() -> None:
    score_of_rows = np.array([0, 3, 1.5, 0, 3, 0, 0, 3, 2.9, 0, 0, 2.5], dtype=np.float64)
    found = flag(score_of_rows, 3.0, 1.0, 2)
    assert np.flatnonzero(found).tolist() == [1, 7]


def test_series_and_windows_are_read_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    text = "timestamp,value\n" + "".join(f"2014-04-01 00:0{n}:00,{n}.5\n" for n in range(9))
    (tmp_path / "x" / "one.csv.gz").write_bytes(gzip.compress(text.encode()))
    window = ["2014-04-01 00:03:00.000000", "2014-04-01 00:05:00.000000"]
    (tmp_path / "windows.json").write_text(json.dumps({"x/one.csv": [window]}))
    (one,) = load(tmp_path)
    assert (one.name, one.folder, one.windows) == ("x/one", "x", ((3, 5),))
    assert one.value.tolist() == [n + 0.5 for n in range(9)]
    assert one.time_ms[:2].tolist() == [1396310400000.0, 1396310460000.0]


def test_a_missing_folder_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileNotFoundError, match="name their folder with --data"):
        load(tmp_path)
    assert main(["--data", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
