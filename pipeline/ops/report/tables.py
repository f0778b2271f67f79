"""Each mart as a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from pipeline.ops import marts
from pipeline.settings import SettingsError

_BATCH: Final = 10_000


def write(
    connection: Any,  # noqa: ANN401 - duckdb.DuckDBPyConnection with the marts installed
    folder: Path,
    progress: Callable[[str], None] = lambda _: None,
) -> list[tuple[Path, int]]:
    """Write every mart (RFC 4180, UTF-8, header first); each file with its number of rows.

    Times are ISO 8601 in UTC, unknown is empty, and no text begins a spreadsheet's formula.
    SettingsError where the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for model in marts.models():
            progress(model.name)
            path = folder / f"{model.name}.csv"
            written.append((path, _write(connection, model, path)))
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be written ({error.strerror}): name another with --csv."
        ) from error
    return written


def _write(connection: Any, model: marts.Model, path: Path) -> int:  # noqa: ANN401 - as above
    from pipeline.ops.docs_export import cell  # noqa: PLC0415 - brings every connector along

    names = [column.name for column in model.columns]
    told = connection.execute(f"SELECT {', '.join(names)} FROM {model.name} ORDER BY ALL")  # noqa: S608 - names of our own
    number = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        while batch := told.fetchmany(_BATCH):
            writer.writerows(
                [cell(value) if isinstance(value, str) else _plain(value) for value in row]
                for row in batch
            )
            number += len(batch)
    return number


def _plain(value: Any) -> str:  # noqa: ANN401 - any cell that is no text
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else str(value)
