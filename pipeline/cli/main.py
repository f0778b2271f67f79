"""The fieldline command."""

from __future__ import annotations

import logging
import sys

import typer
from rich.console import Console
from rich.markup import escape

from pipeline.cli import (
    backtest,
    connectors,
    deadletters,
    docs,
    feedback,
    identity,
    lake,
    look,
    new_connector,
    play,
    reconcile,
    report,
    rules,
    send,
    state,
    work,
)
from pipeline.cli.errors import sentence
from pipeline.settings import SettingsError, load

app = typer.Typer(
    name="fieldline",
    help="From device telemetry to ERP, CRM and the lake: effects happen once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
look.register(app)
play.register(app)
work.register(app)
backtest.register(app)
reconcile.register(app)
send.register(app)
new_connector.register(app)
report.register(app)
app.add_typer(deadletters.app, name="dlq")
app.add_typer(rules.app, name="rules")
app.add_typer(connectors.app, name="connectors")
app.add_typer(connectors.mapping, name="mapping")
app.add_typer(feedback.app, name="feedback")
app.add_typer(identity.app, name="identity")
app.add_typer(docs.app, name="docs")
app.add_typer(lake.app, name="lake")
app.add_typer(state.app, name="state")


def run() -> None:
    """Entry point: an error is one sentence and exit code 1; a wrong call is typer's, code 2."""
    # The clients log each failed attempt; a person gets the one sentence below instead.
    for library in ("aiokafka", "asyncio"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        app()
    except Exception as error:
        try:
            settings = load()
        except SettingsError:
            settings = None
        text = sentence(error, settings)
        if text is None:
            raise
        Console(stderr=True, soft_wrap=True).print(
            f"[bold red]fieldline:[/] {escape(text)}", highlight=False
        )
        sys.exit(1)
