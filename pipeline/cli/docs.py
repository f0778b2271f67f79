"""fieldline docs: what an integrator downloads, made from the code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Tables for integrators, made from the code.", no_args_is_help=True)


@app.callback()
def docs() -> None:
    """Tables for integrators, made from the code."""


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files go.")],
) -> None:
    """Write CSVs: data map, event catalogue, canonical model, systems, and each one's fields."""
    from pipeline.ops import docs_export  # noqa: PLC0415 - the systems and Numba take a second

    for path, rows in docs_export.export(folder):
        typer.echo(f"{path}: {rows} rows")
