"""fieldline report over a lake on the local disk that the real writer wrote."""

from __future__ import annotations

import csv
import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from typer.testing import CliRunner

from pipeline.cli.main import app
from pipeline.core.events import Action, BusinessEvent, Disposition, Severity
from pipeline.ops import marts
from pipeline.ops.report.words import name
from pipeline.settings import SettingsError, load
from tests.contract.report_lake import Messages, batch, result, write
from tests.unit.examples import event

MINUTE = 60_000
T0 = 1_790_000_040_000
"""2026-09-21 14:14 UTC."""
HOSTILE = '<script>alert(1)</script> & "it\'s" $x$ \u202e --> </svg>'


def told(number: int, minute: float, **changes: object) -> BusinessEvent:
    at = T0 + round(minute * MINUTE)
    return event(
        id=f"{number:024d}",
        correlation_id=f"{number:024d}",
        occurred_at_ms=at,
        observed_at_ms=at + 2_000,
        **changes,
    )


def messages() -> Messages:
    """Two troubles of one asset: 0-30 and 20-50 minutes; one still open at another tenant."""
    first = told(1, 0)
    second = told(2, 20, metric="P2")
    other = told(
        5,
        60,
        tenant="bolt",
        device_id="bolt/press",
        asset_id=HOSTILE,
        summary=HOSTILE,
        severity=Severity.CRITICAL,
    )
    unsure = told(6, 61, disposition=Disposition.REVIEW)
    return Messages(
        events=[
            first,
            second,
            told(3, 30, action=Action.CLEAR, entity_id=first.id),
            told(4, 50, action=Action.CLEAR, entity_id=second.id, metric="P2"),
            other,
            unsure,
        ],
        results=[
            result(first, "sap", 4_000),
            result(second, "sap", 6_000),
            result(other, "sap", 1_000, "dead_lettered"),
        ],
        refused=[
            {
                "reason": "not_json",
                "detail": "no JSON",
                "mqtt_topic": "acme/engine-001/up",
                "device_id": "acme/engine-001",
                "payload": b"{",
                "readings": 1,
                "received_ms": T0,
            }
        ],
        batches=[
            batch(
                "acme/engine-001",
                [T0, T0 + MINUTE, T0 + 2 * MINUTE],
                {"T50": [1.0, 2.0, 3.0], "P2": [4.0, 5.0, float("nan")]},
                offset=0,
                late=[False, True, False],
            )
        ],
    )


class Page(HTMLParser):
    """What a browser finds: tags that open and close, links, texts, ids."""

    VOID = frozenset({"meta", "link", "br", "img", "hr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.labels: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.addresses += [v or "" for k, v in attrs if k in {"href", "src", "xlink:href"}]
        assert not [k for k in given if k.startswith("on")]
        if tag == "svg":
            assert given["role"] == "img"
            self.labels.append(given["aria-label"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def run(*arguments: str) -> str:
    """What the command says; AssertionError where it failed."""
    done = CliRunner().invoke(app, ["report", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def nothing_told(tmp_path: Path) -> str:
    path = tmp_path / "none.jsonl"
    path.write_text("")
    return str(path)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    root = tmp_path / "lake"
    root.mkdir()
    monkeypatch.setenv("LAKE_URL", root.as_uri())
    monkeypatch.delenv("LAKE_CATALOG", raising=False)
    load.cache_clear()
    yield root
    load.cache_clear()


@pytest.fixture
async def full(lake: Path) -> Path:
    await write(lake, messages())
    return lake


def made(tmp_path: Path, *arguments: str) -> str:
    out = tmp_path / "deep" / "page.html"
    run("--out", str(out), *arguments)
    return out.read_text(encoding="utf-8")


def test_the_page_is_one_file_that_loads_nothing_and_is_whole(
    full: Path, tmp_path: Path, nothing_told: str
) -> None:
    assert full.exists()
    text = made(tmp_path, "--feedback", nothing_told)
    page = Page(text)
    assert all(address.startswith("#") for address in page.addresses)
    assert {a[1:] for a in page.addresses} <= set(page.ids)
    assert not {"script", "link", "img", "iframe", "object", "form", "base"} & set(page.tags)
    assert page.tags.count("style") == 1
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert len(page.ids) == len(set(page.ids))


def test_every_section_has_its_sentence_its_source_its_plot_and_its_table(
    full: Path, tmp_path: Path, nothing_told: str
) -> None:
    assert full.exists()
    text = made(tmp_path, "--feedback", nothing_told)
    page = Page(text)
    assert page.tags.count("h1") == 1
    sections = re.findall(r"<section id=.*?</section>", text, re.DOTALL)
    names = {model.name for model in marts.models()}
    assert len(sections) == 7
    for section in sections:
        [source] = re.findall(r"Source: <code>(\w+)</code>", section)
        assert source in names
        assert "<table>" in section
        assert ("<svg" in section) is (source != "usage_by_month")
    assert all(len(label) > 20 for label in page.labels)
    for drawing in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ET.fromstring(drawing)  # noqa: S314 - our own


def test_the_figures_are_those_of_the_example_by_hand(
    full: Path, tmp_path: Path, nothing_told: str
) -> None:
    assert full.exists()
    text = made(tmp_path, "--feedback", nothing_told, "--tenant", "acme")
    plain = " ".join(Page(text).text.split())
    # 0-30 and 20-50 minutes overlap: 50 minutes. Both records came 2 s + 4 s and 2 s + 6 s.
    assert "Downtime 50 min assets that were down: 1; still down: 0" in plain
    assert "Alarms 3 3 critical, 0 still open" in plain
    assert "30 min 2.0 s to detect, 4.0 s to acknowledge" in plain
    assert "Delivered 100 % 2 of 2; 0 wait" in plain
    assert "Readings 6 each once; 1 more could not be read" in plain
    assert "Generated" in plain
    assert "data 2026-09-21 14:14 to 2026-09-21 15:15" in plain
    assert "late" in plain
    assert "flagged not finite" in plain
    assert "bolt" not in plain


def test_text_from_events_is_shown_and_does_nothing(
    full: Path, tmp_path: Path, nothing_told: str
) -> None:
    assert full.exists()
    text = made(tmp_path, "--feedback", nothing_told)
    assert "<script>" not in text
    assert "\u202e" not in text
    page = Page(text)
    assert "script" not in page.tags
    assert name(HOSTILE) in " ".join(page.text.split())


def test_a_lake_with_nothing_in_it_gives_a_page_that_says_so(
    lake: Path, tmp_path: Path, nothing_told: str
) -> None:
    assert not list(lake.iterdir())
    page = Page(made(tmp_path, "--feedback", nothing_told))
    assert "The lake has nothing to show" in page.text
    assert "svg" not in page.tags


def test_a_window_or_a_tenant_without_data_says_so_as_well(
    full: Path, tmp_path: Path, nothing_told: str
) -> None:
    assert full.exists()
    for asked in (("--tenant", "nobody"), ("--since", "2020-01-01", "--until", "2020-02-01")):
        text = made(tmp_path, "--feedback", nothing_told, *asked)
        assert "The lake has nothing to show" in text


def test_the_window_is_until_and_without_its_end(
    full: Path, tmp_path: Path, nothing_told: str
) -> None:
    assert full.exists()
    ends = ("--since", "2026-09-21T14:20Z", "--until", "2026-09-21T16:34+02:00")
    text = made(tmp_path, "--feedback", nothing_told, "--tenant", "acme", *ends)
    # 14:20 to 14:34 is wholly within the alarm that began at 14:14; its raise lies before.
    assert "Downtime 14 min" in " ".join(Page(text).text.split())


def test_false_alarms_are_counted_where_they_are_known_and_told_where_not(
    full: Path, tmp_path: Path
) -> None:
    assert full.exists()
    lines = [
        {"state": state, **judged}
        for state, judged in (
            ("replaced", outcome(1, "confirmed")),
            ("counts", outcome(1, "false_alarm")),
            ("set aside by a revert", outcome(2, "false_alarm")),
        )
    ]
    told_file = tmp_path / "told.jsonl"
    told_file.write_text("\n".join(json.dumps(line) for line in lines))
    plain = " ".join(Page(made(tmp_path, "--feedback", str(told_file))).text.split())
    assert "100 %" in plain
    assert "is not known" not in plain
    # Without the false one only 20-50 is left.
    one = Page(made(tmp_path, "--feedback", str(told_file), "--tenant", "acme"))
    assert "Downtime 30 min" in " ".join(one.text.split())


def outcome(number: int, verdict: str) -> dict[str, object]:
    return {
        "event_id": f"{number:024d}",
        "detector": "limit",
        "metric": "T50",
        "tenant": "acme",
        "outcome": verdict,
        "who": "ana",
        "why": "looked",
        "at_ms": 1,
    }


def test_without_kafka_the_page_says_that_false_alarms_are_unknown(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert full.exists()
    with socket.socket() as held:
        # Bound and not listening: it refuses, and nobody else can take it.
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv("KAFKA_BOOTSTRAP", address)
        load.cache_clear()
        text = Page(made(tmp_path)).text
    assert f"not known: Kafka does not answer at {address}." in text


def test_each_mart_is_a_csv_file_and_no_page_is_made(
    full: Path, tmp_path: Path, nothing_told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert full.exists()
    monkeypatch.chdir(tmp_path)
    said = run("--csv", "tables", "--feedback", nothing_told)
    assert not (tmp_path / "fieldline-report.html").exists()
    for model in marts.models():
        with (tmp_path / "tables" / f"{model.name}.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert rows[0] == [column.name for column in model.columns]
        assert f"{model.name}.csv: {len(rows) - 1} rows" in said
    with (tmp_path / "tables" / "downtime_by_asset.csv").open(encoding="utf-8") as file:
        [first, _] = csv.DictReader(file)
    assert (first["asset"], first["downtime_s"]) == ("ESN-1", "3000.0")
    assert first["first_down_at"] == "2026-09-21T14:14:00.000Z"
    usage = (tmp_path / "tables" / "usage_by_month.csv").read_text(encoding="utf-8")
    assert "acme,2026-09-01,1,6,0,5,2" in usage


async def test_a_name_that_begins_a_formula_is_none_in_the_csv(
    lake: Path, tmp_path: Path, nothing_told: str
) -> None:
    await write(lake, Messages(events=[told(1, 0, asset_id="=1+1")]))
    run("--csv", str(tmp_path / "t"), "--feedback", nothing_told)
    with (tmp_path / "t" / "alarms.csv").open(encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert row["asset"] == "'=1+1"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--since", "yesterday"), "--since 'yesterday' is no time"),
        (("--since", "2026-02-01", "--until", "2026-01-01"), "not before --until"),
        (("--feedback", "no/such.jsonl"), "cannot be read"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(
    lake: Path, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    assert lake.exists()
    with pytest.raises(SettingsError, match=re.escape(says)):
        run("--out", str(tmp_path / "p.html"), *arguments)


def test_a_feedback_file_that_is_none_is_told_with_its_line(lake: Path, tmp_path: Path) -> None:
    assert lake.exists()
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text(json.dumps(outcome(1, "confirmed")) + "\n{}\n")
    with pytest.raises(SettingsError, match="line 2, is no outcome"):
        run("--out", str(tmp_path / "p.html"), "--feedback", str(wrong))


def test_a_page_that_cannot_be_written_is_told(
    lake: Path, tmp_path: Path, nothing_told: str
) -> None:
    assert lake.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="name another with --out"):
        run("--out", str(tmp_path / "file" / "p.html"), "--feedback", nothing_told)


def test_the_dictionary_is_printed_without_a_lake() -> None:
    assert run("--dictionary") == marts.dictionary()


def test_other_commands_do_not_load_what_the_report_needs() -> None:
    code = (
        "import sys; from pipeline.cli.main import app; "
        "print([m for m in ('duckdb', 'matplotlib', 'sqlglot') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
