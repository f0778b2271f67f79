"""What a person sees while the main job runs: a progress bar and a live line per stage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.ops.books import Books, Offsets

_PLAIN_EVERY_S = 5.0


@dataclass(slots=True)
class Watch:
    """What the job knows at this moment."""

    books: Books
    committed: Mapping[str, Offsets] = field(default_factory=dict)
    sent: int = 0
    total: int = 0
    restarts: Mapping[str, int] = field(default_factory=dict)
    note: str = ""


class Screen:
    """A live view on a terminal; on a pipe, a plain line every few seconds."""

    def __init__(self, console: Console, watch: Watch) -> None:
        self._console = console
        self._watch = watch
        self._bar = Progress(
            TextColumn("[bold]devices[/]  "),
            BarColumn(bar_width=36),
            MofNCompleteColumn(),
            TextColumn("messages"),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task("play", total=None)
        self._live: Live | None = None
        self._last_plain = 0.0
        self._rate = _Rate()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the view while the block runs."""
        if not self._console.is_terminal:
            yield
            return
        with Live(console=self._console, refresh_per_second=8, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def update(self) -> None:
        """Draw what the watch holds now."""
        watch = self._watch
        if self._live is not None:
            self._bar.update(self._task, completed=watch.sent, total=watch.total or None)
            self._live.update(Group(self._bar, self._stages()))
        elif time.monotonic() - self._last_plain >= _PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            readings, events = watch.books.readings, watch.books.events
            self._console.print(
                f"  {watch.sent:,}/{watch.total:,} messages, {readings.received:,} readings in, "
                f"{readings.accepted:,} accepted, {len(events.routed):,} events, "
                + ", ".join(
                    f"{sink}: {books.count('delivered'):,} of {len(books.accepted):,}"
                    for sink, books in watch.books.sinks.items()
                )
            )

    def _stages(self) -> RenderableType:
        watch = self._watch
        readings = watch.books.readings
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        rate = self._rate.of(readings.received)
        table.add_row(
            "[bold]bridge[/]",
            f"{readings.received:>9,} readings in Kafka",
            f"[dim]{rate:,.0f}/s[/]" if rate else "",
            _some(readings.quarantined, "quarantined", "yellow"),
        )
        table.add_row(
            "[bold]detect[/]",
            f"{readings.accepted:>9,} accepted",
            _some(readings.duplicates, "duplicates", "cyan")
            + _some(readings.too_late, "too late", "yellow"),
            _some(readings.waiting, "waiting", "dim"),
        )
        severities = list(watch.books.severities.values())
        table.add_row(
            "[bold]events[/]",
            f"{len(severities):>9,} events",
            _some(severities.count("critical"), "critical", "red")
            + _some(severities.count("warning"), "warning", "yellow"),
            "",
        )
        for line in watch.books.lines(watch.committed):
            if not line.name.startswith("sink."):
                continue
            places = line.places
            table.add_row(
                f"[bold]{line.name.removeprefix('sink.')}[/]",
                f"{places['delivered']:>9,} delivered",
                _some(places["dead_lettered"], "to the DLQ", "red")
                + _some(places["rejected"], "rejected", "yellow"),
                _some(places["waiting"], "waiting", "dim"),
            )
        restarted = {name: n for name, n in watch.restarts.items() if n}
        if restarted:
            table.add_row(
                "[bold]workers[/]",
                ", ".join(f"{name} restarted {n} times" for name, n in restarted.items()),
            )
        if watch.note:
            table.add_row("", f"[dim]{watch.note}[/]")
        return table


class _Rate:
    """Readings per second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def of(self, count: int) -> float:
        now = time.monotonic()
        self._seen = [*(s for s in self._seen if now - s[0] < 4), (now, count)]  # noqa: PLR2004
        (then, before), *_ = self._seen
        return (count - before) / (now - then) if now > then else 0.0


def _some(count: int, what: str, colour: str) -> str:
    return f"[{colour}]{count:,} {what}[/]  " if count else ""
