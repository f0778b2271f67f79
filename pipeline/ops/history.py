"""History as CSV, plain or gzip: readings in, and what the rules make of them out.

The file is UTF-8 with a header line. Columns `timestamp` and `value` must be there,
`device_id` and `metric` may be; their order does not matter, others are left alone.

- `timestamp` is ISO 8601 (`2026-11-21T15:30:00Z`, `2026-11-21 15:30:00.250+01:00`), UTC where
  it names no zone; or a number since 1970-01-01 UTC: milliseconds where any number in the file
  is 100,000,000,000 or more (as seconds that were the year 5138), else seconds.
- `value` is a number with a decimal point. Empty, NaN, NA, null, none, or not finite: a gap,
  which stays in its place and is not judged.
- `device_id` is `history/device` where it is empty or not there; one without a slash gets the
  tenant `history`. `metric` is `value` where it is empty or not there.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TextIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from pipeline.core.backtest import History
from pipeline.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from pipeline.core.backtest import Backtest

MAX_ROWS: Final = 10_000_000
MAX_BYTES: Final = 1024 * 1024 * 1024
"""Of the columns that are read, unpacked."""
MAX_LINE: Final = 65_536
"""Characters of the header line."""
MAX_NAME: Final = 256
"""Characters of a device id or metric."""

NEEDED: Final = ("timestamp", "value")
OPTIONAL: Final = ("device_id", "metric")
DEVICE: Final = "history/device"
METRIC: Final = "value"
MILLISECONDS_FROM: Final = 1e11
"""A file with such a number in its column timestamp counts milliseconds, not seconds."""

_BLOCK: Final = 8 * 1024 * 1024
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MOST_MS: Final = 253_402_300_799_999
"""The last of the year 9999."""
_NUMBER: Final = r"^[+-]?\d+(\.\d*)?([eE][+-]?\d+)?$"
_ZONED: Final = r"[T ].*(Z|[+-]\d\d(:?\d\d)?)$"
_GAPS: Final = ("", "nan", "na", "n/a", "null", "none")
_STRUCTURE: Final = '[",\r\n]'


class HistoryError(SettingsError):
    """The file cannot be used; the text is one sentence with the mend."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A file that was read: the readings, and its columns of text as they came."""

    history: History
    given: dict[str, pa.ChunkedArray]


def read(path: Path) -> Table:
    """All readings in `path`; HistoryError with one sentence where it cannot be used."""
    try:
        return _read(path)
    except (OSError, EOFError) as error:
        raise HistoryError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or error}): "
            "name a CSV file that can, plain or gzip."
        ) from error
    except UnicodeDecodeError as error:
        raise HistoryError(f"{path} is not UTF-8 text: save it as CSV in UTF-8.") from error


def _read(path: Path) -> Table:
    given = _columns(path, _header(path))
    rows = len(given["timestamp"])
    if not rows:
        raise HistoryError(f"{path} has a header line and no readings: name a file that has.")
    time_ms = _parsed(
        path,
        given["timestamp"],
        _times,
        "is no time: write it like 2026-11-21T15:30:00Z, or as seconds or milliseconds since 1970",
    )
    value = _parsed(
        path,
        given["value"],
        _values,
        "is no number: write it like 21.5, or leave it empty for a gap",
    )
    return Table(
        history=History(
            device=_names(path, given.get("device_id"), rows, DEVICE, _device),
            metric=_names(path, given.get("metric"), rows, METRIC, str),
            time_ms=time_ms.astype(np.int64),
            value=value,
        ),
        given=given,
    )


def _packed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _text(path: Path) -> TextIO:
    opener = gzip.open if _packed(path) else open
    return cast("TextIO", opener(path, "rt", encoding="utf-8-sig", newline=""))


def _header(path: Path) -> list[str]:
    with _text(path) as file:
        line = file.readline(MAX_LINE + 1)
    try:
        names = [name.strip() for name in next(csv.reader([line], strict=True), [])]
    except csv.Error:
        names = []
    if len(line) > MAX_LINE or not names:
        raise HistoryError(
            f"Line 1 of {path} is no header: it must name the columns, as in timestamp,value."
        )
    for name in NEEDED:
        if name not in names:
            raise HistoryError(
                f"Line 1 of {path} has no column {name}: the columns are timestamp, value and, "
                "where there are several series, device_id, metric; between them stand commas."
            )
    for name in (*NEEDED, *OPTIONAL):
        if names.count(name) > 1:
            raise HistoryError(f"Line 1 of {path} has column {name} twice: take one out.")
    return names


def _columns(path: Path, header: list[str]) -> dict[str, pa.ChunkedArray]:
    """The columns that count, as text; a row that is no CSV is a HistoryError."""
    wanted = [name for name in (*NEEDED, *OPTIONAL) if name in header]
    # Other columns may be called anything, and twice.
    names = [name if name in wanted else f"\x00{n}" for n, name in enumerate(header)]
    chunks: dict[str, list[pa.Array]] = {name: [] for name in wanted}
    rows = size = 0
    try:
        with pa.input_stream(path, compression="gzip" if _packed(path) else None) as file:
            reader = pacsv.open_csv(
                file,
                read_options=pacsv.ReadOptions(
                    column_names=names, skip_rows=1, block_size=_BLOCK, use_threads=False
                ),
                parse_options=pacsv.ParseOptions(newlines_in_values=True),
                convert_options=pacsv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pa.string()),
                    include_columns=wanted,
                    strings_can_be_null=False,
                ),
            )
            for batch in reader:
                rows += batch.num_rows
                size += batch.nbytes
                if rows > MAX_ROWS or size > MAX_BYTES:
                    raise HistoryError(
                        f"{path} has over {MAX_ROWS:,} rows or {MAX_BYTES >> 20:,} MiB: "
                        "split it, by device or by time."
                    )
                for name in wanted:
                    chunks[name].append(batch.column(name))
    except pa.ArrowInvalid as error:
        # Arrow reads nothing at all from a file that has no line after its header.
        if "Empty CSV" not in str(error):
            raise _misshapen(path, len(header), error) from error
    return {name: pa.chunked_array(chunks[name], pa.string()) for name in wanted}


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row after the header; slow, for naming what is wrong."""
    with _text(path) as file:
        reader = csv.reader(file, strict=True)
        next(reader, None)
        while True:
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise HistoryError(
                    f"Line {reader.line_num} of {path} is not CSV ({error}): mend its quotes."
                ) from error
            if row:
                yield reader.line_num, row


def _misshapen(path: Path, columns: int, error: pa.ArrowInvalid) -> HistoryError:
    for line, row in _rows(path):
        if len(row) != columns:
            return HistoryError(
                f"Line {line} of {path} has {len(row)} columns, not {columns} as line 1: "
                "quote values with commas in them."
            )
    text = " ".join(str(error).split())[:200]
    return HistoryError(f"{path} is not CSV ({text}): save it as CSV in UTF-8.")


def _parsed(
    path: Path,
    text: pa.ChunkedArray,
    parse: Callable[[pa.ChunkedArray], npt.NDArray[np.float64]],
    wrong: str,
) -> npt.NDArray[np.float64]:
    try:
        return parse(pc.utf8_trim_whitespace(text))
    except _UnreadableError as error:
        cell = text[error.row].as_py()
        line = next(line for n, (line, _) in enumerate(_rows(path)) if n == error.row)
        shown = cell if len(cell) <= MAX_NAME else f"{cell[:MAX_NAME]}…"
        raise HistoryError(f"Line {line} of {path}: {shown!r} {wrong}.") from error


class _UnreadableError(Exception):
    def __init__(self, row: int) -> None:
        super().__init__(row)
        self.row = row


def _cast(text: pa.ChunkedArray, kind: pa.DataType) -> npt.NDArray[np.float64] | None:
    """All of `text` at once; None where Arrow does not take a cell."""
    try:
        found = text.cast(kind)
    except pa.ArrowInvalid:
        return None
    whole = pa.types.is_timestamp(kind)
    numbers: npt.NDArray[np.float64] = (found.cast(pa.int64()) if whole else found).to_numpy()
    if whole:
        numbers = numbers // 1000
    return numbers.astype(np.float64)


def _times(text: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Milliseconds since 1970-01-01 UTC, whole numbers."""
    numeric = pc.match_substring_regex(text, _NUMBER)
    zoned = pc.match_substring_regex(text, _ZONED)
    found = None
    if pc.all(numeric).as_py():
        found = _cast(text, pa.float64())
    elif not pc.any(numeric).as_py() and pc.all(zoned).as_py():
        found = _cast(text, pa.timestamp("us", "UTC"))
    elif not pc.any(numeric).as_py() and not pc.any(zoned).as_py():
        found = _cast(text, pa.timestamp("us"))
    if found is None:
        found = np.array([_time(cell) for cell in text.to_pylist()])
    counted = numeric.to_numpy()
    numbers = np.abs(found[counted])
    if not (len(numbers) and np.nanmax(numbers, initial=0.0) >= MILLISECONDS_FROM):
        found = np.where(counted, found * 1000.0, found)
    found = np.rint(found)
    wrong = np.flatnonzero(~(np.abs(found) <= _MOST_MS))
    if len(wrong):
        raise _UnreadableError(int(wrong[0]))
    return found


def _time(text: str) -> float:
    """A number as it is, a time in ms since 1970; NaN for neither."""
    try:
        if re.fullmatch(_NUMBER, text, re.ASCII):
            return float(text)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return float((moment - _EPOCH) // _MILLISECOND)
    except (ValueError, OverflowError):
        return np.nan


def _values(text: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    gap = pc.is_in(pc.utf8_lower(text), value_set=pa.array(_GAPS))
    text = pc.if_else(gap, "nan", text)
    found = _cast(text, pa.float64())
    if found is None:
        found = np.array([_value(row, cell) for row, cell in enumerate(text.to_pylist())])
    return found


def _value(row: int, text: str) -> float:
    try:
        if "_" in text:  # Python's own way of writing 1_000
            raise _UnreadableError(row)
        return float(text)
    except ValueError:
        raise _UnreadableError(row) from None


def _device(name: str) -> str:
    return name if "/" in name else f"history/{name}"


def _names(
    path: Path,
    column: pa.ChunkedArray | None,
    rows: int,
    default: str,
    full: Callable[[str], str],
) -> list[str]:
    """A name for each row; rows share the strings."""
    if column is None:
        return [default] * rows
    coded = column.combine_chunks().dictionary_encode()
    names = []
    for given in coded.dictionary.to_pylist():
        if len(given) > MAX_NAME:
            raise HistoryError(
                f"A device_id or metric in {path} is longer than {MAX_NAME} characters "
                f"({given[:32]!r}…): shorten it."
            )
        names.append(full(given.strip()) if given.strip() else default)
    return [names[code] for code in coded.indices.to_numpy().tolist()]


def write(path: Path, table: Table, found: Backtest) -> None:
    """The rows of `table` in their order, with anomaly_score, flagged (0 or 1) and detector.

    A path that ends with .gz is packed. HistoryError where it cannot be written; a file that
    was there stays until the new one is whole.
    """
    out = pa.table(
        {
            **table.given,
            "anomaly_score": pa.array(np.round(found.score, 6)),
            "flagged": pa.array(found.flagged.astype(np.int8)),
            "detector": pa.array(found.detector, pa.string()),
        }
    )
    # Arrow quotes all text or none.
    quoted = any(
        pc.any(pc.match_substring_regex(column, _STRUCTURE)).as_py()
        for column in table.given.values()
    )
    options = pacsv.WriteOptions(include_header=False, quoting_style="needed" if quoted else "none")
    # A device or pipe, as in --out /dev/stdout, cannot be replaced.
    special = path.exists() and not path.is_file()
    part = path if special else path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        packing = "gzip" if path.suffix == ".gz" else None
        with pa.output_stream(part, compression=packing) as file:
            file.write(f"{','.join(out.column_names)}\n".encode())
            pacsv.write_csv(out, file, options)
        if not special:
            part.replace(path)
    except OSError as error:
        if not special:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
        raise HistoryError(
            f"{path} cannot be written ({error.strerror or error}): name another file with --out."
        ) from error
