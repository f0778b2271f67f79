"""fieldline lake load, as a person types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract.warehouse_world import Lake

FIELDLINE = str(Path(sys.executable).with_name("fieldline"))
SECRET = "hunter2-of-the-warehouse"


def fieldline(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "COLUMNS": "200", **variables}
    return subprocess.run(
        [FIELDLINE, "lake", "load", *arguments],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    made = Lake(tmp_path_factory.mktemp("lake") / "lake")
    made.readings(3)
    return made


def places(lake: Lake) -> dict[str, str]:
    assert lake.config.catalog is not None
    return {"LAKE_URL": lake.config.url, "LAKE_CATALOG": lake.config.catalog.get_secret_value()}


def test_the_list_of_warehouses_says_what_was_tested(tmp_path: Path) -> None:
    ended = fieldline("--list", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "not against Redshift" in ended.stdout
    assert "fabric" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "Name a warehouse"),
        (("teradata",), "choose among snowflake"),
        (("redshift", "--since", "yesterday"), "YYYY-MM-DD"),
        (("redshift", "--dataset", "sensors"), "choose among telemetry"),
        (("redshift", "-d", "telemetry"), "REDSHIFT_LAKE_URL"),
        (("snowflake", "-d", "telemetry"), "cannot read a lake at file://"),
        (("bigquery", "-d", "events", "--print"), "no table events yet"),
        (("redshift", "-d", "events", "--continuous", "3600"), "no table events yet"),
        (("redshift", "--continuous", "3600", "--check"), "without --check"),
        (("redshift", "--continuous", "3600", "--anew"), "without --anew"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    lake: Lake, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    ended = fieldline(*arguments, cwd=tmp_path, **places(lake))
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert says in ended.stderr


def test_statements_are_printed_without_asking_anybody_and_without_secrets(
    lake: Lake, tmp_path: Path
) -> None:
    before = sorted(lake.root.rglob("*"))
    ended = fieldline(
        *("redshift", "-d", "telemetry", "--print"),
        cwd=tmp_path,
        REDSHIFT_URL="redshift://127.0.0.1:1/lake",
        REDSHIFT_USER="loader",
        REDSHIFT_PASSWORD=SECRET,
        REDSHIFT_LAKE_URL="s3://lake",
        **places(lake),
    )
    assert ended.returncode == 0, ended.stderr
    assert "COPY fieldline_stage_0 FROM 's3://lake/telemetry/_loads/" in ended.stdout
    assert "LOCK TABLE fieldline.fieldline_load_turns" in ended.stdout
    assert SECRET not in ended.stdout + ended.stderr
    assert sorted(lake.root.rglob("*")) == before


def test_a_warehouse_that_is_away_is_told_and_is_no_success(lake: Lake, tmp_path: Path) -> None:
    ended = fieldline(
        *("redshift", "-d", "telemetry"),
        cwd=tmp_path,
        REDSHIFT_URL="redshift://127.0.0.1:1/lake",
        REDSHIFT_USER="loader",
        REDSHIFT_PASSWORD=SECRET,
        REDSHIFT_LAKE_URL="s3://lake",
        **places(lake),
    )
    assert ended.returncode == 1
    assert "Redshift does not let us in" in ended.stdout
    assert SECRET not in ended.stdout + ended.stderr
