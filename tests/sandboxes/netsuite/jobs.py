"""Requests that NetSuite works through by itself: jobs with one task for each record."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.sandboxes.netsuite.records import Refusal

LOOKS = 2
"""A job is worked at the second look at it, or …"""
AGE_S = 0.5
"""… when it is so old, whichever comes first."""
Done = tuple[str, Refusal | None]
"""Where a record is, or why it was refused."""


@dataclass(kw_only=True)
class Job:
    """One job. `tasks` are what to do, `done` what came of them."""

    id: str
    tasks: list[Callable[[], str]]
    since_s: float = field(default_factory=time.monotonic)
    looks: int = 0
    done: list[Done] | None = None

    @property
    def completed(self) -> bool:
        """Whether it has been worked through."""
        return self.done is not None


class Jobs:
    """All jobs, and the idempotency keys they came with. `looks` as LOOKS."""

    def __init__(self) -> None:
        self.looks = LOOKS
        self.age_s = AGE_S
        self.all: dict[str, Job] = {}
        self._keys: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def before(self, key: str) -> Job | None:
        """The job that came with that key before."""
        return self.all.get(self._keys.get(key, "")) if key else None

    def add(self, key: str, tasks: list[Callable[[], str]]) -> Job:
        """A new job."""
        job = Job(id=str(next(self._numbers)), tasks=tasks)
        self.all[job.id] = job
        if key:
            self._keys[key] = job.id
        return job

    def work(self) -> None:
        """Work through what is due: whoever comes first to look sees it done."""
        for job in self.all.values():
            due = job.looks >= self.looks or time.monotonic() - job.since_s >= self.age_s
            if due and not job.completed:
                job.done = [_done(task) for task in job.tasks]

    def as_json(self, job: Job, where: str) -> dict[str, Any]:
        """A job's state, as a look at it shows it (help, Sending an Asynchronous Request)."""
        shown: dict[str, Any] = {
            "links": [{"rel": "self", "href": f"{where}/{job.id}"}],
            "completed": job.completed,
            "id": job.id,
            "progress": _progress(job.done) if job.done is not None else _running(job),
            "task": {"links": [{"rel": "self", "href": f"{where}/{job.id}/task"}]},
        }
        return shown


def _done(task: Callable[[], str]) -> Done:
    try:
        return task(), None
    except Refusal as refusal:
        return "", refusal


def _running(job: Job) -> str:
    return "processing" if job.looks > 1 else "pending"


def _progress(done: list[Done]) -> str:
    return "failed" if any(refusal for _, refusal in done) else "succeeded"
