"""The lake's keepers on a real S3 server, by the commands a person types."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import duckdb
import pytest
import s3fs
from typer.testing import CliRunner

from connectors.lake.base import Content
from connectors.lake.config import LakeConfig
from pipeline.cli import lake as cli
from pipeline.core.lake_columns import Dataset
from pipeline.settings import Settings
from tests.contract.lake_keep_world import DATE, READINGS, World
from tests.integration.s3_server import Server

pytestmark = pytest.mark.parts


@pytest.fixture
def settings(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a lake of its own, which the commands find too."""
    bucket = tmp_path.name.replace("_", "-")[-40:].strip("-")
    told = Settings.model_validate(
        dict(server.part.settings())
        | {
            "LAKE_URL": f"s3://{bucket}",
            "LAKE_CATALOG": f"sqlite:///{tmp_path}/catalogue.db",
            "FIELDLINE_OPERATOR": "tester",
        }
    ).model_copy(update={"operator": "tester", "lake_grace_h": 0.0})
    arguments = LakeConfig.from_settings(told).s3fs_arguments()
    s3fs.S3FileSystem(**arguments).call_s3("create_bucket", Bucket=bucket)
    monkeypatch.setattr("pipeline.cli.lake_keep.load", lambda: told)
    return told


async def typed(*words: str, code: int = 0) -> Any:  # noqa: ANN401 - JSON
    """What a command prints as JSON. In a thread: it makes an event loop of its own."""
    result = await asyncio.to_thread(CliRunner().invoke, cli.app, [*words, "--json"])
    assert result.exit_code == code, (result.output, result.exception)
    return json.loads(result.stdout)


def counted(settings: Settings) -> int:
    """Rows that DuckDB finds in the folders."""
    config = LakeConfig.from_settings(settings)
    with duckdb.connect() as connection:
        connection.register_filesystem(s3fs.S3FileSystem(**config.s3fs_arguments()))
        [(rows,)] = connection.execute(
            "SELECT count(*) FROM read_parquet(?)", [f"{config.url}/telemetry/date=*/*.parquet"]
        ).fetchall()
    return int(rows)


async def test_a_lake_is_merged_swept_verified_and_forgets_a_device(settings: Settings) -> None:
    world = World(LakeConfig.from_settings(settings))
    await world.telemetry(4)
    await world.telemetry(2, partition=1)
    rows = 18 * READINGS

    assert [one["files"] for one in await typed("compact", "--dry-run")] == [6]
    [merged] = await typed("compact")
    assert (merged["rows"], merged["date"], merged["skipped"]) == (rows, DATE, False)
    assert world.rows() == rows
    freed = {one["dataset"]: one for one in await typed("expire")}
    assert freed["telemetry"]["files"] == 6
    assert counted(settings) == world.rows() == rows

    verified = {one["dataset"]: one for one in await typed("verify", "--rows")}
    assert verified["telemetry"]["findings"] == []
    assert verified["telemetry"]["sums"] == rows

    proof = await typed("forget-device", "acme/pump-003", "--yes")
    told = proof["datasets"]["telemetry"]
    assert (told["rows_removed"], told["rows_found_after"]) == (rows // 5, 0)
    assert proof["asked_by"] == "tester"
    assert counted(settings) == world.rows() == rows - rows // 5
    store = world.live().store
    kept = await store.get(proof["key"])
    await store.close()
    assert isinstance(kept, Content)
    assert b"pump-003" not in kept.data
    assert proof["salt"].encode() not in kept.data
    await typed("verify", "--rows")


async def test_what_is_lost_ends_verify_with_code_1(settings: Settings) -> None:
    world = World(LakeConfig.from_settings(settings))
    await world.telemetry(2)
    live = world.live()
    [first, _] = await live.files(world.table())
    await live.delete([first.key])
    await live.store.close()
    told = {one["dataset"]: one for one in await typed("verify", code=1)}
    wrong = [one["wrong"] for one in told[Dataset.TELEMETRY]["findings"]]
    assert wrong == ["lost", "missing"]
