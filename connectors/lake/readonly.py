"""The lake's Parquet files as a file system that can only be read.

SQL reads them as lake://DATASET/date=YYYY-MM-DD/NAME.parquet, wherever they are. This is the
fence of `fieldline lake sql`: whatever a query asks for, no other object can be named here and
nothing can be written. Objects never change under their name, so what a listing or a table
has told of one is not asked for again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Self
from urllib.parse import urlsplit

import fsspec

from connectors.lake.config import LakeConfig
from pipeline.settings import SettingsError

SCHEME: Final = "lake"
ROOT: Final = f"{SCHEME}:/"
"""Put before '/DATASET/…' to name a file in SQL."""
_NAME: Final = re.compile(r"[a-z_]+/date=[^/]+/[^/]+\.parquet")
_UNKNOWN: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EXTRAS: Final[Mapping[str, str]] = {"gs": "gcs", "abfs": "azure"}


def store_files(config: LakeConfig) -> tuple[Any, str]:
    """The fsspec file system that the lake is in, and the lake's root there.

    SettingsError where what speaks to that cloud is not installed. Credentials as the
    lake's writer has them (connectors/lake/cloud_store.py for Google and Azure).
    """
    scheme = urlsplit(config.url).scheme
    fresh: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
    arguments = {"s3": config.s3fs_arguments, "file": dict}.get(scheme, lambda: fresh)()
    try:
        files, root = fsspec.url_to_fs(config.url, **arguments)
    except ImportError as missing:
        raise SettingsError(
            f"A lake at {scheme}:// needs one more package: "
            f"install it with pip install 'fieldline[{_EXTRAS.get(scheme, scheme)}]'."
        ) from missing
    except ValueError as error:
        raise SettingsError(
            f"LAKE_URL begins with {scheme}://, and a lake is at s3://, gs://, abfs:// or "
            "file:///: correct it."
        ) from error
    return files, str(root).rstrip("/")


class LakeFiles(fsspec.AbstractFileSystem):  # type: ignore[misc]  # no types
    """What DuckDB's register_filesystem takes. `known` is path below the root → size in bytes.

    Reads raise FileNotFoundError for any name that is no file of a dataset, writes
    PermissionError.
    """

    protocol = SCHEME
    cachable = False

    def __init__(self, files: Any, root: str) -> None:  # noqa: ANN401 - fsspec has no types
        super().__init__()
        self._files = files
        self._root = root
        self.known: dict[str, int] = {}
        self.requests = 0
        """How often a part of a file was asked for."""

    def open(self, path: str, mode: str = "rb", **_: object) -> Any:  # noqa: ANN401 - as fsspec
        """A file to read; every other mode is refused."""
        if mode != "rb":
            raise PermissionError("the lake is read only")
        name = self._name(path)
        return _Opened(self, name, self.size(path))

    def part(self, name: str, start: int, end: int) -> bytes:
        """Bytes [start, end) of a file."""
        self.requests += 1
        data: bytes = self._files.cat_file(f"{self._root}/{name}", start=start, end=end)
        return data

    def info(self, path: str, **_: object) -> dict[str, Any]:
        """Name, size (bytes) and type."""
        name = self._name(path)
        if name not in self.known:
            self.known[name] = int(self._files.info(f"{self._root}/{name}")["size"])
        return {"name": f"{SCHEME}://{name}", "size": self.known[name], "type": "file"}

    def size(self, path: str) -> int:
        """Bytes."""
        return int(self.info(path)["size"])

    def modified(self, path: str) -> datetime:
        """Always the same: it is never changed."""
        self._name(path)
        return _UNKNOWN

    def exists(self, path: str, **_: object) -> bool:
        """Whether there is such a file."""
        return self.isfile(path)

    def isfile(self, path: str) -> bool:
        """The same."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def isdir(self, path: str) -> bool:
        """Folders are not shown."""
        self._below(path)
        return False

    def glob(self, path: str, **_: object) -> list[str]:
        """Files that a pattern names; a plain name is not looked up, the table has told of it."""
        below = self._below(path)
        if not re.search(r"[*?\[{]", below):
            return [f"{SCHEME}://{below}"] if _NAME.fullmatch(below) else []
        if not below.endswith(".parquet"):
            return []
        found = self._files.glob(f"{self._root}/{below}", detail=True)
        named = {self._inside(path): entry for path, entry in found.items()}
        named = {name: entry for name, entry in named.items() if _NAME.fullmatch(name)}
        self.known |= {name: int(entry["size"]) for name, entry in named.items()}
        return [f"{SCHEME}://{name}" for name in sorted(named)]

    def ls(self, path: str, detail: bool = True, **_: object) -> list[Any]:  # noqa: FBT001, FBT002 - as fsspec
        """Nothing: only what a pattern names is shown."""
        self._below(path)
        del detail
        return []

    def mkdir(self, path: str, *_: object, **__: object) -> None:
        """Refused."""
        raise PermissionError(f"the lake is read only: {path}")

    def _refused(self, *_: object, **__: object) -> None:
        raise PermissionError("the lake is read only")

    makedirs = makedir = rm = rm_file = _rm = rmdir = mv = move = rename = touch = _refused
    cp_file = copy = pipe = pipe_file = put = put_file = upload = delete = _refused

    def _below(self, path: str) -> str:
        return path.removeprefix(f"{SCHEME}://").lstrip("/")

    def _name(self, path: str) -> str:
        below = self._below(path)
        if not _NAME.fullmatch(below):
            raise FileNotFoundError(f"the lake has no file {path}")
        return below

    def _inside(self, path: str) -> str:
        return path[path.index(self._root) + len(self._root) :].lstrip("/")


class _Opened:
    """A file being read: DuckDB tells where and how much, and keeps what it needs again."""

    def __init__(self, files: LakeFiles, name: str, size: int) -> None:
        self._files = files
        self._name = name
        self._size = size
        self._at = 0

    def read(self, count: int = -1) -> bytes:
        end = self._size if count < 0 else min(self._at + count, self._size)
        if end <= self._at:
            return b""
        data = self._files.part(self._name, self._at, end)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: bytes) -> int:
        raise PermissionError(f"the lake is read only: {len(data)} bytes for {self._name}")

    def flush(self) -> None:
        """Nothing waits to be written."""

    def close(self) -> None:
        """Nothing is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
