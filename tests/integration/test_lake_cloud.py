"""The lake's store in other clouds than S3's, over emulators that other people made.

Azure Blob Storage by Azurite, Microsoft's own; Google Cloud Storage by fake-gcs-server, where
that program is installed (`go install github.com/fsouza/fake-gcs-server@latest`).
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import fsspec
import pytest
from aiohttp import ClientError
from azure.core.exceptions import AzureError
from gcsfs.retry import HttpError
from pydantic import SecretStr

from connectors.lake import base
from connectors.lake.catalog import NAMESPACE, open_catalog
from connectors.lake.cloud_store import CloudStore
from connectors.lake.config import LakeConfig
from connectors.lake.iceberg import IcebergTable
from connectors.lake.lake import make_store
from connectors.lake.writer import LakeWriter
from infra.local import ports
from pipeline.core.archive import Resume
from pipeline.core.lake_columns import Dataset
from tests.clients import node
from tests.integration.test_lake_s3 import batch
from tests.waiting import blocking_until, until

pytestmark = pytest.mark.parts

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The account that every Azurite has; its documentation prints the key."""


@dataclass(frozen=True)
class Cloud:
    """An emulator: how its lake is addressed, and the environment that leads there."""

    scheme: str
    environment: Mapping[str, str]
    away: Mapping[str, str]
    """The same with nobody at the other end."""


def azure(port: int) -> dict[str, str]:
    return {
        "AZURE_STORAGE_CONNECTION_STRING": (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
        )
    }


def google(port: int) -> dict[str, str]:
    return {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        "GOOGLE_CLOUD_PROJECT": "acme",
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
    }


@pytest.fixture(scope="module", params=["azure", "google"])
def cloud(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    port = ports.choose([request.param], {})[request.param]
    if request.param == "azure":
        program = str(node.modules() / ".bin" / "azurite-blob")
        arguments = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
        arguments += ["--location", str(tmp_path_factory.mktemp("azurite"))]
        arguments += ["--skipApiVersionCheck", "--disableTelemetry"]
        made = Cloud("abfs", azure(port), azure(1))
    else:
        program = shutil.which("fake-gcs-server") or ""
        if not program:
            pytest.skip("it needs fake-gcs-server on the PATH")
        arguments = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
        arguments += ["-backend", "memory", "-public-host", f"127.0.0.1:{port}"]
        made = Cloud("gs", google(port), google(1))
    process = subprocess.Popen([program, *arguments], stderr=subprocess.DEVNULL)

    def answers() -> bool:
        # Azure's client would wait a quarter of a minute after one refused connection.
        assert process.poll() is None, f"the emulator of {request.param} ended"
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return True
        return False

    try:
        blocking_until(answers, f"the emulator of {request.param} does not start")
        yield made
    finally:
        process.kill()
        process.wait()


@pytest.fixture
async def config(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LakeConfig:
    for name, value in cloud.environment.items():
        monkeypatch.setenv(name, value)
    # pyiceberg's file systems are fsspec's, which keeps those of an emulator that is gone.
    fsspec.get_filesystem_class(cloud.scheme).clear_instance_cache()
    bucket = f"lake-{uuid.uuid4().hex[:20]}"
    told = LakeConfig(
        url=f"{cloud.scheme}://{bucket}",
        catalog=SecretStr(f"sqlite:///{tmp_path / 'catalog.db'}"),
        endpoint=None,
        region="",
        access_key=None,
        secret_key=None,
        # A busy machine is no trouble of the cloud's.
        read_s=60.0,
        call_s=120.0,
    )
    files = fsspec.filesystem(cloud.scheme, skip_instance_cache=True)

    def made() -> bool:
        with contextlib.suppress(OSError, AzureError, HttpError, ClientError):
            if files.exists(bucket):  # the answer to the first try was lost
                return True
            files.mkdir(bucket)
            return True
        return False

    await until(made)
    return told


async def test_a_name_is_given_once_and_what_is_there_is_read(config: LakeConfig) -> None:
    store = make_store(config)
    assert isinstance(store, CloudStore)
    key = "telemetry/_ranges/t/00000/0.json"
    assert await store.put_new(key, b"first") == base.Created()
    assert await store.put_new(key, b"other") == base.Exists()
    assert await store.get(key) == base.Content(data=b"first", size=5)
    assert await store.tail(key, 3) == base.Content(data=b"rst", size=5)
    assert await store.tail(key, 300) == base.Content(data=b"first", size=5)
    assert await store.get(f"{key}.not") == base.Missing()
    assert await store.tail(f"{key}.not", 3) == base.Missing()


async def test_names_come_in_order_after_one_of_them(config: LakeConfig) -> None:
    store = make_store(config)
    for n in (2, 0, 1):
        await store.put_new(f"a/b/{n}.json", b"x")
    await store.put_new("a/c/9.json", b"x")
    found = await store.list_after("a/b/", "a/b/0.json")
    assert found == base.Names(names=("a/b/1.json", "a/b/2.json"), more=False)
    assert await store.list_after("a/none/", "") == base.Names(names=(), more=False)


async def test_a_range_is_a_table_there_and_a_new_writer_goes_on_after_it(
    config: LakeConfig,
) -> None:
    def writer() -> LakeWriter:
        return LakeWriter(
            make_store(config),
            dataset=Dataset.TELEMETRY,
            flush_rows=10**6,
            flush_s=1,
            table=IcebergTable(config, Dataset.TELEMETRY),
        )

    one = writer()
    first = await one.open("t.d", 1)
    assert isinstance(first, Resume), first
    for offset in range(4):
        one.offer(1, offset, batch(offset))
    flushed = await one.flush(1)
    assert isinstance(flushed, base.Flushed), flushed
    resumed = await writer().open("t.d", 1)
    assert isinstance(resumed, Resume), resumed
    assert resumed.next_offset == 4
    table = open_catalog(config).load_table((NAMESPACE, "telemetry"))
    assert table.scan().to_arrow().num_rows == flushed.rows > 0


async def test_a_cloud_that_is_away_is_a_value_that_holds_no_key(
    cloud: Cloud, config: LakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in cloud.away.items():
        monkeypatch.setenv(name, value)
    store = CloudStore(replace(config, call_s=3.0))
    answer = await store.put_new("a", b"x")
    assert isinstance(answer, base.Unavailable)
    assert KEY not in answer.reason
