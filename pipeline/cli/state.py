"""fieldline state: the local copy of a worker's tables."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.settings import load
from pipeline.state.worker_folder import rebuild, worker_folder

app = typer.Typer(help="The local copy of a worker's tables.", no_args_is_help=True)

ROLE = "detect"
"""The one role that has tables."""


@app.callback()
def state() -> None:
    """Keep the sub-command's name: Typer drops it where there is only one."""


@app.command("rebuild")
def rebuild_copy(
    *, instance: Annotated[int, typer.Option(min=0, help="Number of the detect worker.")] = 0
) -> None:
    """Delete a stopped detect worker's local copy; it reads the changelog again at its start."""
    folder = worker_folder(load(), ROLE, instance)
    if rebuild(folder):
        typer.echo(
            f"Deleted the local copy in {folder}: start the worker, it reads the changelog again."
        )
    else:
        typer.echo(f"There is no local copy in {folder}: nothing to delete.")
