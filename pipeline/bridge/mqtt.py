"""The one adapter over aiomqtt and paho: acknowledgement by hand, and publishing in windows.

aiomqtt acknowledges a message before its caller has seen it and has no call to do it later;
its paho client has. Every private name that we use of either library is in this file, and
tests/unit/test_mqtt.py fails when a release changes one.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import aiomqtt
from paho.mqtt.client import PUBACK
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pipeline.settings import SettingsError

KEEPALIVE_S = 20
CONNECT_S = 10.0
_PUBACK = struct.Struct("!BBH")
"""MQTT 5.0 section 3.4: a PUBACK without reason code and properties, that is, success."""
_FAILED = 0x80
"""MQTT 5.0 section 2.4: reason codes from here on are errors."""
_NOBODY = 0x10
"""MQTT 5.0 section 3.4.2.1: no matching subscribers."""


class ConnectionLostError(Exception):
    """There is no connection to the MQTT broker; what was not acknowledged comes again."""


class RefusedError(Exception):
    """The broker answers, and refuses; the text says what and why."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the broker is, from an MQTT_URL."""

    host: str
    port: int
    tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Address:
        """Address in mqtt://[user:password@]host[:port] or mqtts://; SettingsError otherwise."""
        try:
            parts = urlsplit(url)
            port, host = parts.port, parts.hostname
        except ValueError:
            port, host, parts = None, None, urlsplit("")
        if parts.scheme not in {"mqtt", "mqtts"} or not host:
            # The address itself stays out of the text: it may hold a password.
            raise SettingsError("MQTT_URL is unusable: write mqtt://[USER:PASSWORD@]HOST:PORT.")
        tls = parts.scheme == "mqtts"
        return cls(
            host=host,
            port=port or (8883 if tls else 1883),
            tls=tls,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it came. `mid` is only good for the connection that it came on."""

    topic: str
    payload: bytes
    qos: int
    mid: int


class _Connection:
    """An aiomqtt client whose events wake one waiter."""

    def __init__(self, address: Address, client_id: str, **options: Any) -> None:  # noqa: ANN401 - aiomqtt's own options
        self._wake = asyncio.Event()
        self._client = aiomqtt.Client(
            address.host,
            address.port,
            username=address.username,
            password=address.password,
            identifier=client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            keepalive=KEEPALIVE_S,
            timeout=CONNECT_S,
            tls_context=ssl.create_default_context() if address.tls else None,
            **options,
        )
        self._paho: Any = self._client._client  # noqa: SLF001 - this adapter's purpose
        self._lost: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._client.__aenter__()
        except aiomqtt.MqttError as error:
            raise ConnectionLostError(f"The MQTT broker cannot be reached: {error}.") from error
        self._lost = self._client._disconnected  # noqa: SLF001 - the only sign of a loss
        self._lost.add_done_callback(self._on_lost)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(aiomqtt.MqttError):
            await self._client.__aexit__(kind, error, trace)

    def _on_lost(self, lost: asyncio.Future[None]) -> None:
        if not lost.cancelled():
            lost.exception()  # seen here: asyncio must not report it as forgotten
        self._wake.set()

    def poke(self) -> None:
        """Let the waiter look again."""
        self._wake.set()

    async def wait(self, timeout_s: float) -> None:
        """Until something happened or so long; raises ConnectionLostError without connection."""
        if not self._wake.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
        self._wake.clear()
        if self._lost is None or self._lost.done():
            raise ConnectionLostError("The connection to the MQTT broker was lost.")


class Inbox(_Connection):
    """A subscriber whose session outlives its connections, acknowledging by hand.

    The broker keeps at most `receive_maximum` messages in flight: so many are in memory
    without an acknowledgement. Messages that were not acknowledged come again, in order,
    on the next connection with the same client id.
    """

    def __init__(
        self, address: Address, *, client_id: str, receive_maximum: int, session_expiry_s: int
    ) -> None:
        properties: Any = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
        properties.SessionExpiryInterval = session_expiry_s
        properties.ReceiveMaximum = receive_maximum
        super().__init__(address, client_id, clean_start=False, properties=properties)
        self._arrived: deque[Message] = deque()  # the broker bounds it: receive_maximum
        self._acknowledged = bytearray()
        # Before connecting: a kept session delivers as soon as it is there again. aiomqtt's
        # own handler would make an object of its own, and check its topic, per message.
        self._paho.manual_ack_set(on=True)
        self._paho.on_message = self._on_message

    async def subscribe(self, topic_filter: str, *, instead_of: str) -> None:
        """Subscribe with QoS 1; RefusedError where the broker will not.

        `instead_of` is another filter that the session may still have from an earlier run.
        """
        try:
            codes = await self._client.subscribe(topic_filter, qos=1)
            await self._client.unsubscribe(instead_of)
        except aiomqtt.MqttError as error:
            raise ConnectionLostError(f"Subscribing failed: {error}.") from error
        refused = [code for code in codes if getattr(code, "value", code) >= _FAILED]
        if refused:
            raise RefusedError(f"The MQTT broker refuses {topic_filter}: {refused[0]}.")

    async def receive(self, limit: int, timeout_s: float) -> list[Message]:
        """At most `limit` messages that are here, or come within so many seconds; may be none."""
        if not limit or not self._arrived:
            await self.wait(timeout_s)
        take = min(limit, len(self._arrived))
        return [self._arrived.popleft() for _ in range(take)]

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:  # noqa: ANN401 - paho's
        self._arrived.append(
            Message(message.topic, bytes(message.payload), message.qos, message.mid)
        )
        self.poke()

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that `message` is safe. Without a connection this does nothing.

        Acknowledgements of one turn of the event loop leave together: one system call each is
        a good part of what a message costs.
        """
        if message.qos:
            if not self._acknowledged:
                asyncio.get_running_loop().call_soon(self._send_acknowledgements)
            self._acknowledged += _PUBACK.pack(PUBACK, 2, message.mid)

    def _send_acknowledgements(self) -> None:
        packets, self._acknowledged = bytes(self._acknowledged), bytearray()
        if self._lost is not None and not self._lost.done():
            # paho sends a packet's bytes as they are, however many packets they make.
            self._paho._packet_queue(PUBACK, packets, 0, 1)  # noqa: SLF001 - this adapter's purpose


class Outbox(_Connection):
    """A publisher with QoS 1 and many messages under way.

    Calls `on_ack(mid, heard)` for each PUBACK: `heard` is False where the broker says that
    nobody subscribes, so that it has thrown the message away (not every broker says so).
    Keeps nothing across connections: who publishes knows what was not acknowledged.
    """

    def __init__(
        self, address: Address, *, client_id: str, window: int, on_ack: Callable[[int, bool], None]
    ) -> None:
        super().__init__(address, client_id, clean_start=True, max_inflight_messages=window)
        self.window = window
        """How many may be under way: no more than the broker said when it was connected to."""
        self._on_ack = on_ack
        self._connected = self._paho.on_connect
        self._paho.on_connect = self._on_connect
        self._refusal: str | None = None
        self._paho.on_publish = self._on_publish

    def publish(self, topic: str, payload: bytes) -> int:
        """Hand over one message; its id. ConnectionLostError or RefusedError otherwise."""
        if self._refusal is not None:
            raise RefusedError(f"The MQTT broker refuses a message: {self._refusal}.")
        info = self._paho.publish(topic, payload, 1)
        if info.rc != 0:
            raise ConnectionLostError("The connection to the MQTT broker was lost.")
        return int(info.mid)

    def _on_connect(self, client: Any, data: Any, flags: Any, code: Any, properties: Any) -> None:  # noqa: ANN401 - paho's
        # MQTT 5.0 section 3.2.2.3.3. paho does not keep to it, and a broker may disconnect.
        self.window = min(self.window, getattr(properties, "ReceiveMaximum", self.window))
        self._connected(client, data, flags, code, properties)

    def _on_publish(self, _client: Any, _data: Any, mid: int, code: Any, _properties: Any) -> None:  # noqa: ANN401 - paho's
        if getattr(code, "value", 0) >= _FAILED:
            self._refusal = str(code)
        else:
            self._on_ack(mid, getattr(code, "value", 0) != _NOBODY)
        self.poke()
