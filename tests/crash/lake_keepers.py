"""The lake's keepers, as the processes that a nightly job starts: compaction, and the night after.

They come to S3 by a door of their own, so that one can be struck at a step of its work.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from infra.local import processes
from infra.local.part import Command
from infra.local.processes import Child
from tests.crash.lake_door import Door

COMPACTED: Final = ("telemetry", "events", "deliveries")
"""Quarantine is left as the writers made it: its rows are of today, and a date that is not over
is not compacted."""
WITHIN_S: Final = 240.0
NIGHT_S: Final = 2 * 86_400
"""By then the readers' grace is over, and what is not known to anybody is settled."""


class Keepers:
    """Starts `fieldline lake …`. Methods block."""

    def __init__(self, root: Path, env: Mapping[str, str], door: Door, clock: Path) -> None:
        """`clock` is the file that says how far the processes' clocks are apart."""
        self.door = door
        self._root = root.absolute()
        self._env = dict(env)
        self._clock = clock

    def compact(self) -> Child:
        """Begin to merge the files of each date that is over. Devices are days behind, so
        workers write to such dates all the time."""
        return self._start("compact", "--after-days", "0", *_only(*COMPACTED))

    def compact_to_its_end(self) -> str | None:
        """Merge what those that were killed have left; None where it did."""
        return self._ended(self.compact())

    def expire(self, dataset: str) -> str | None:
        """Take away what was replaced and what was left behind, two days on; None where it did."""
        self._clock.write_text(f"{NIGHT_S}", encoding="ascii")
        try:
            return self._ended(self._start("expire", *_only(dataset)))
        finally:
            self._clock.unlink()

    def _ended(self, child: Child) -> str | None:
        """Wait for its end; None where it did its work, else what it said last."""
        code = child.wait(WITHIN_S)
        if code is None:
            child.kill()
        child.forget()
        if code == 0:
            return None
        log = self._root / "log" / f"{child.record.name}.log"
        said = " ".join(log.read_text(encoding="utf-8", errors="replace").split())[-300:]
        return f"{child.record.name} ended with {code}: {said}"

    def _start(self, name: str, *arguments: str) -> Child:
        fieldline = str(Path(sys.executable).with_name("fieldline"))
        env = self._env | {"S3_ENDPOINT": f"http://127.0.0.1:{self.door.port}"}
        command = Command(argv=(fieldline, "lake", name, *arguments), env=env)
        return processes.spawn(self._root, f"lake-{name}", processes.WORKER, command)


def _only(*datasets: str) -> tuple[str, ...]:
    return tuple(word for dataset in datasets for word in ("--dataset", dataset))
