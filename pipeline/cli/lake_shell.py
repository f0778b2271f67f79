"""The prompt of fieldline lake shell."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from pipeline.cli import lake_print as printing
from pipeline.ops import lake_sql as ops
from pipeline.settings import SettingsError

PROMPT: Final = "lake=> "
GOES_ON: Final = "lake-> "
HISTORY: Final = 2_000
"""Lines that are remembered."""
HELP: Final = r"""  statement;        is run; it may stand on several lines
  \d                the views there are
  \d NAME           one view: its columns, types, units, what they mean
  \x                one record below the other, on or off
  \timing           how long each statement took, on or off
  \e                how the last query was run
  \?                this
  \q  or Ctrl-D     end; Ctrl-C stops a query that runs, and forgets a half typed one"""
WORDS: Final = (
    *("SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "HAVING", "LIMIT", "JOIN", "LEFT JOIN"),
    *("USING", "WITH", "DISTINCT", "BETWEEN", "INTERVAL", "count(*)", "avg(", "min(", "max("),
    *("sum(", "date_trunc('hour', ", "current_date", "now()", "DESC", "EXPLAIN", "DESCRIBE"),
    *("SUMMARIZE", "UNION ALL", "FILTER (WHERE ", "CASE", "QUALIFY", "unnest("),
)
_COMMANDS: Final = (r"\d", r"\x", r"\timing", r"\e", r"\?", r"\q")


class Shell:
    """Reads lines, runs statements, prints results, until the person ends it."""

    def __init__(
        self,
        session: ops.Session,
        *,
        rows: int,
        console: Console | None = None,
        read: Callable[[str], str] = input,
    ) -> None:
        self._session = session
        self._rows = rows
        self._console = console or Console()
        self._read = read
        self._expanded = False
        self._timing = False
        self._last: ops.Statement | None = None
        self._names: tuple[str, ...] = ()
        self._acts: Mapping[str, Callable[[str], None]] = {
            "d": self._describe,
            "x": self._toggle_expanded,
            "timing": self._toggle_timing,
            "e": self._explain,
            "?": self._help,
        }

    def run(self) -> None:
        r"""Until \q or the end of the input."""
        end = self._begin()
        try:
            held = ""
            while True:
                try:
                    line = self._read(GOES_ON if held else PROMPT)
                except EOFError:
                    self._say("")
                    return
                except KeyboardInterrupt:
                    self._say("")
                    held = ""
                    continue
                if not held and line.strip().startswith("\\"):
                    if line.strip() == r"\q":
                        return
                    self._guarded(self._act, line.strip()[1:])
                    continue
                held = f"{held}\n{line}" if held else line
                if not held.strip():
                    held = ""
                elif sqlite3.complete_statement(held):
                    # Its rule of where a statement ends: a semicolon outside quotes and comments.
                    self._guarded(self._statements, held)
                    held = ""
        finally:
            end()

    def _guarded(self, act: Callable[[str], None], text: str) -> None:
        try:
            act(text)
        except ops.StoppedError:
            self._say("[dim]Stopped.[/]")
        except KeyboardInterrupt:
            self._say("[dim]Stopped.[/]")
        except SettingsError as error:
            printing.wrong(self._console, error)

    def _statements(self, script: str) -> None:
        for statement in self._session.split(script):
            began = time.monotonic()
            result = printing.patiently(
                self._session,
                self._console,
                lambda s=statement: self._session.run(s),  # type: ignore[misc]
            )
            if statement.kind == "SELECT":
                self._last = statement
            if result.columns:
                printing.show(
                    self._console,
                    self._session,
                    result,
                    most=self._rows,
                    expanded=self._expanded,
                )
            else:
                self._say(f"[dim]{statement.kind}: done.[/]")
            if self._timing:
                self._say(f"[dim]{(time.monotonic() - began) * 1000:,.0f} ms.[/]")

    def _act(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        act = self._acts.get(word)
        if act is None:
            raise SettingsError(f"There is no \\{word} here: \\? lists what there is.")
        act(rest.strip().rstrip(";"))

    def _describe(self, name: str) -> None:
        found = self._session.views()
        if not name:
            printing.views(self._console, found)
            return
        for one in found:
            if one.name == name:
                printing.view(self._console, one)
                return
        raise SettingsError(f"There is no view {name}: \\d lists them.")

    def _toggle_expanded(self, _: str) -> None:
        self._expanded = not self._expanded
        self._say(f"Records below each other: {'on' if self._expanded else 'where they must be'}.")

    def _toggle_timing(self, _: str) -> None:
        self._timing = not self._timing
        self._say(f"Timing: {'on' if self._timing else 'off'}.")

    def _explain(self, _: str) -> None:
        if self._last is None:
            raise SettingsError("There was no query yet.")
        plan, left_out = self._session.explain(self._last)
        self._say(plan, markup=False)
        self._say(f"Left out beforehand by event time: {left_out:,} files.")

    def _help(self, _: str) -> None:
        self._say(HELP, markup=False)

    def _say(self, text: str, *, markup: bool = True) -> None:
        self._console.print(text, markup=markup, highlight=False, soft_wrap=True)

    def _begin(self) -> Callable[[], None]:
        """History and completion where a person types; what ends them."""
        if not (self._read is input and self._console.is_terminal and os.isatty(0)):
            return lambda: None
        found = self._session.views()
        self._names = names_of(found)
        self._say(
            f"The lake: {len(found)} views. \\d lists them with what they have, "
            "\\? helps, \\q ends."
        )
        try:
            import readline  # noqa: PLC0415 - not every Python has it
        except ImportError:
            return lambda: None  # this Python has none: typing works without
        path = history_path()
        readline.set_history_length(HISTORY)
        if path.exists():
            readline.read_history_file(path)
        readline.set_completer_delims(" \t\n,;()=<>")
        readline.set_completer(self._complete)
        libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
        return lambda: _keep(readline, path)

    def _complete(self, start: str, place: int) -> str | None:
        found = completions(start, (*self._names, *WORDS, *_COMMANDS))
        return found[place] if place < len(found) else None


def names_of(found: Iterable[ops.Described]) -> tuple[str, ...]:
    """What completion offers: views and columns."""
    told = [name for one in found for name in (one.name, *(column[0] for column in one.columns))]
    return tuple(dict.fromkeys(told))


def completions(start: str, words: Iterable[str]) -> list[str]:
    """Words that go on from what is typed, whatever its case; after a dot, columns."""
    before, dot, rest = start.rpartition(".")
    if not start:
        return []
    fold = rest.lower()
    return [
        f"{before}{dot}{word}"
        for word in words
        if word.lower().startswith(fold) and not (dot and not re.fullmatch(r"\w+", word))
    ]


def history_path() -> Path:
    """In the checkout's .local where there is one, else where the person's programs keep state."""
    local = Path(".local")
    if local.is_dir():
        return local / "lake_history"
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "fieldline" / "lake_history"


def _keep(readline: Any, path: Path) -> None:  # noqa: ANN401 - a module
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        readline.write_history_file(path)
        path.chmod(0o600)
    except OSError:
        return  # nowhere to keep it: the next shell starts without
