"""One run of each engine of the lake's bench, and what it came to."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import s3fs

from connectors.lake.config import LakeConfig
from pipeline.settings import Settings
from pipeline.topology import DEDUPLICATED, PARTITIONS
from tests.bench.broker import BenchError, Broker
from tests.bench.lake_load import Loaded
from tests.bench.measure import LOOK_S, STALLED_S
from tests.bench.process import Process, others_s

OURS, PYARROW, QUIX = "fieldline", "pyarrow", "quix"
GROUP = "fieldline-archive"
QUIX_TOPIC = "bench-lake-json"
QUIX_COMMIT_MESSAGES = 100
"""Messages of a checkpoint: a file of 25,000 rows for each partition."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run. `readings_per_s` is the steady state, `readings_per_s_whole` until all is there."""

    engine: str
    readings: int
    readings_per_s: float
    readings_per_s_whole: float
    seconds: float
    size: int
    """Bytes of all its Parquet files."""
    peak_rss_mb: float
    cpu_ns_per_reading: float
    """Processor time of its process, from the first rows to the last."""
    others_cores: float = 0.0

    @property
    def bytes_per_reading(self) -> float:
        """Of the Parquet files."""
        return self.size / self.readings

    def as_json(self) -> dict[str, Any]:
        """For the results file, figures rounded."""
        figures = asdict(self) | {"bytes_per_reading": self.bytes_per_reading}
        return {k: round(v, 3) if isinstance(v, float) else v for k, v in figures.items()}


@dataclass(slots=True)
class Growth:
    """Rows that readers see, look by look: (seconds, rows), both rising."""

    looks: list[tuple[float, int]] = field(default_factory=list)
    cpu_s: float = 0.0
    """Processor time of the process between the first look and the last."""
    others_cores: float = 0.0

    def look(self, at_s: float, rows: int) -> bool:
        """Note a look; whether there were more rows than before."""
        more = rows > (self.looks[-1][1] if self.looks else 0)
        if more:
            self.looks.append((at_s, rows))
        return more

    def rate(self, upto: int) -> float:
        """Rows a second from the first rows seen until `upto` were.

        ValueError where they were there at once: then too few were played.
        """
        first_s, first = self.looks[0]
        last_s, last = next(look for look in self.looks if look[1] >= upto)
        if last == first:
            raise ValueError(upto)
        return (last - first) / (last_s - first_s)


@dataclass(frozen=True, slots=True)
class Lake:
    """The lake of one run: a bucket and a catalogue of its own."""

    settings: Settings
    env: dict[str, str]
    catalog: Path

    @property
    def files(self) -> s3fs.S3FileSystem:
        """Its store."""
        return s3fs.S3FileSystem(**LakeConfig.from_settings(self.settings).s3fs_arguments())


def make_lake(broker: Broker, name: str) -> Lake:
    """An empty one."""
    folder = broker.root / "catalogues"
    folder.mkdir(parents=True, exist_ok=True)
    catalog = folder / f"{name}.sqlite"
    catalog.unlink(missing_ok=True)
    env = broker.env | {"S3_BUCKET": name, "LAKE_CATALOG": f"sqlite:///{catalog}"}
    lake = Lake(Settings.model_validate(env), env, catalog)
    lake.files.call_s3("create_bucket", Bucket=name)
    return lake


class Table:
    """How many rows the telemetry table shows, asked so that it costs next to nothing.

    The catalogue, a file, names the table's metadata; that is read where the name changed.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._files = lake.files
        self._known = ("", 0)

    def rows(self) -> int:
        """By the current snapshot."""
        place = self._place()
        if place and place != self._known[0]:
            metadata = json.loads(self._files.cat_file(place))
            current = metadata.get("current-snapshot-id")
            rows = next(
                (
                    int(snapshot["summary"]["total-records"])
                    for snapshot in metadata.get("snapshots", ())
                    if snapshot["snapshot-id"] == current
                ),
                0,
            )
            self._known = (place, rows)
        return self._known[1]

    def _place(self) -> str:
        if not self._lake.catalog.exists():
            return ""
        link = sqlite3.connect(f"file:{self._lake.catalog}?mode=ro", uri=True)
        try:
            found = link.execute(
                "SELECT metadata_location FROM iceberg_tables WHERE table_name = 'telemetry'"
            ).fetchall()
        except sqlite3.OperationalError:
            return ""  # not made yet, or just being written
        finally:
            link.close()
        return str(found[0][0]) if found else ""


async def ours(
    broker: Broker, lake: Lake, loaded: Loaded, *, on_progress: Callable[[float], None]
) -> Run:
    """The archive worker over all of telemetry.deduplicated into an empty lake, checked.

    The last rows wait for their age (LAKE_FLUSH_S) as nothing comes after them, so the steady
    state ends one range of each partition before (but not before half of all is there).
    """
    await broker.rewind(GROUP, DEDUPLICATED)
    shutil.rmtree(broker.root / "state", ignore_errors=True)
    table = Table(lake)
    tail = PARTITIONS * lake.settings.lake_flush_rows
    steady = max(loaded.readings - tail, loaded.readings // 2)
    argv = (str(Path(sys.executable).with_name("fieldline")), "worker", "archive")
    with Process(broker.root, "archive", argv, lake.env) as process:
        growth = await _watch(process, table.rows, loaded.readings, broker.pids, on_progress)
        peak = process.peak_rss_mb()
    rows, size = _files(lake)
    if rows != loaded.readings or growth.looks[-1][1] != loaded.readings:
        raise BenchError(
            f"The lake's files have {rows:,} rows, its table {growth.looks[-1][1]:,} and both must "
            f"have {loaded.readings:,}: its speed counts for nothing."
        )
    return _run(OURS, growth, steady=steady, size=size, peak=peak)


def _files(lake: Lake) -> tuple[int, int]:
    """Rows and bytes of the telemetry files."""
    files = lake.files
    found = files.find(f"{lake.settings.s3_bucket}/telemetry", detail=True)
    keys = {key: info["size"] for key, info in found.items() if key.endswith(".parquet")}
    rows = 0
    for key in keys:
        with files.open(key) as file:
            rows += pq.read_metadata(file).num_rows
    return rows, sum(keys.values())


async def quix(
    broker: Broker,
    python: str,
    loaded: Loaded,
    number: int,
    *,
    on_progress: Callable[[float], None],
) -> Run:
    """Quix Streams' file sink over the same readings as JSON, into an empty folder."""
    name = f"bench-lake-quix-{number}"
    folder = broker.root / "peer-state" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    env = {
        "BENCH_BOOTSTRAP": broker.settings.kafka_bootstrap,
        "BENCH_NAME": name,
        "BENCH_SOURCE": QUIX_TOPIC,
        "BENCH_FOLDER": str(folder),
        "BENCH_COMMIT_MESSAGES": str(QUIX_COMMIT_MESSAGES),
        "PYTHONPATH": str(Path.cwd()),
    }
    counted: dict[Path, int] = {}

    def rows() -> int:
        for path in set(folder.rglob("*.parquet")) - set(counted):
            try:
                counted[path] = pq.read_metadata(path).num_rows
            except (pa.ArrowException, OSError):
                continue  # it is being written
        return sum(counted.values())

    argv = (python, "-m", "tests.bench.peers.quix_lake")
    with Process(broker.root, "quix-lake", argv, env) as process:
        growth = await _watch(process, rows, loaded.readings, broker.pids, on_progress)
        peak = process.peak_rss_mb()
    size = sum(path.stat().st_size for path in counted)
    shutil.rmtree(folder, ignore_errors=True)
    return _run(QUIX, growth, steady=loaded.readings, size=size, peak=peak)


async def pyarrow(broker: Broker, lake: Lake, each: int) -> Run:
    """pyarrow over so many messages of each partition, in a process of its own."""
    argv = (sys.executable, "-m", "tests.bench.lake_pyarrow")
    numbers = (str(each), str(lake.settings.lake_flush_rows))
    began, others = time.monotonic(), others_s(*broker.pids)
    with Process(broker.root, "lake-pyarrow", (*argv, *numbers), lake.env) as process:
        cpu = 0.0
        while process.wait(0) is None:
            cpu = max(cpu, process.cpu_s())
            if time.monotonic() - began > STALLED_S:
                raise process.stuck("does not come to an end")
            await asyncio.sleep(LOOK_S)
        got = process.answer()
    elsewhere = (others_s(*broker.pids) - others - cpu) / (time.monotonic() - began)
    rate = got["rows"] / got["seconds"]
    return Run(
        engine=PYARROW,
        readings=int(got["rows"]),
        readings_per_s=rate,
        readings_per_s_whole=rate,
        seconds=got["seconds"],
        size=int(got["size"]),
        peak_rss_mb=got["peak_rss_mb"],
        cpu_ns_per_reading=got["cpu_s"] / got["rows"] * 1e9,
        others_cores=max(0.0, elsewhere),
    )


async def _watch(
    process: Process,
    rows: Callable[[], int],
    total: int,
    pids: tuple[int, ...],
    on_progress: Callable[[float], None],
) -> Growth:
    """Look until there are `total` rows: how they grew, and what it took meanwhile."""
    growth = Growth()
    began = moved = time.monotonic()
    others, cpu = others_s(*pids, process.pid), 0.0
    while not growth.looks or growth.looks[-1][1] < total:
        process.check()
        found, now = await asyncio.to_thread(rows), time.monotonic()
        if growth.look(now - began, found):
            moved = now
            cpu = cpu or process.cpu_s()
            on_progress(found)
        elif now - moved > STALLED_S:
            raise process.stuck(f"has written nothing for {STALLED_S:.0f} s ({found:,} rows)")
        await asyncio.sleep(LOOK_S / 2)
    growth.cpu_s = process.cpu_s() - cpu
    elsewhere = others_s(*pids, process.pid) - others
    growth.others_cores = max(0.0, elsewhere / (time.monotonic() - began))
    return growth


def _run(engine: str, growth: Growth, *, steady: int, size: int, peak: float) -> Run:
    (first_s, first), (last_s, total) = growth.looks[0], growth.looks[-1]
    try:
        rate, whole = growth.rate(steady), growth.rate(total)
    except ValueError as error:
        raise BenchError(
            f"{engine} had all its rows at its first look: play more than {total:,} readings."
        ) from error
    return Run(
        engine=engine,
        readings=total,
        readings_per_s=rate,
        readings_per_s_whole=whole,
        seconds=last_s - first_s,
        size=size,
        peak_rss_mb=peak,
        cpu_ns_per_reading=growth.cpu_s / (total - first) * 1e9,
        others_cores=growth.others_cores,
    )
