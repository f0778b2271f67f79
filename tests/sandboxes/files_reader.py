"""The system behind a file drop: reads each manifest as it appears, and does what the rows say.

It knows nothing but the written format: manifest, checksum, CSV, XML or fixed widths (the
positions stand here once more, by hand). It keeps no key to once, as a simple importer does,
so a row that comes twice shows as two effects. What is not as its manifest says is a fault of
the writer, and raised as one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable

from defusedxml import ElementTree

from tests.sandboxes.journal import Journal, Op

KIND = "trouble"
POSITIONS = {
    "key": (10, 74),
    "entity": (74, 138),
    "action": (138, 144),
    "version": (144, 176),
    "severity": (240, 248),
    "device": (314, 442),
    "asset": (442, 506),
    "summary": (1114, 1274),
}
"""Of a detail record, from 0; a few of its columns."""
FLAT_WIDTH = 1274


class BadFileError(Exception):
    """A file that a reader cannot trust."""


class Reader:
    """One importer with its state of each trouble."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._open: dict[str, bool] = {}
        self.manifests = 0

    def take(self, *manifests: bytes, read: Callable[[str], bytes]) -> None:
        """Manifests have appeared, in any order; `read` gives a file by its path.

        Rows of one device are done by version, as mapping.py tells readers to.
        """
        rows = [row for manifest in manifests for row in self._checked(manifest, read)]
        for row in sorted(rows, key=lambda row: (row["device"], row["version"])):
            self._apply(row)
        self.manifests += len(manifests)

    def _checked(self, manifest: bytes, read: Callable[[str], bytes]) -> list[dict[str, str]]:
        told = json.loads(manifest)
        found: list[dict[str, str]] = []
        for file in told["files"]:
            data = read(file["path"])
            if hashlib.sha256(data).hexdigest() != file["sha256"] or len(data) != file["bytes"]:
                raise BadFileError(f"{file['path']} is not what its manifest says")
            rows = rows_of(told["format"], told["name"], data)
            if len(rows) != file["rows"]:
                raise BadFileError(f"{file['path']} has {len(rows)} rows, not {file['rows']}")
            found += rows
        if [row["key"] for row in found] != told["keys"] or len(found) != told["rows"]:
            raise BadFileError("the manifest names other keys than its files")
        return found

    def _apply(self, row: dict[str, str]) -> None:
        entity, action = row["entity"], row["action"]
        op: Op = "create"
        if action != "raise":
            if entity not in self._open:
                raise BadFileError(f"nobody has raised {entity}")
            op = "close" if action == "clear" else "update" if self._open[entity] else "reopen"
        self._open[entity] = action != "clear"
        self._journal.note(op, KIND, row["key"], entity, row)


def rows_of(form: str, name: str, data: bytes) -> list[dict[str, str]]:
    """The rows of a file; BadFileError where it is not whole."""
    if form == "csv":
        return list(csv.DictReader(io.StringIO(data.decode(), newline=""), strict=True))
    if form == "xml":
        root = ElementTree.fromstring(data)
        if (root.get("name"), root.get("count")) != (name, str(len(root))):
            raise BadFileError("name or count of the XML is wrong")
        return [{cell.tag: cell.text or "" for cell in one} for one in root]
    return _flat(name, data.decode("iso-8859-1"))


def _flat(name: str, text: str) -> list[dict[str, str]]:
    if not text.endswith("\r\n"):
        raise BadFileError("the last record has no end")
    head, *details, tail = text[:-2].split("\r\n")
    count = f"{len(details):09d}"
    if head != f"H01FIELDLINE {name:<32}{count}" or tail != f"T{count}{len(details) + 2:09d}":
        raise BadFileError("header or trailer is wrong")
    rows = []
    for number, line in enumerate(details, 1):
        if len(line) != FLAT_WIDTH or line[:10] != f"D{number:09d}":
            raise BadFileError(f"record {number} is wrong")
        rows.append({column: line[a:b].rstrip(" ") for column, (a, b) in POSITIONS.items()})
    return rows
