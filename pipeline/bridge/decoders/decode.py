"""One message to samples: topic, size, JSON, then the form its shape says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from pipeline.bridge.decoders.fields import Bad, Decoded, RefusedError, quoted
from pipeline.bridge.decoders.native import decode_item, is_native, size_of
from pipeline.bridge.decoders.senml import decode_pack, is_senml
from pipeline.core.quarantine import DETAIL_CHARACTERS, Reason
from pipeline.core.telemetry import Sample

MAX_READINGS = 10_000
"""Most readings in one message."""

NAME_CHARACTERS = 700_000
"""Most characters of all metric names of one sample: a sample must fit one Kafka record,
and a SenML base name makes long names of short ones. 10,000 readings add 12 bytes each."""

_TOPIC = re.compile(r"telemetry/([A-Za-z0-9_.:-]{1,128}/[A-Za-z0-9_.:-]{1,128})")


def device_of(topic: str) -> str | None:
    """Device 'tenant/device' that an MQTT topic names, or None by the rules of ids."""
    match = _TOPIC.fullmatch(topic)
    return match[1] if match else None


def decode(topic: str, payload: bytes, received_ms: int, max_payload: int) -> Decoded:
    """Samples of one MQTT message, and what of it was refused. Never raises, never empty.

    `received_ms` is arrival, milliseconds since the Unix epoch; `max_payload` the greatest
    payload to decode, bytes. A message or an array item that cannot be read is one Bad, a
    refused metric of an otherwise good sample one Bad beside the sample.
    """
    device_id = device_of(topic)
    if device_id is None:
        return _refused(
            Reason.BAD_TOPIC,
            f"Topic {quoted(topic)} must be telemetry/TENANT/DEVICE, "
            "ids of 1 to 128 of A-Z a-z 0-9 _ . : -.",
        )
    if len(payload) > max_payload:
        return _refused(
            Reason.OVERSIZED,
            f"The payload has {len(payload)} bytes, more than the {max_payload} allowed.",
        )
    try:
        # orjson bounds nesting itself (1,024 levels); nothing below descends past three.
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        return _refused(Reason.NOT_JSON, f"The payload is not JSON: {error}.")
    samples: list[Sample] = []
    bad: list[Bad] = []
    try:
        _document(device_id, document, received_ms, samples, bad)
    except RefusedError as error:
        return Decoded((), (error.bad,))
    if not samples and not bad:
        return _refused(Reason.UNKNOWN_FORMAT, "The payload holds no reading.")
    return Decoded(tuple(_fitting(samples, bad)), tuple(bad))


def _fitting(samples: list[Sample], bad: list[Bad]) -> Iterator[Sample]:
    for sample in samples:
        if sum(len(metric) for metric, _ in sample.readings) <= NAME_CHARACTERS:
            yield sample
        else:
            bad.append(
                Bad(
                    Reason.OVERSIZED,
                    f"The metric names of a sample have more than {NAME_CHARACTERS} characters.",
                    len(sample.readings),
                )
            )


def _document(
    device_id: str,
    document: Any,  # noqa: ANN401 - JSON gives anything
    received_ms: int,
    samples: list[Sample],
    bad: list[Bad],
) -> None:
    items = document if type(document) is list else [document]
    if sum(map(size_of, items)) > MAX_READINGS:
        raise RefusedError(
            Reason.TOO_MANY_READINGS,
            f"The message holds more than {MAX_READINGS} readings: send several messages.",
        )
    if type(document) is list and not any(map(is_native, items)) and any(map(is_senml, items)):
        decode_pack(device_id, items, received_ms, samples, bad)
        return
    if items and not any(map(is_native, items)):
        raise RefusedError(
            Reason.UNKNOWN_FORMAT,
            f"The payload ({quoted(document)}) has none of the known forms (schemas/json).",
        )
    for item in items:
        decode_item(device_id, item, received_ms, samples, bad)


def _refused(reason: Reason, detail: str) -> Decoded:
    return Decoded((), (Bad(reason, detail[:DETAIL_CHARACTERS]),))
