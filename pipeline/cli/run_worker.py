"""One Faust worker in this process, until it is stopped."""

from __future__ import annotations

import asyncio
from pathlib import Path

import faust
import uvloop

from pipeline import logs
from pipeline.settings import Settings
from pipeline.state.local_copy import check_local_copy
from pipeline.state.worker_folder import held, worker_folder
from pipeline.workers import make_worker


class _Worker(faust.Worker):
    async def _sentinel_task(self) -> None:
        """Faust sleeps a second here, after everything has ended."""


def run(settings: Settings, *, role: str, instance: int) -> None:
    """Run it; SettingsError where there is no such role."""
    logs.configure()
    # Faust's consumer thread makes a loop of its own: the policy serves both.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    app = make_worker(settings, role=role, instance=instance).app
    with held(worker_folder(settings, role, instance)):
        for table in app.tables.values():
            folder = Path(app.conf.tabledir)
            asyncio.run(check_local_copy(settings, folder, table.changelog_topic_name))
        _Worker(
            app, loglevel="INFO", override_logging=False, redirect_stdouts=False, quiet=True
        ).execute_from_commandline()
