"""One worker's data folder: whose it is, who holds it, and how it is emptied.

What is in it is a copy of the changelog in Kafka: losing it costs the time to read that again,
nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from pipeline.settings import Settings, SettingsError

_LOCK = "lock"
_ASIDE = "discarded-"


class FolderInUseError(SettingsError):
    """A worker that runs holds the folder."""


def worker_folder(settings: Settings, role: str, instance: int) -> Path:
    """Where the worker `instance` of `role` keeps its tables; RocksDB lets only one in."""
    return settings.data_dir / f"{role}-{instance}"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder as this process's own; FolderInUseError where another has it.

    The system frees it however the holder ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid = os.pread(handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise FolderInUseError(
                f"A worker (process {pid}) uses {folder}: stop it first, or choose another "
                "--instance."
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        # The file stays: were it deleted, two workers could hold two locks.
        os.close(handle)


def rebuild(folder: Path) -> list[str]:
    """Delete the local copy; the worker builds it again at its start. Says what was deleted.

    FolderInUseError while a worker runs. Each part is put aside first, so that what an
    interrupted call leaves is never taken for a database.
    """
    if not folder.is_dir():
        return []
    with held(folder):
        found = sorted(path for path in folder.iterdir() if path.name != _LOCK)
        deleted = []
        for path in found:
            aside = path
            if not path.name.startswith(_ASIDE):
                aside = path.rename(folder / f"{_ASIDE}{secrets.token_hex(4)}-{path.name}")
                deleted.append(path.name)
            if aside.is_dir() and not aside.is_symlink():
                shutil.rmtree(aside)
            else:
                aside.unlink()
        return deleted
