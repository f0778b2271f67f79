from __future__ import annotations

import io
import json
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from rich.console import Console

from pipeline.core.lake_columns import TELEMETRY, arrow_schema
from pipeline.core.lake_rows import telemetry_tables
from pipeline.core.partition import partition_for
from pipeline.topology import PARTITIONS
from tests.bench import lake, lake_report
from tests.bench.lake_engines import OURS, PYARROW, QUIX, Growth, Run
from tests.bench.lake_load import (
    DEVICES,
    MESSAGE_READINGS,
    METRICS,
    arrival_table,
    as_objects,
    device_name,
    messages,
    play,
)
from tests.bench.lake_pyarrow import ORDER, sortable
from tests.bench.lake_queries import QUERIES, same

SCHEMA = arrow_schema(TELEMETRY)


def a_run(engine: str, rate: float, *, size: int = 3_000_000) -> Run:
    return Run(
        engine=engine,
        readings=1_000_000,
        readings_per_s=rate,
        readings_per_s_whole=rate / 2,
        seconds=1.0,
        size=size,
        peak_rss_mb=500.0,
        cpu_ns_per_reading=400.0,
    )


def test_a_steady_rate_begins_with_the_first_rows_and_ends_before_the_tail() -> None:
    growth = Growth()
    looks = [(3.0, 100), (3.5, 100), (4.0, 300), (5.0, 500), (11.0, 600)]
    assert [growth.look(at, rows) for at, rows in looks] == [True, False, True, True, True]
    assert growth.rate(450) == 200.0
    assert growth.rate(600) == 62.5


def test_rows_that_were_there_at_once_have_no_rate() -> None:
    growth = Growth()
    growth.look(1.0, 100)
    with pytest.raises(ValueError, match="100"):
        growth.rate(100)


def test_the_results_have_medians_every_run_and_the_host() -> None:
    runs = [
        *(a_run(OURS, rate) for rate in (900_000.0, 1_200_000.0, 1_100_000.0)),
        *(a_run(PYARROW, rate, size=4_000_000) for rate in (2_000_000.0, 2_200_000.0)),
        a_run(QUIX, 60_000.0),
    ]
    asked = {"before": dict.fromkeys((*QUERIES, "files"), 5.0)}
    found = json.loads(json.dumps(lake_report.results(runs, asked, quick=False)))
    assert found["readings_per_s"] == {OURS: 1_100_000, PYARROW: 2_100_000, QUIX: 60_000}
    assert found["readings_per_s_whole"][OURS] == 550_000
    assert found["share_of_pyarrow"] == 0.524
    assert found["bytes_per_reading"] == {OURS: 3.0, PYARROW: 4.0, QUIX: 3.0}
    assert found["peak_rss_mb"] == {OURS: 500.0, PYARROW: 500.0, QUIX: 500.0}
    assert found["query_ms"] == asked
    assert [run["readings_per_s"] for run in found["runs"] if run["engine"] == OURS] == [
        *(900_000.0, 1_200_000.0, 1_100_000.0)
    ]
    assert {"cpu_model", "cores", "memory_gib", "date"} <= set(found["host"])


@pytest.mark.parametrize(
    ("rates", "says"),
    [
        ({OURS: 1_000_000.0, PYARROW: 2_000_000.0}, ["reached", "reached"]),
        ({OURS: 999_999.0, PYARROW: 2_000_000.0}, ["missed", "missed"]),
        ({OURS: 1_000_000.0, PYARROW: 2_000_001.0}, ["reached", "missed"]),
        ({OURS: 500_000.0}, ["missed"]),
        ({PYARROW: 1.0}, []),
    ],
)
def test_a_goal_is_said_to_be_missed_where_it_is(rates: dict[str, float], says: list[str]) -> None:
    goals = [line for line in lake_report.verdicts(rates) if line.startswith("Goal")]
    assert [line.partition(":")[0].removeprefix("Goal ") for line in goals] == says


def test_the_tables_show_every_engine_and_layout() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=160)
    lake_report.show(console, [a_run(OURS, 1.5e6), a_run(PYARROW, 2e6)], quick=True)
    asked = {"small_files": dict.fromkeys((*QUERIES, "files"), 1_234.0)}
    lake_report.show_queries(console, asked)
    text = shown.getvalue()
    assert "1,500,000" in text
    assert "3.00" in text
    assert "Goal reached: at least 50% of pyarrow alone (75%)." in text
    assert text.count("1,234") == len(QUERIES) + 1


def test_a_partition_plays_its_own_devices_in_messages_of_a_thousand_readings() -> None:
    one, again = (list(islice(play(1), 8)) for _ in range(2))
    assert [message.source_offset for message in one] == list(range(8))
    for message, same_message in zip(one, again, strict=True):
        batch = message.batch
        assert batch.readings == MESSAGE_READINGS
        assert {partition_for(name.encode(), PARTITIONS) for name in batch.devices} == {1}
        assert np.array_equal(batch.reading_value, same_message.batch.reading_value)
    everyone = {
        name for p in range(PARTITIONS) for m in islice(play(p), 8) for name in m.batch.devices
    }
    assert everyone == set(map(device_name, range(DEVICES)))
    first = [message.source_partition for message in messages(2)]
    assert first == [*range(PARTITIONS)] * 2


def test_pyarrow_and_the_lake_make_the_same_rows_in_the_same_order() -> None:
    played = list(islice(play(0), 6))
    table = arrival_table(played)
    keys = [(name, "ascending") for name in ORDER]
    theirs = table.take(pc.sort_indices(sortable(table), sort_keys=keys)).cast(SCHEMA)
    ours = pa.concat_tables([part.cast(SCHEMA) for _, part in telemetry_tables(played, SCHEMA)])
    assert ours.num_rows == 6 * MESSAGE_READINGS
    assert theirs.equals(ours)


def test_quix_reads_the_same_readings() -> None:
    (played,) = islice(play(2), 1)
    found = as_objects(played)
    assert len(found) == MESSAGE_READINGS
    assert found[0]["value"] == played.batch.reading_value[0]
    assert found[0]["time"] == int(played.batch.sample_time_ms[0]) * 1_000
    assert {row["metric"] for row in found} == {metric.name for metric in METRICS}


def test_answers_may_differ_in_the_last_digits_of_an_average_alone() -> None:
    one = {name: [("a", 1.0), ("b", 3.0)] for name in QUERIES}
    near = {name: [("a", 1.0 + 1e-12), ("b", 3.0)] for name in QUERIES}
    assert same(one, near)
    for wrong in ([("a", 1.0)], [("a", 1.1), ("b", 3.0)], [("c", 1.0), ("b", 3.0)]):
        assert not same(one, near | {"last_values": wrong})


def test_an_unknown_engine_is_refused_with_the_names_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        lake.main(["--only", "spark"])
    assert "there is no engine spark" in capsys.readouterr().err
