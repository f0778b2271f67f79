"""Rows → bytes of a file, the same for the same rows. Pure.

| format | bytes |
|---|---|
| csv | RFC 4180, UTF-8: a line of column names, every value in quotes, CRLF |
| xml | UTF-8: <events name count><event><column>…</column></event></events>; empty ones left out |
| flat | ISO 8859-1, CRLF: H (header), D (one per row), T (trailer); values left-aligned, blanks |

Flat records, positions from 0, widths in characters:

    H  "H", "01" (version of this layout), "FIELDLINE " , name of the file (32), rows (9 digits)
    D  "D", number of the record (9 digits), then the columns of mapping.ROW by their widths
    T  "T", rows (9 digits), records with header and trailer (9 digits)
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

import orjson

from connectors.files.mapping import COLUMNS, FLAT_ENCODING, WIDTHS

Row = Mapping[str, str]
LAYOUT = "01"
NAME_WIDTH = 32
MANIFEST_VERSION = 1
_CRLF = "\r\n"


def name_of(keys: Sequence[str]) -> str:
    """A file's name without its ending: from its keys alone, in their order. 27 characters."""
    return f"fl-{hashlib.sha256(chr(10).join(keys).encode()).hexdigest()[:24]}"


def encode(form: str, name: str, rows: Sequence[Row]) -> bytes:
    """The file's bytes."""
    if form == "xml":
        return _xml(name, rows)
    return _flat(name, rows) if form == "flat" else _csv(rows)


def manifest(form: str, name: str, path: str, rows: Sequence[Row], data: bytes) -> bytes:
    """What a reader needs to trust a file: JSON, the same for the same rows."""
    told = {
        "version": MANIFEST_VERSION,
        "name": name,
        "format": form,
        "files": [
            {
                "path": path,
                "rows": len(rows),
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        ],
        "rows": len(rows),
        "columns": COLUMNS,
        "keys": [row["key"] for row in rows],
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2)


def _csv(rows: Sequence[Row]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=_CRLF)
    writer.writerow(COLUMNS)
    writer.writerows([row[name] for name in COLUMNS] for row in rows)
    return out.getvalue().encode()


def _xml(name: str, rows: Sequence[Row]) -> bytes:
    root = ET.Element("events", {"name": name, "count": str(len(rows))})
    for row in rows:
        one = ET.SubElement(root, "event")
        for column in COLUMNS:
            if row[column]:
                ET.SubElement(one, column).text = row[column]
    made: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return made


def _flat(name: str, rows: Sequence[Row]) -> bytes:
    count = f"{len(rows):09d}"
    lines = [f"H{LAYOUT}FIELDLINE {name:<{NAME_WIDTH}}{count}"]
    for number, row in enumerate(rows, 1):
        cells = (f"{row[c]:<{w}}" for c, w in zip(COLUMNS, WIDTHS, strict=True))
        lines.append(f"D{number:09d}{''.join(cells)}")
    lines.append(f"T{count}{len(rows) + 2:09d}")
    return "".join(f"{line}{_CRLF}" for line in lines).encode(FLAT_ENCODING)
