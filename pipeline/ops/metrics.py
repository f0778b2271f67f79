"""Figures in Prometheus' text format on loopback: the format, and a server of one page.

Format: "Exposition formats", text format 0.0.4, prometheus.io/docs/instrumenting. The server
answers GET and HEAD, one request a connection, and is meant for a scraper on the same machine.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pipeline.settings import SettingsError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATH = "/metrics"
_HEAD_BYTES = 8_192
_REQUEST_S = 5.0
_CONNECTIONS = 16
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric with its labels."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `kind` is gauge or counter; `about` one line with the unit."""

    name: str
    kind: str
    about: str
    samples: Sequence[Sample]


def render(metrics: Iterable[Metric]) -> str:
    """The page."""
    lines: list[str] = []
    for metric in metrics:
        about = metric.about.replace("\\", r"\\").replace("\n", r"\n")
        lines += [f"# HELP {metric.name} {about}", f"# TYPE {metric.name} {metric.kind}"]
        for sample in metric.samples:
            labels = ",".join(
                f'{name}="{text.translate(_ESCAPES)}"' for name, text in sample.labels.items()
            )
            name = f"{metric.name}{{{labels}}}" if labels else metric.name
            lines.append(f"{name} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))


async def serve(port: int, page: Callable[[], str]) -> asyncio.Server:
    """Show the page on 127.0.0.1; port 0 takes a free one. SettingsError where it is taken."""
    slots = asyncio.Semaphore(_CONNECTIONS)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S), slots:
                writer.write(_reply(await _request(reader), page))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asks so is not a scraper
        finally:
            with suppress(OSError):
                writer.close()

    try:
        return await asyncio.start_server(answer, "127.0.0.1", port, limit=_HEAD_BYTES)
    except OSError as error:
        raise SettingsError(
            f"Port {port} for the metrics is not free: give another in FIELDLINE_METRICS_PORT, "
            "or 0 for none."
        ) from error


async def _request(reader: asyncio.StreamReader) -> list[str]:
    head = await reader.readuntil(b"\r\n\r\n")
    return head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")


def _reply(request: list[str], page: Callable[[], str]) -> bytes:
    method, path = (*request, "", "")[:2]
    if method not in {"GET", "HEAD"}:
        return _response("405 Method Not Allowed", "Only GET.\n", method)
    if path.partition("?")[0] != PATH:
        return _response("404 Not Found", f"The figures are at {PATH}.\n", method)
    return _response("200 OK", page(), method)


def _response(status: str, text: str, method: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()
    return head if method == "HEAD" else head + body
