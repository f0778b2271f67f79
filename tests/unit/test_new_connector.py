"""fieldline new-connector: files that are clean, found by themselves, and red in the suite."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.new_connector import FILES, write
from pipeline.settings import SettingsError
from tests.unit.test_cli import fieldline

CHECKOUT = Path(__file__).resolve().parents[2]
PARTS = ("connectors", "pipeline", "schemas", "tests")
NAME = "acmecrm"
LONG_NAME, LONG_TITLE = "a2345678901234567890", "Acme Customers, Parts & 'Service' <2026>"


def copy_to(folder: Path) -> Path:
    """A checkout of its own, as far as a connector and its suite need one."""
    for part in PARTS:
        shutil.copytree(
            CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
        )
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return folder


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_to(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def made(checkout: Path) -> list[Path]:
    return write(NAME, "Acme CRM", checkout)


def run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python's module with these arguments, in that checkout and importing from it."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=checkout,
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def test_all_files_are_made_where_a_connector_has_them(checkout: Path, made: list[Path]) -> None:
    assert made == [checkout / path.format(name=NAME) for path in FILES.values()]
    for path in made:
        text = path.read_text(encoding="utf-8")
        assert "$" not in text
        assert "acme" in text.lower()
        assert text.endswith("\n")


@pytest.mark.parametrize(
    ("name", "title"), [(NAME, "Acme CRM"), (LONG_NAME, LONG_TITLE), ("t24", "T")]
)
def test_what_is_made_is_clean_for_formatter_linter_and_types(
    tmp_path: Path, name: str, title: str
) -> None:
    folder = copy_to(tmp_path / "checkout")
    paths = [str(path.relative_to(folder)) for path in write(name, title, folder)]
    for tool in (("ruff", "format", "--check"), ("ruff", "check", "--no-cache")):
        ended = run(folder, *tool, *paths)
        assert ended.returncode == 0, ended.stdout
    if name == NAME:
        cache = ("--cache-dir", str(tmp_path / "mypy"), "--follow-imports", "silent")
        ended = run(folder, "mypy", *cache, *paths)
        assert ended.returncode == 0, ended.stdout


def test_the_suite_finds_it_and_is_red_for_what_is_not_written(
    checkout: Path, made: list[Path]
) -> None:
    assert made
    chosen = "makes_one_record or check_reads_only or unknown_device"
    ended = run(
        checkout,
        *("pytest", "-p", "no:cacheprovider", "-q", "tests/contract/suite"),
        *("-rfp", "-k", f"{NAME} and ({chosen})"),
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    failed = sorted(re.findall(r"(?m)^FAILED \S+::(\w+)\[", ended.stdout))
    assert failed == [
        "test_a_check_reads_only_and_says_what_is_well",
        "test_an_event_makes_one_record_whose_key_and_id_are_told",
    ]
    assert "ERROR" not in ended.stdout
    assert re.search(r"(?m)^PASSED \S+::test_an_event_of_an_unknown_device", ended.stdout)


def test_it_is_listed_and_shown_like_every_other(checkout: Path, made: list[Path]) -> None:
    assert made
    code = "from pipeline.cli.main import run; run()"
    for arguments, says in (
        (("connectors", "list"), r"(?m)^acmecrm +Acme CRM +record +no"),
        (("connectors", "show", NAME), "ACMECRM_TOKEN"),
        (("connectors", "contract", NAME), r"## Acme CRM \(`acmecrm`\)"),
        (("mapping", "show", NAME), "Acme CRM: record"),
    ):
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout), "COLUMNS": "120"}
        ended = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=checkout,
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert re.search(says, ended.stdout), ended.stdout


@pytest.mark.parametrize(
    "name",
    [
        *("", "a", "A", "Acme", "acme-crm", "acme_crm", "1acme", "acme crm", "../acme", "acme.crm"),
        *("ácme", "a" * 21, "x" * 500, "acme\n", "class", "lambda"),
        *("erpnext", "webhook", "lake", "template", "base", "answers", "box", "knobs"),
    ],
)
def test_a_name_that_cannot_be_or_is_taken_is_refused_and_nothing_is_written(
    checkout: Path, name: str
) -> None:
    before = sorted(checkout.rglob("*.py"))
    with pytest.raises(SettingsError) as caught:
        write(name, "Acme", checkout)
    text = str(caught.value)
    assert re.fullmatch(r"[^\n]+\.", text), text
    assert len(text) < 400
    assert sorted(checkout.rglob("*.py")) == before


@pytest.mark.parametrize("title", ["x" * 41, 'a"b', "a\\b", "a\nb", " ", ""])
def test_a_title_that_would_break_a_file_is_refused(checkout: Path, title: str) -> None:
    with pytest.raises(SettingsError, match="The title must be up to 40"):
        write("another", title, checkout)
    assert not (checkout / "connectors" / "another").exists()


def test_nothing_is_overwritten(checkout: Path, made: list[Path]) -> None:
    before = made[0].read_text(encoding="utf-8")
    with pytest.raises(SettingsError, match="is there already: take another name"):
        write(NAME, "Other", checkout)
    assert made[0].read_text(encoding="utf-8") == before


def test_the_command_says_what_it_made_and_what_comes_next(tmp_path: Path) -> None:
    folder = copy_to(tmp_path)
    ended = fieldline("new-connector", "initech", "--folder", str(folder))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("made ") == len(FILES)
    assert "pytest tests/contract/suite -k initech" in ended.stdout
    assert "Initech" in (folder / "connectors/initech/protocol.py").read_text(encoding="utf-8")


def test_outside_a_checkout_it_says_where_to_go(tmp_path: Path) -> None:
    ended = fieldline("new-connector", "initech", cwd=tmp_path)
    assert ended.returncode == 1
    assert "is no checkout of Fieldline: go there, or say --folder." in ended.stderr.replace(
        "\n", " "
    )
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())
