from __future__ import annotations

import csv
import gzip
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.backtest import Backtest
from pipeline.ops import history
from pipeline.ops.history import HistoryError, read, write

NOON = 1_795_262_400_000
"""2026-11-21T12:00:00Z in ms."""


def file(folder: Path, text: str, name: str = "h.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def times(folder: Path, *stamps: str) -> list[int]:
    text = "timestamp,value\n" + "".join(f"{stamp},1\n" for stamp in stamps)
    found: list[int] = read(file(folder, text)).history.time_ms.tolist()
    return found


def refused(folder: Path, text: str) -> str:
    with pytest.raises(HistoryError) as caught:
        read(file(folder, text))
    return str(caught.value)


def nothing(rows: int) -> Backtest:
    return Backtest(
        score=np.zeros(rows),
        flagged=np.zeros(rows, dtype=np.bool_),
        detector=[""] * rows,
        events=[],
    )


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-11-21T12:00:00Z",
        "2026-11-21 12:00:00",
        "2026-11-21 12:00",
        " 2026-11-21T12:00:00.000 ",
        "2026-11-21T13:00:00+01:00",
        "2026-11-21 07:00:00-05",
        "20261121T120000Z",
        "2026-11-21T12:00:00.000000999Z",
        "1795262400",
        "1795262400.0",
        "1.7952624e9",
        "1795262400000",
    ],
)
def test_a_moment_is_the_same_however_it_is_written(tmp_path: Path, stamp: str) -> None:
    assert times(tmp_path, stamp) == [NOON]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.datetimes(
            datetime(1900, 1, 1),  # noqa: DTZ001 - hypothesis wants bounds without a zone
            datetime(2200, 1, 1),  # noqa: DTZ001 - the same
            timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30))]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_iso_time_is_read_to_the_millisecond(
    tmp_path_factory: pytest.TempPathFactory, moments: list[datetime]
) -> None:
    folder = tmp_path_factory.mktemp("times")
    expected = [
        (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        for moment in moments
    ]
    assert times(folder, *(moment.isoformat() for moment in moments)) == expected
    # One cell that Arrow does not take makes the file go the slow way: the same comes out.
    mixed = times(folder, "20261121T120000Z", *(moment.isoformat() for moment in moments))
    assert mixed == [NOON, *expected]


def test_numbers_are_seconds_unless_one_in_the_file_is_too_great_for_them(tmp_path: Path) -> None:
    assert times(tmp_path, "0", "1", "2.5") == [0, 1000, 2500]
    assert times(tmp_path, "0", "1", "1795262400000") == [0, 1, NOON]


def test_columns_may_stand_in_any_order_among_others(tmp_path: Path) -> None:
    text = 'note,value,device_id,timestamp,note\n"a, ""b""\nc",1.5,acme/p1,0,x\n,2,p2,1,\n'
    table = read(file(tmp_path, text)).history
    assert table.value.tolist() == [1.5, 2.0]
    assert table.time_ms.tolist() == [0, 1000]
    assert list(table.device) == ["acme/p1", "history/p2"]
    assert list(table.metric) == ["value", "value"]


def test_a_file_without_device_and_metric_is_one_series(tmp_path: Path) -> None:
    table = read(file(tmp_path, "timestamp,value\n0,1\n1,2\n")).history
    assert set(table.device) == {"history/device"}
    assert set(table.metric) == {"value"}


@pytest.mark.parametrize("cell", ["", " ", "NaN", "nan", "NA", "null", "None", "n/a", "inf"])
def test_no_number_that_says_so_is_a_gap_that_keeps_its_place(tmp_path: Path, cell: str) -> None:
    value = read(file(tmp_path, f"timestamp,value\n0,1\n1,{cell}\n2,3\n")).history.value
    assert np.isfinite(value).tolist() == [True, False, True]


@pytest.mark.parametrize("cell", ["+1.5", "1.5", "1.5e0", " 1.5 "])
def test_a_value_may_be_written_in_the_usual_ways(tmp_path: Path, cell: str) -> None:
    assert read(file(tmp_path, f"timestamp,value\n0,{cell}\n")).history.value.tolist() == [1.5]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timestamp,value\n0,1\n\n1,warm\n", "Line 4 of {}: 'warm' is no number"),
        ('timestamp,value,n\n0,1,"a\nb"\n1,1_0,\n', "Line 4 of {}: '1_0' is no number"),
        ('timestamp,value\n0,"1,5"\n', "Line 2 of {}: '1,5' is no number"),
        ("timestamp,value\n0,1\nyesterday,1\n", "Line 3 of {}: 'yesterday' is no time"),
        ("timestamp,value\n,1\n", "Line 2 of {}: '' is no time"),
        ("timestamp,value\n1e30,1\n", "Line 2 of {}: '1e30' is no time"),
        ("timestamp,value\nnan,1\n", "Line 2 of {}: 'nan' is no time"),
        ("timestamp,value\n0,1\n0,1,2\n", "Line 3 of {} has 3 columns, not 2"),
        ("time,value\n0,1\n", "Line 1 of {} has no column timestamp"),
        ("timestamp;value\n0;1\n", "Line 1 of {} has no column timestamp"),
        ("timestamp,value,value\n0,1,2\n", "Line 1 of {} has column value twice"),
        ("", "Line 1 of {} is no header"),
        ("timestamp,value\n", "{} has a header line and no readings"),
        ("timestamp,value,metric\n0,1," + "m" * 300 + "\n", "A device_id or metric in {}"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_that_names_the_line(
    tmp_path: Path, text: str, said: str
) -> None:
    told = refused(tmp_path, text)
    assert told.startswith(said.format(tmp_path / "h.csv"))
    assert told.endswith(".")
    assert "\n" not in told


def test_a_file_that_is_not_utf_8_or_not_there_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "h.csv"
    for data in (b"timestamp,value\n\xff,1\n", b"\xff\xfe\x00"):
        path.write_bytes(data)
        with pytest.raises(HistoryError, match="is not UTF-8 text"):
            read(path)
    with pytest.raises(HistoryError, match="cannot be read"):
        read(tmp_path / "none.csv")
    packed = gzip.compress(b"timestamp,value\n" + b"0,1\n" * 10_000)
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(HistoryError, match="cannot be read"):
        read(path)


def test_a_packed_file_reads_like_a_plain_one(tmp_path: Path) -> None:
    text = "\ufefftimestamp,value\n0,1\n1,2\n"
    plain = read(file(tmp_path, text))
    packed = tmp_path / "h.csv.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read(packed).history.value.tolist() == plain.history.value.tolist() == [1.0, 2.0]


def test_more_rows_than_fit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_ROWS", 2)
    assert "split it" in refused(tmp_path, "timestamp,value\n0,1\n1,2\n2,3\n")


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz"])
def test_rows_come_out_as_they_came_with_three_columns_more(tmp_path: Path, name: str) -> None:
    text = 'value,x,metric,timestamp\n1.50,a,"t, in",0\n,b,"t ""out""",2026-11-21\n'
    table = read(file(tmp_path, text))
    out = tmp_path / "new" / name
    write(
        out,
        table,
        Backtest(
            score=np.array([0.25, 1.5]),
            flagged=np.array([False, True]),
            detector=["", "zscore"],
            events=[],
        ),
    )
    data = out.read_bytes()
    lines = (gzip.decompress(data) if name.endswith(".gz") else data).decode().splitlines()
    assert list(csv.reader(lines)) == [
        ["timestamp", "value", "metric", "anomaly_score", "flagged", "detector"],
        ["0", "1.50", "t, in", "0.25", "0", ""],
        ["2026-11-21", "", 't "out"', "1.5", "1", "zscore"],
    ]
    assert [path.name for path in out.parent.iterdir()] == [name]


def test_plain_text_is_written_without_quotes(tmp_path: Path) -> None:
    table = read(file(tmp_path, "timestamp,value\n0,1.0\n"))
    write(tmp_path / "o.csv", table, nothing(1))
    assert (tmp_path / "o.csv").read_text().splitlines() == [
        "timestamp,value,anomaly_score,flagged,detector",
        "0,1.0,0,0,",
    ]


def test_a_result_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    table = read(file(tmp_path, "timestamp,value\n0,1\n"))
    with pytest.raises(HistoryError, match="cannot be written"):
        write(tmp_path / "h.csv" / "o.csv", table, nothing(1))
