"""InfluxDB: line protocol to /api/v2/write.

Facts from InfluxData's documents (v2 API reference, "Line protocol", "Troubleshoot writes"):

- One line is `measurement,tag=… field=…,field=… time`; of a point with series (measurement and
  tags) and time that are there already, fields are written over. So a repetition is harmless.
- Commas, blanks and equals signs in tags and field names are escaped with a backslash; a name
  may neither begin with an underscore nor be `time`; line breaks and backslashes have no
  escape that every version and every place of a line takes, so such names are refused here.
- 204 = all is there. 400 = malformed, nothing is there (OSS v2), or some of it (v3). 422 = some
  points were refused, the others are there. 413 = too large. 429 and 503 may say Retry-After.

A line per sample: device and tenant are tags, each metric is a field. InfluxDB 3's answers to
partial writes were read about, not tried.
"""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from collections.abc import Callable
from urllib.parse import urlencode

import httpx
import numpy as np

from connectors.answers import (
    Kind,
    Row,
    clean,
    json_of,
    message_of,
    retry_after,
    text_of,
    transport_row,
)
from connectors.base import Call, Conversation, Effect, Reply
from connectors.exchange import converse
from connectors.timeseries.base import Done, Refuse, Retry
from connectors.timeseries.config import TimeseriesSettings
from connectors.timeseries.points import Points

NAME = "influxdb"
TITLE = "InfluxDB"
_ESCAPES = str.maketrans({",": "\\,", " ": "\\ ", "=": "\\="})
_REFUSED = frozenset({400, 413, 422})
_GZIP_LEVEL = 1
_INLINE = 2_000
"""Up to here lines are quicker built than handed to a thread, points."""
_AWAY = Row(kind=Kind.BUSY, code=f"{NAME}.answer", when="any other status", source="its documents")


class InfluxStore:
    """One bucket, on one event loop."""

    name = NAME
    # Nanoseconds in 64 bits, less the ends that InfluxDB keeps for itself (models.MinNanoTime).
    first_ms = -9_223_372_036_854
    last_ms = 9_223_372_036_853
    by_sequence = False

    def __init__(
        self, settings: TimeseriesSettings, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.most = settings.batch
        self._settings = settings
        self._clock = clock
        query = {"org": settings.org, "bucket": settings.bucket, "precision": "ms"}
        self._url = f"{settings.url}/api/v2/write?{urlencode(query)}"
        token = settings.token.get_secret_value() if settings.token else ""
        self._headers = {
            "authorization": f"Token {token}",
            "content-type": "text/plain; charset=utf-8",
            "content-encoding": "gzip",
            "accept": "application/json",
        }
        trusted = ssl.create_default_context(cafile=settings.ca_file) if not settings.here else True
        self._client = httpx.AsyncClient(
            follow_redirects=False,
            timeout=settings.timeout_s,
            verify=trusted,
            trust_env=not settings.here,
        )

    def takes(self, name: str) -> bool:
        """Whether it can be a tag's value or a field's name."""
        plain = name.isprintable() and "\\" not in name
        return plain and bool(name) and not name.startswith("_") and name != "time"

    async def put(self, points: Points) -> Done | Refuse | Retry:
        """One request; sent again it changes nothing."""
        arguments = (self._settings.measurement, points)
        inline = len(points) <= _INLINE
        body = packed(*arguments) if inline else await asyncio.to_thread(packed, *arguments)
        request = httpx.Request("POST", self._url, headers=self._headers, content=body)

        def ask() -> Conversation[Reply]:
            reply = yield Call(step="write", request=request, effect=Effect.KEYED_WRITE)
            return reply

        done = await converse(
            ask, self._client, request_s=self._settings.timeout_s, late=lambda: False
        )
        return self._read(httpx.ReadError(done.bug) if done.result is None else done.result)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    def _read(self, reply: Reply) -> Done | Refuse | Retry:
        reply = clean(reply, self._settings.secrets())
        if isinstance(reply, httpx.TransportError):
            return Retry(reason=message_of(TITLE, transport_row(NAME, reply)))
        if reply.status_code == httpx.codes.NO_CONTENT:
            return Done()
        body = json_of(reply)
        fields = body if isinstance(body, dict) else {}
        # 1.8 says 'error' where later ones say 'message'.
        said = text_of(fields.get("message")) or text_of(fields.get("error")) or ""
        if reply.status_code in _REFUSED:
            return Refuse(reason=said or f"status {reply.status_code}")
        return Retry(
            reason=message_of(TITLE, _AWAY, said, reply.status_code),
            wait_s=retry_after(reply.headers.get("retry-after"), self._clock()),
        )


def escaped(name: str) -> str:
    """As tags and field names are written."""
    return name.translate(_ESCAPES)


def lines(measurement: str, points: Points) -> str:
    """Line protocol of points that are keyed: a line for each device and time, precision ms."""
    if not len(points):
        return ""
    heads = [
        f"{measurement},device={escaped(name)},tenant={escaped(name.partition('/')[0])} "
        for name in points.devices
    ]
    names = [f"{escaped(name)}=" for name in points.metrics]
    fields = [
        f"{names[metric]}{value!r}"
        for metric, value in zip(points.metric.tolist(), points.value.tolist(), strict=True)
    ]
    device, at = points.device, points.time_ms
    starts = np.flatnonzero((device[1:] != device[:-1]) | (at[1:] != at[:-1])) + 1
    edges = [0, *starts.tolist(), len(fields)]
    first = edges[:-1]
    return "\n".join(
        f"{heads[who]}{','.join(fields[start:end])} {when}"
        for who, when, start, end in zip(
            device[first].tolist(), at[first].tolist(), first, edges[1:], strict=True
        )
    )


def packed(measurement: str, points: Points) -> bytes:
    """The body: lines, gzip."""
    return gzip.compress(lines(measurement, points).encode(), _GZIP_LEVEL, mtime=0)
