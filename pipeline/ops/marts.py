"""The marts: SQL models over the lake's datasets, what they mean, and how they are laid on.

A model is one SELECT in infra/warehouse, in DuckDB's dialect and of what Snowflake, BigQuery and
Redshift have too; its head comment says grain, parameters and columns, and the data dictionary is
drawn from it. Models read the lake's views, other models, and two small tables of their own:

    parameters  one row: as_of, from_time, to_time (times), tenant (text or null), fix_days
    feedback    the outcomes that stand: tenant, event_id, outcome (confirmed or false_alarm)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from pipeline.core.feedback import Outcome
from pipeline.settings import SettingsError

FOLDER: Final = Path(__file__).resolve().parents[2] / "infra" / "warehouse"
SOURCES: Final = ("telemetry", "events", "deliveries", "quarantine")
"""Views of the lake that models read."""
OWN: Final = ("parameters", "feedback")
BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
FIX_DAYS: Final = 7
DIALECTS: Final = ("snowflake", "bigquery", "redshift")

_HEAD: Final = re.compile(r"^--(?: (.*))?$")
_FIELD: Final = re.compile(r"^(grain|reads|parameters): (.+)$")
_COLUMN: Final = re.compile(
    r"^  (\w+) \((text|integer|number|boolean|time|date)(?:, (\w+))?\): (.+)$"
)
TYPES: Final[Mapping[str, str]] = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "time": "TIMESTAMP WITH TIME ZONE",
    "date": "DATE",
}
"""What a column's word in a head comment is in DuckDB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MartColumn:
    """One column of a model: `kind` is a key of TYPES, `unit` empty where it has none."""

    name: str
    kind: str
    unit: str
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model as its file tells it. `notes` is prose, empty where there is none."""

    name: str
    says: str
    grain: str
    reads: tuple[str, ...]
    parameters: str
    notes: str
    columns: tuple[MartColumn, ...]
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the models are asked for. Times are aware; the window is [from_time, to_time).

    `as_of` is now, for what is still open; `tenant` None is all of them.
    """

    as_of: datetime
    from_time: datetime
    to_time: datetime
    tenant: str | None = None
    fix_days: int = FIX_DAYS


def parse(name: str, text: str) -> Model:
    """A model from its file's text; ValueError where the head is not as it should be."""
    head: list[str] = []
    lines = text.splitlines()
    while lines and (match := _HEAD.match(lines[0])):
        head.append((match[1] or "").rstrip())
        del lines[0]
    title = f"{name}: "
    if not head or not head[0].startswith(title):
        raise ValueError(f"{name}.sql does not begin with '-- {title}'")
    fields: dict[str, str] = {}
    columns: list[MartColumn] = []
    notes: list[str] = []
    in_columns = False
    for line in head[1:]:
        if line == "columns:":
            in_columns = True
        elif in_columns:
            found = _COLUMN.match(line)
            if found is None:
                raise ValueError(f"{name}.sql: {line!r} tells no column")
            columns.append(
                MartColumn(name=found[1], kind=found[2], unit=found[3] or "", doc=found[4])
            )
        elif field := _FIELD.match(line):
            fields[field[1]] = field[2]
        else:
            notes.append(line)
    missing = {"grain", "reads", "parameters"} - fields.keys()
    if missing or not columns:
        raise ValueError(f"{name}.sql tells no {', '.join(sorted(missing)) or 'columns'}")
    return Model(
        name=name,
        says=head[0].removeprefix(title),
        grain=fields["grain"],
        reads=tuple(fields["reads"].split(", ")),
        parameters=fields["parameters"],
        notes=" ".join(line for line in notes if line),
        columns=tuple(columns),
        sql="\n".join(lines).strip(),
    )


@cache
def models() -> tuple[Model, ...]:
    """All models, each after those it reads. SettingsError where their folder is not there."""
    found = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.sql"))}
    if not found:
        raise SettingsError(
            "The marts' SQL (infra/warehouse) is not beside the program: run it in a checkout."
        )
    left = {name: parse(name, text) for name, text in found.items()}
    order: list[Model] = []
    while left:
        ready = [m for m in left.values() if not any(name in left for name in m.reads)]
        if not ready:
            raise ValueError(f"models read each other in a ring: {', '.join(left)}")
        order += ready
        for model in ready:
            del left[model.name]
    return tuple(order)


def install(
    connection: Any,  # noqa: ANN401 - duckdb.DuckDBPyConnection
    parameters: Parameters,
    outcomes: Iterable[Outcome] = (),
    *,
    tables: bool = False,
    progress: Callable[[str], None] | None = None,
) -> None:
    """Lay the marts over a connection that has the lake's views (connectors.lake.reader).

    As views, which follow the lake; with `tables` each is worked out now and kept, which is
    quicker where several are read. `outcomes` are those that stand (pipeline.core.feedback);
    without any, nothing is known of false alarms. `progress` hears each model's name before it.
    Afterwards the connection's time zone is UTC.
    """
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "CREATE OR REPLACE TABLE parameters (as_of TIMESTAMPTZ, from_time TIMESTAMPTZ, "
        "to_time TIMESTAMPTZ, tenant VARCHAR, fix_days BIGINT)"
    )
    connection.execute(
        "INSERT INTO parameters VALUES (?, ?, ?, ?, ?)",
        [
            parameters.as_of,
            parameters.from_time,
            parameters.to_time,
            parameters.tenant,
            parameters.fix_days,
        ],
    )
    connection.execute(
        "CREATE OR REPLACE TABLE feedback (tenant VARCHAR, event_id VARCHAR, outcome VARCHAR)"
    )
    rows_told = [[told.tenant, told.event_id, told.outcome.value] for told in outcomes]
    if rows_told:
        connection.executemany("INSERT INTO feedback VALUES (?, ?, ?)", rows_told)
    kind = "TABLE" if tables else "VIEW"
    for model in models():
        if progress is not None:
            progress(model.name)
        connection.execute(f"CREATE OR REPLACE {kind} {model.name} AS {model.sql}")
        connection.execute(f"COMMENT ON {kind} {model.name} IS {_quoted(model.says)}")
        for column in model.columns:
            doc = f"{column.doc} [{column.unit}]" if column.unit else column.doc
            connection.execute(f'COMMENT ON COLUMN {model.name}."{column.name}" IS {_quoted(doc)}')


def rows(
    connection: Any,  # noqa: ANN401 - duckdb.DuckDBPyConnection
    name: str,
    order: str = "ALL",
) -> list[dict[str, Any]]:
    """All rows of an installed model by column; `order` is what stands after ORDER BY."""
    model = next(model for model in models() if model.name == name)
    names = [column.name for column in model.columns]
    told = connection.execute(f"SELECT {', '.join(names)} FROM {name} ORDER BY {order}")  # noqa: S608 - names of our own
    return [dict(zip(names, row, strict=True)) for row in told.fetchall()]


def translated(name: str, dialect: str) -> str:
    """A model's SELECT for a warehouse of DIALECTS. SettingsError where sqlglot is missing."""
    try:
        import sqlglot  # noqa: PLC0415 - only who loads a warehouse needs it
        from sqlglot import exp  # noqa: PLC0415 - the same
    except ImportError as error:
        raise SettingsError(
            "Translating the marts needs sqlglot: install it with pip install sqlglot."
        ) from error
    model = next(model for model in models() if model.name == name)
    tree = sqlglot.parse_one(model.sql, read="duckdb")
    if dialect == "bigquery":
        # Its DATE_DIFF is for dates, moments want TIMESTAMP_DIFF (GoogleSQL reference).
        for diff in list(tree.find_all(exp.DateDiff)):
            diff.replace(
                exp.TimestampDiff(this=diff.this, expression=diff.expression, unit=diff.unit)
            )
        # Nothing that is ordered here is null, and windows with a frame take no NULLS LAST there.
        for order in tree.find_all(exp.Ordered):
            order.set("nulls_first", not order.args.get("desc"))
    return tree.sql(dialect=dialect, pretty=True, unsupported_level=sqlglot.ErrorLevel.RAISE)


def dictionary(of: Sequence[Model] | None = None) -> str:
    """The data dictionary, Markdown."""
    chosen = models() if of is None else of
    out = [_PREFACE]
    for model in chosen:
        out.append(f"## {model.name}\n\n{model.says}\n")
        out.append(f"- Grain: {model.grain}.")
        out.append(f"- Reads: {', '.join(f'`{name}`' for name in model.reads)}.")
        out.append(f"- Parameters: {model.parameters}.\n")
        if model.notes:
            out.append(f"{model.notes}\n")
        out.append("| column | type | unit | meaning |\n|---|---|---|---|")
        out += [
            f"| `{c.name}` | {c.kind} | {c.unit} | {c.doc.replace('|', chr(92) + '|')} |"
            for c in model.columns
        ]
        out.append("")
    return "\n".join(out).rstrip() + "\n"


_PREFACE: Final = """# The marts: data dictionary

Drawn from the head comments of `infra/warehouse/*.sql`; do not edit it, but write it anew with
`fieldline report --dictionary > infra/warehouse/DICTIONARY.md`.

Each model is one SELECT over the lake's datasets (`telemetry`, `events`, `deliveries`,
`quarantine`), other models, and two small tables:

- `parameters`, one row: `as_of` (now, for what is still open), `from_time` and `to_time` (the
  window: from the first, up to and without the second), `tenant` (null for all), `fix_days`.
- `feedback`, the outcomes that stand: `tenant`, `event_id`, `outcome` (confirmed or
  false_alarm); empty where none are known.

`fieldline report` makes both and lays the models on. In another warehouse make the two tables,
set the session's time zone to UTC, and create each model as a view, in the order below;
`pipeline.ops.marts.translated(model, "snowflake")` (or bigquery, redshift) gives its SQL there.

Times are UTC. A share is from 0 to 1, and null where there is nothing to divide by: unknown,
not 0. Quantiles are nearest rank. Rows of one tenant never mix with those of another.
"""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
