"""fieldline lake sql on a real S3 server, over tables: what it reads, and what it cannot."""

from __future__ import annotations

import pytest

from connectors.lake.config import LakeConfig
from connectors.lake.reader import Lake
from connectors.lake.readonly import LakeFiles, store_files
from pipeline.ops import lake_sql as ops
from pipeline.settings import Settings
from tests.integration.s3_server import Server
from tests.lake_world import DATES, PER_DAY, write_days

pytestmark = pytest.mark.parts


@pytest.fixture(scope="module")
def lake(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    told = dict(server.part.settings()) | {
        "lake_url": "s3://fieldline",
        "lake_catalog": f"sqlite:///{tmp_path_factory.mktemp('lake') / 'catalogue.db'}",
    }
    settings = Settings.model_validate(told)
    write_days(settings, [0, 1, 2])
    return settings


def test_one_dates_question_asks_the_store_for_that_dates_files_only(
    lake: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    part = LakeFiles.part

    def noted(self: LakeFiles, name: str, start: int, end: int) -> bytes:
        asked.append(name)
        return part(self, name, start, end)

    monkeypatch.setattr(LakeFiles, "part", noted)
    with Lake(lake, sealed=True) as one:
        for query, rows in (
            (f"SELECT count(value) FROM telemetry WHERE date = '{DATES[1]}'", PER_DAY),  # noqa: S608 - constants of our own
            (f"SELECT count(value) FROM telemetry WHERE time >= '{DATES[2]}'", PER_DAY),  # noqa: S608 - constants of our own
        ):
            asked.clear()
            one.refresh()
            one.narrow(query)
            assert one.connection.execute(query).fetchall() == [(rows,)]
            assert len(set(asked)) == 1


def test_the_table_on_s3_is_read_and_not_written(lake: Settings) -> None:
    files, root = store_files(LakeConfig.from_settings(lake))
    before = sorted(files.find(root))
    with ops.Session(lake) as session:
        [query] = session.split("SELECT date, count(*) FROM telemetry GROUP BY 1 ORDER BY 1")
        assert [row[1] for row in session.run(query).head(10)] == [PER_DAY] * 3
        for bad in (
            "PREPARE p AS COPY (SELECT 1 AS a) TO 'lake://telemetry/date=2024-10-04/x.parquet'",
            "PREPARE p AS COPY (SELECT 1 AS a) TO 's3://fieldline/x.parquet'",
        ):
            prepare, execute = session.split(f"{bad}; EXECUTE p")
            with pytest.raises(ops.QueryError):
                _both(session, prepare, execute)
        [query] = session.split("SELECT * FROM read_text('s3://fieldline/x')")
        with pytest.raises(ops.QueryError):
            session.run(query)
    assert sorted(files.find(root)) == before


def _both(session: ops.Session, *statements: ops.Statement) -> None:
    for statement in statements:
        session.run(statement).close()
