"""One orchestrator per folder: a lock that the system frees however its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from infra.local.part import StackError

NAME = "lock"


class FolderLock:
    """Held while a stack runs in `root`; the file holds the pid of its holder."""

    def __init__(self, root: Path) -> None:
        self._path = root / NAME
        self._handle: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds it."""
        return self._handle is not None

    def acquire(self) -> None:
        """Take it; StackError where another process has it."""
        if self.held:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise StackError(
                f"Another run (process {holder(self._path.parent) or 'unknown'}) uses the folder "
                f"{self._path.parent}: end it with `make stop`, or run in another folder."
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._handle = handle

    def release(self) -> None:
        """Give it back. The file stays: deleting it would let two runs hold two locks."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def holder(root: Path) -> int | None:
    """Pid of the process that holds the lock of `root` now; None where nobody does."""
    try:
        handle = os.open(root / NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        text = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(handle)
    return None
