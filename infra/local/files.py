"""Small files the stack keeps: written whole or not at all, secrets for the owner only."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from infra.local.part import StackError

LOG_TAIL_BYTES = 4_096
LOG_TAIL_LINES = 3
LOG_TAIL_CHARS = 400


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text` in one step, readable by its owner only (mode 0600)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:  # also Ctrl-C must leave no half-written file
        Path(name).unlink(missing_ok=True)
        raise


def secret(path: Path) -> str:
    """The random secret kept in `path`, made on first use: 32 URL-safe characters."""
    try:
        kept = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        kept = ""
    if kept:
        return kept
    made = secrets.token_urlsafe(24)
    write_private(path, made + "\n")
    return made


def env_file(settings: dict[str, str]) -> str:
    """The settings as lines NAME='value', read alike by a shell and by python-dotenv.

    StackError where a value cannot be written so that both read the same.
    """
    lines = []
    for name, value in sorted(settings.items()):
        if any(bad in value for bad in ("'", "\\", "\n", "\r", "${")):
            raise StackError(
                f"{name} holds a quote, a backslash, a line break or '${{', which the settings "
                "file cannot carry: percent-encode it in the URL, or choose another value."
            )
        lines.append(f"{name}='{value}'\n")
    return "".join(lines)


def last_lines(log: Path, size: int = LOG_TAIL_BYTES) -> list[str]:
    """The lines in the last `size` bytes of a log, the first perhaps cut; none if unreadable."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - size))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()]


def tail(log: Path) -> str:
    """The last lines of a log, joined and cut for a one-sentence message."""
    lines = last_lines(log)
    return " / ".join(lines[-LOG_TAIL_LINES:])[-LOG_TAIL_CHARS:] or "nothing"
