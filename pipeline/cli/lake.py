"""fieldline lake: the lake as a person uses and keeps it."""

from __future__ import annotations

import typer

from pipeline.cli import lake_keep, lake_load, lake_sql

app = typer.Typer(help="The lake: ask it, keep it, load it.", no_args_is_help=True)
lake_sql.register(app)
lake_keep.register(app)
lake_load.register(app)


@app.callback()
def lake() -> None:
    """The lake: ask it, keep it, load it."""
