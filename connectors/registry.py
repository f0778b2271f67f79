"""Every connector by its sink name."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from connectors.base import Connector
from connectors.tryton import config as tryton
from connectors.tryton.protocol import TrytonConnector
from connectors.webhook import config as webhook
from connectors.webhook.protocol import WebhookConnector
from pipeline.core.registry import Devices
from pipeline.settings import Settings, SettingsError


def _tryton(settings: Settings, registry: Devices) -> Connector:
    return TrytonConnector(tryton.from_settings(settings), registry)


def _webhook(settings: Settings, registry: Devices) -> Connector:
    del registry  # an event tells a webhook all it needs
    return WebhookConnector(webhook.from_settings(settings), clock=time.time)


CONNECTORS: Mapping[str, Callable[[Settings, Devices], Connector]] = {
    "tryton": _tryton,
    "webhook": _webhook,
}
"""How to make each: a new system is one folder and one line here."""


def make_connector(sink: str, settings: Settings, registry: Devices) -> Connector:
    """The connector of a sink; SettingsError where the routing table names an unknown one."""
    make = CONNECTORS.get(sink)
    if make is None:
        raise SettingsError(
            f"The routing table sends to {sink!r}, for which there is no connector: "
            f"there are {', '.join(sorted(CONNECTORS))} and lake."
        )
    return make(settings, registry)
