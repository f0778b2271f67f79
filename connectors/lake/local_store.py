"""The lake in a folder of this machine, with the same promises as a bucket."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar

from connectors.lake.base import (
    Content,
    Created,
    Deleted,
    Exists,
    Missing,
    Names,
    Object,
    Objects,
    Unavailable,
)
from connectors.lake.threaded_store import ThreadedStore

_T = TypeVar("_T")

PAGE = 1_000
"""Names in one listing, as in S3."""


class LocalStore(ThreadedStore):
    """An ObjectStore over one folder.

    An object is written aside, brought to the disk, and then given its name by a hard link,
    which fails where the name is taken (link(2), EEXIST): so it is there whole or not at all,
    and the first of two writers wins. The name is brought to the disk too before it counts
    (fsync(2): a folder is synchronised by itself), whoever gave it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"LocalStore({self._folder})"

    async def close(self) -> None:
        """Nothing is open."""

    async def _call(self, function: Callable[..., _T], *arguments: object) -> _T | Unavailable:
        try:
            return await asyncio.to_thread(function, *arguments)
        except OSError as error:
            return Unavailable(
                reason=f"{self!r} cannot be used ({type(error).__name__}: {error.strerror}): "
                "make room or give the worker the right to write there."
            )

    def _put_new(self, key: str, data: bytes) -> Created | Exists:
        target = self._folder / key
        self._make(target.parent)
        # Hidden from whoever lists Parquet files, and on the same file system.
        handle, aside = tempfile.mkstemp(prefix=".", suffix=".part", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.link(aside, target)
        except FileExistsError:
            return Exists()
        finally:
            Path(aside).unlink(missing_ok=True)
            _bring(target.parent)
        return Created()

    def _make(self, folder: Path) -> None:
        if folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        for above in folder.parents:
            _bring(above)
            if above == self._folder or not above.is_relative_to(self._folder):
                return

    def _read(self, key: str, size: int | None) -> Content | Missing:
        try:
            with (self._folder / key).open("rb") as file:
                whole = os.fstat(file.fileno()).st_size
                if size is not None:
                    file.seek(max(whole - size, 0))
                return Content(data=file.read(), size=whole)
        except (FileNotFoundError, NotADirectoryError):
            return Missing()

    def _list_after(self, prefix: str, after: str) -> Names:
        names = tuple(one.key for one in self._objects(prefix, after).objects)
        return Names(names=names[:PAGE], more=len(names) > PAGE)

    def _delete(self, key: str) -> Deleted:
        (self._folder / key).unlink(missing_ok=True)
        return Deleted()

    def _objects(self, prefix: str, after: str) -> Objects:
        found = []
        folder = self._folder / prefix.rpartition("/")[0]
        for path in folder.rglob("*"):
            key = path.relative_to(self._folder).as_posix()
            if not key.startswith(prefix) or key <= after or path.name.startswith("."):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # somebody removed it meanwhile
            if S_ISREG(status.st_mode):
                changed_ms = status.st_mtime_ns // 1_000_000
                found.append(Object(key=key, size=status.st_size, changed_ms=changed_ms))
        return Objects(objects=tuple(sorted(found, key=lambda o: o.key)), more=False)


def _bring(folder: Path) -> None:
    """Bring a folder's names to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
