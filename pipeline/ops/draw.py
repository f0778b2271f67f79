"""The map drawn for people: Mermaid for documents, from pipeline/topology.py."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.topology import Cleanup, Topic

_OUTSIDE = (
    ("devices", "bridge", "MQTT, QoS 1"),
    ("archive", "S3", "Parquet"),
)


def mermaid(topics: Sequence[Topic]) -> str:
    """A Mermaid flowchart: workers are boxes, topics are cylinders."""
    out = ["flowchart LR"]
    workers: dict[str, None] = {}
    for topic in topics:
        for worker in (*topic.producers, *topic.consumers):
            workers.setdefault(worker)
    out += [f"  {_id(w)}[{w}]" for w in workers]
    out += ["  devices((devices))", "  S3[(S3)]"]
    out += [f'  {_id(t.name)}[("{t.name}")]' for t in topics if t.cleanup is not Cleanup.COMPACT]
    for left, right, label in _OUTSIDE:
        out.append(f"  {_id(left)} -- {label} --> {_id(right)}")
    for worker in workers:
        if worker.startswith("deliver-"):
            system = worker.removeprefix("deliver-")
            out.append(f"  {_id(system)}[({system})]")
            out.append(f"  {_id(worker)} -- API --> {_id(system)}")
    for topic in topics:
        if topic.cleanup is Cleanup.COMPACT:
            continue
        out += [f"  {_id(p)} --> {_id(topic.name)}" for p in topic.producers if p != "operator"]
        out += [f"  {_id(topic.name)} --> {_id(c)}" for c in topic.consumers]
        if "operator" in topic.producers:
            out.append(f"  operator -. replay .-> {_id(topic.name)}")
    return "\n".join(out) + "\n"


def _id(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")


def kept(topic: Topic) -> str:
    """How long a topic's messages stay, for a table."""
    if topic.cleanup is Cleanup.COMPACT:
        return "compacted"
    if topic.retention_ms < 0:
        return "for ever"
    return f"{topic.retention_ms // 86_400_000} days"
