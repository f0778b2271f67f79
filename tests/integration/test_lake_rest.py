"""The lake's tables in a REST catalogue: Apache Iceberg's own server, over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.lake import base
from connectors.lake.catalog import NAMESPACE, open_catalog
from connectors.lake.iceberg import IcebergTable, standings
from connectors.lake.writer import LakeWriter
from infra.local import ports, tools
from pipeline.core.archive import Resume
from pipeline.core.lake_columns import Dataset
from pipeline.wire.lake import columns_of
from tests.contract.lake_producers import TOPIC as EVENTS_TOPIC
from tests.contract.lake_producers import Feed, Producer, Registry
from tests.contract.lake_tables import READINGS, TOPIC, Lake, batch, brought, opened
from tests.waiting import blocking_until, until

pytestmark = pytest.mark.parts

POM = Path(__file__).with_name("iceberg_rest") / "pom.xml"
MAIN = "org.apache.iceberg.rest.RESTCatalogServer"
FETCH_S = 240


class Server:
    """The catalogue server; it keeps its tables in SQLite below `folder`."""

    def __init__(self, folder: Path, classpath: str) -> None:
        self.port = ports.choose(["rest"], {})["rest"]
        log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [tools.path(tools.JAVA), "-Xmx256m", "-cp", classpath, MAIN],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ
            | {
                "CATALOG_REST_PORT": str(self.port),
                "CATALOG_URI": f"jdbc:sqlite:{folder}/rest.db",
                "CATALOG_WAREHOUSE": f"file://{folder}/lake",
            },
        )
        log.close()
        blocking_until(self._answers, "the REST catalogue does not start")

    def _answers(self) -> bool:
        assert self._process.poll() is None, "the REST catalogue ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def freeze(self, *, thaw: bool = False) -> None:
        self._process.send_signal(signal.SIGCONT if thaw else signal.SIGSTOP)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    told = tmp_path_factory.mktemp("rest") / "classpath"
    command = [tools.path(tools.MVN), "-q", "-B", "-f", str(POM), "dependency:build-classpath"]
    done = subprocess.run(
        [*command, f"-Dmdep.outputFile={told}"],
        capture_output=True,
        timeout=FETCH_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    return told.read_text().strip()


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture
def server(tmp_path: Path, classpath: str) -> Iterator[Server]:
    one = Server(tmp_path, classpath)
    try:
        yield one
    finally:
        one.stop()


async def test_ranges_offsets_and_evolution_go_through_a_rest_catalogue(
    lake: Lake, server: Server
) -> None:
    config = lake.config(f"http://127.0.0.1:{server.port}/")
    table = IcebergTable(config, Dataset.TELEMETRY)
    writer = lake.writer(table=table)
    for partition in range(3):
        await opened(writer, partition)
    for start in (0, 10):
        offsets = range(start, start + 10)
        await asyncio.gather(*(brought(writer, offsets, one) for one in range(3)))
    loaded = open_catalog(config).load_table((NAMESPACE, "telemetry"))
    assert loaded.scan().to_arrow().num_rows == 3 * 20 * READINGS
    assert {where[1]: at.last for where, at in standings(loaded).items()} == {0: 19, 1: 19, 2: 19}

    again = lake.writer(table=IcebergTable(config, Dataset.TELEMETRY))
    assert (await opened(again, 1)).next_offset == 20

    registry = Registry()
    events = lake.writer(
        Dataset.EVENTS, table=IcebergTable(config, Dataset.EVENTS, columns_of(Dataset.EVENTS))
    )
    await opened(events, 0, EVENTS_TOPIC)
    told = Feed(registry, events)
    told.offer(0, Producer(registry).message(0, summary="a"))
    await told.flush()
    newer = Producer(
        registry,
        add=({"name": "mood", "type": "string"},),
        change={"summary": {"name": "headline", "aliases": ["summary"]}},
    )
    told.offer(1, newer.message(1, headline="b", mood="sad"))
    await told.flush()
    loaded = open_catalog(config).load_table((NAMESPACE, "events"))
    rows = loaded.scan().to_arrow().to_pylist()
    assert {(row["headline"], row["mood"]) for row in rows} == {("a", None), ("b", "sad")}


async def test_two_writers_of_one_rest_catalogue_lose_no_range(lake: Lake, server: Server) -> None:
    config = lake.config(f"http://127.0.0.1:{server.port}/")
    writers = [lake.writer(table=IcebergTable(config, Dataset.TELEMETRY)) for _ in range(2)]
    for partition, writer in enumerate(writers):
        await opened(writer, partition)

    async def bring(writer: LakeWriter, partition: int) -> None:
        for start in range(0, 50, 10):
            await brought(writer, range(start, start + 10), partition)

    await asyncio.gather(*(bring(writer, own) for own, writer in enumerate(writers)))
    loaded = open_catalog(config).load_table((NAMESPACE, "telemetry"))
    assert loaded.scan().to_arrow().num_rows == 2 * 50 * READINGS


async def test_a_rest_catalogue_that_stops_answering_holds_no_one_up(
    lake: Lake, server: Server
) -> None:
    config = lake.config(f"http://127.0.0.1:{server.port}/", read_s=5.0, call_s=20.0)
    writer = lake.writer(table=IcebergTable(config, Dataset.TELEMETRY))

    async def ready() -> bool:
        return isinstance(await writer.open(TOPIC, 0), Resume)

    await until(ready)
    await brought(writer, range(10))
    server.freeze()
    for offset in range(10, 20):
        writer.offer(0, offset, batch(offset))
    async with asyncio.timeout(60):
        assert isinstance(await writer.flush(0), base.Retry)
    server.freeze(thaw=True)

    async def flushed() -> bool:
        return isinstance(await writer.flush(0), base.Flushed)

    await until(flushed)
    loaded = open_catalog(config).load_table((NAMESPACE, "telemetry"))
    assert loaded.scan().to_arrow().num_rows == 20 * READINGS
    assert standings(loaded)[TOPIC, 0].last == 19
