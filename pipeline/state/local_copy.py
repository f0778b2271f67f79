"""The device table's local copy: kept only while it belongs to the changelog it came from.

The changelog in Kafka is the truth, RocksDB on disk a copy that saves reading all of it at
each start. A copy of *another* cluster's changelog, or of one that was emptied since, would
be wrong state (or, where Faust notices, a worker that never starts); it is thrown away and
built again.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import rocksdict
import structlog
from aiokafka import TopicPartition
from faust.stores.rocksdb import Store

from pipeline.settings import Settings
from pipeline.wire import kafka

log = structlog.get_logger(__name__)

_MARK = "kafka-cluster"


def discard_foreign(folder: Path, *, cluster: str, ends: Mapping[int, int]) -> list[str]:
    """Delete databases in `folder` that are no copies of this changelog; says which and why.

    `cluster` is Kafka's cluster id, `ends` the changelog's end offset by partition. Databases
    are named TABLE-PARTITION.db, as Faust does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / _MARK
    known = mark.read_text(encoding="utf-8").strip() if mark.exists() else ""
    discarded = []
    for database in sorted(folder.glob("*-*.db")):
        partition = int(database.stem.rpartition("-")[2])
        if known and known != cluster:
            reason = f"it is of Kafka cluster {known}, and this is {cluster}"
        elif (offset := _persisted_offset(database)) >= (end := ends.get(partition, 0)):
            reason = f"it includes changelog offset {offset}, and the changelog ends at {end}"
        else:
            continue
        shutil.rmtree(database)
        discarded.append(f"{database.name}: {reason}")
    mark.write_text(cluster + "\n", encoding="utf-8")
    return discarded


def _persisted_offset(database: Path) -> int:
    """Last changelog offset that the database includes; -1 for none."""
    options = rocksdict.Options(raw_mode=True)
    opened = rocksdict.Rdict(str(database), options, access_type=rocksdict.AccessType.read_only())
    try:
        value = opened.get(Store.offset_key)
    finally:
        opened.close()
    return -1 if value is None else int(value)


async def check_local_copy(settings: Settings, folder: Path, changelog: str) -> None:
    """`discard_foreign` with what the broker says; to be awaited before the worker starts."""
    admin, consumer = kafka.admin(settings), kafka.consumer(settings)
    try:
        await admin.start()
        await consumer.start()
        cluster = str((await admin.describe_cluster())["cluster_id"])
        [topic] = await admin.describe_topics([changelog])
        partitions = [TopicPartition(changelog, p["partition"]) for p in topic["partitions"]]
        ends = {tp.partition: end for tp, end in (await consumer.end_offsets(partitions)).items()}
    finally:
        await consumer.stop()
        await admin.close()
    for line in discard_foreign(folder, cluster=cluster, ends=ends):
        log.warning("local state discarded, it is built again from the changelog", detail=line)
