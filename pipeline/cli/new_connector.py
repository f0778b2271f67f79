"""fieldline new-connector: the files of one more system, in the checkout."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from string import Template
from typing import Annotated, Final

import typer

from pipeline.settings import SettingsError

TEMPLATES: Final = Path(__file__).resolve().parents[2] / "connectors" / "template"
FILES: Final = {
    "init": "connectors/{name}/__init__.py",
    "config": "connectors/{name}/config.py",
    "mapping": "connectors/{name}/mapping.py",
    "answers": "connectors/{name}/answers.py",
    "protocol": "connectors/{name}/protocol.py",
    "system": "connectors/{name}/system.py",
    "sandbox": "tests/sandboxes/{name}.py",
    "case": "tests/contract/cases/{name}.py",
}
TITLE_MAX: Final = 40
_NAME = re.compile(r"[a-z][a-z0-9]{1,19}")


def register(app: typer.Typer) -> None:
    """Put the command into the program."""
    app.command("new-connector")(new_connector)


def new_connector(
    name: Annotated[str, typer.Argument(help="A lower-case word, a-z 0-9.")],
    *,
    title: Annotated[str, typer.Option(help="The system's name for people.")] = "",
    folder: Annotated[Path, typer.Option(help="The checkout.")] = Path(),
) -> None:
    """Make the files of a new connector: they run the contract suite, red."""
    made = write(name, title or name.capitalize(), folder)
    for path in made:
        typer.echo(f"made {path}")
    typer.echo(
        f"Now write connectors/{name}/protocol.py until this is green:\n"
        f"  .venv/bin/pytest tests/contract/suite -k {name}"
    )


def write(name: str, title: str, folder: Path) -> list[Path]:
    """Write the files; SettingsError where the name cannot be used. Nothing is overwritten."""
    if not _NAME.fullmatch(name) or iskeyword(name) or find_spec(f"connectors.{name}"):
        raise SettingsError(
            f"{name[:64]!r} cannot be a new connector's name: take a lower-case word, a-z 0-9, "
            "2 to 20 letters, that is not taken."
        )
    if (
        not title.strip()
        or not title.isprintable()
        or '"' in title
        or "\\" in title
        or len(title) > TITLE_MAX
    ):
        raise SettingsError(
            f"The title must be up to {TITLE_MAX} printable characters without quotes: change it."
        )
    paths = {kind: folder / path.format(name=name) for kind, path in FILES.items()}
    if not (folder / "tests" / "contract" / "suite").is_dir():
        raise SettingsError(
            f"{folder.resolve()} is no checkout of Fieldline: go there, or say --folder."
        )
    taken = [path for path in paths.values() if path.exists()]
    if taken:
        raise SettingsError(f"{taken[0]} is there already: take another name, or move it away.")
    words = {
        "name": name,
        "Title": title,
        "Class": name.capitalize(),
        "PREFIX": name.upper(),
    }
    for kind, path in paths.items():
        template = Template((TEMPLATES / f"{kind}.txt").read_text(encoding="utf-8"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.substitute(words), encoding="utf-8")
    _tidy(list(paths.values()))
    return list(paths.values())


def _tidy(paths: list[Path]) -> None:
    """Order imports and lines as the house does; where they go depends on the name."""
    if find_spec("ruff") is None:
        return
    files = [str(path) for path in paths]
    for command in (("check", "--quiet", "--select", "I", "--fix"), ("format", "--quiet")):
        subprocess.run([sys.executable, "-m", "ruff", *command, *files], check=False)  # noqa: S603 - our own files
