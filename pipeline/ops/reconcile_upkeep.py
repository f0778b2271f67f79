"""What is done to the rows beside taking messages in: the lake's ends, and forgetting."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import islice

from pipeline.core.fates import End, Fold, Index, Result
from pipeline.ops.reconcile_fold import is_fanout
from pipeline.ops.reconcile_store import Store
from pipeline.ops.reconcile_target import pruned_note
from pipeline.topology import LAKE

STEP = 2_000
"""Rows at once, before others have their turn."""


async def lake_delivered(store: Store, committed: Mapping[int, int]) -> None:
    """The lake has no results: its worker commits after the upload, so what lies below is there."""
    fold = Fold(store)
    for partition, below in committed.items():
        while rows := list(islice(store.listed(Index.OPEN, LAKE, partition, below), STEP)):
            for event_id, _ in rows:
                fate = store.fate(LAKE, event_id)
                if fate is None:
                    continue
                fold.ended(
                    LAKE,
                    Result(
                        event_id=event_id,
                        tenant=fate.tenant,
                        device_id=fate.device_id,
                        partition=partition,
                        end=End.DELIVERED,
                        at_ms=fate.at_ms,
                    ),
                )
            store.commit()
            await asyncio.sleep(0)


async def forget_old(store: Store, stages: Sequence[str], *, now_ms: int) -> int:
    """Delete rows that nothing can come for any more; counts stay. Returns how many."""
    forgotten = 0
    for stage in stages:
        rows = store.fates(stage)
        while page := list(islice(rows, STEP)):
            for event_id, was in page:
                # It may have changed since the page was read.
                fate = store.fate(stage, event_id) if was.forgettable(now_ms) else None
                if fate is None or not fate.forgettable(now_ms):
                    continue
                store.forget(stage, event_id, fate)
                forgotten += 1
                if not is_fanout(stage) and fate.target_id.isdecimal():
                    highest = int(store.note(pruned_note(stage)) or b"-1")
                    if int(fate.target_id) > highest:
                        store.put_note(pruned_note(stage), fate.target_id.encode())
            store.commit()
            await asyncio.sleep(0)
    return forgotten
