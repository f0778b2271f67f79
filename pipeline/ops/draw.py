"""The map drawn for people: Mermaid for documents, from pipeline/topology.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.topology import Cleanup, Topic, dlq_topic, parked_topic, sink_topic

_DELIVER = "deliver-"
_SINK = "SINK"

_OUTSIDE = (
    ("devices", "bridge", "MQTT, QoS 1"),
    ("archive", "S3", "Parquet"),
)


def mermaid(topics: Sequence[Topic]) -> str:
    """A Mermaid flowchart: workers are boxes, topics are cylinders.

    Several sinks with connectors are drawn once, as SINK: each has the same topics and a
    worker of its own.
    """
    systems = list(
        dict.fromkeys(p.removeprefix(_DELIVER) for t in topics for p in t.producers if _sink(p))
    )
    shape = {name: _SINK if len(systems) > 1 else name for name in systems}
    drawn = list({one.name: one for one in (_shaped(topic, shape) for topic in topics)}.values())
    out = ["flowchart LR"]
    workers: dict[str, None] = {}
    for topic in drawn:
        for worker in (*topic.producers, *topic.consumers):
            workers.setdefault(worker)
    out += [f"  {_id(w)}[{w}]" for w in workers]
    out += ["  devices((devices))", "  S3[(S3)]"]
    out += [f'  {_id(t.name)}[("{t.name}")]' for t in drawn if t.cleanup is not Cleanup.COMPACT]
    for left, right, label in _OUTSIDE:
        out.append(f"  {_id(left)} -- {label} --> {_id(right)}")
    for worker in filter(_sink, workers):
        out.append(f'  systems[("{", ".join(systems)}")]')
        out.append(f"  {_id(worker)} -- API --> systems")
    for topic in drawn:
        if topic.cleanup is Cleanup.COMPACT:
            continue
        out += [f"  {_id(p)} --> {_id(topic.name)}" for p in topic.producers if p != "operator"]
        out += [f"  {_id(topic.name)} --> {_id(c)}" for c in topic.consumers]
        if "operator" in topic.producers:
            out.append(f"  operator -. replay .-> {_id(topic.name)}")
    return "\n".join(out) + "\n"


def _sink(worker: str) -> bool:
    return worker.startswith(_DELIVER)


def _shaped(topic: Topic, shape: Mapping[str, str]) -> Topic:
    """The topic with its sink's name, and those of workers, as they are drawn."""

    def named(worker: str) -> str:
        name = worker.removeprefix(_DELIVER)
        return f"{_DELIVER}{shape[name]}" if _sink(worker) else worker

    def all_named(workers: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(named(worker) for worker in workers))

    name = topic.name
    for system, drawn in shape.items():
        for own in (sink_topic(system), dlq_topic(system), parked_topic(system)):
            if name == own:
                name = own.replace(system, drawn)
    return replace(
        topic, name=name, producers=all_named(topic.producers), consumers=all_named(topic.consumers)
    )


def _id(name: str) -> str:
    return name.replace(".", "_").replace("-", "_")


def kept(topic: Topic) -> str:
    """How long a topic's messages stay, for a table."""
    if topic.cleanup is Cleanup.COMPACT:
        return "compacted"
    if topic.retention_ms < 0:
        return "for ever"
    return f"{topic.retention_ms // 86_400_000} days"
