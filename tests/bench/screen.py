"""What a person sees meanwhile: what is being done, how far it is, how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

_PIPED_WIDTH = 110


def make_console(*, stderr: bool = False) -> Console:
    """A console whose tables are whole also where the output is a file."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_PIPED_WIDTH)


class Screen:
    """One bar over all runs, and one for the run at hand."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            # A run is measured: the bar must cost nothing.
            refresh_per_second=2,
        )

    @contextmanager
    def shown(self, what: str, runs: int) -> Iterator[Callable[[], None]]:
        """Show the bars; the value says that one run more is done."""
        with self._progress as progress:
            whole = progress.add_task(what, total=runs)
            yield lambda: progress.advance(whole)

    @contextmanager
    def doing(self, what: str, total: float) -> Iterator[Callable[[float], None]]:
        """A line for one thing; the value tells how far it is."""
        task = self._progress.add_task(what, total=round(total))
        if not self.console.is_terminal:
            self.console.print(what)
        try:
            yield lambda done: self._progress.update(task, completed=min(round(done), round(total)))
        finally:
            self._progress.remove_task(task)
