"""A bar that counts faults: on a terminal it moves, on a pipe it is a line a fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Step = Callable[[str, int], None]
"""What goes on now, and how many faults are done."""


@contextmanager
def counting(console: Console, total: int) -> Iterator[Step]:
    """Show how far a run is."""
    with Progress(
        TextColumn("[bold]{task.description}[/]"),
        BarColumn(bar_width=36),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task("", total=total)

        def step(what: str, done: int) -> None:
            bar.update(task, description=what, completed=done)
            if not console.is_terminal:
                at = time.strftime("%H:%M:%S")
                console.print(f"{at} {done:>3}/{total} {what}", highlight=False)

        yield step
