"""Tryton 8: events become tasks (service orders) under projects (equipment) of parties."""

from connectors.tryton.config import TrytonSettings
from connectors.tryton.protocol import OrderSeen, TrytonConnector

__all__ = ["OrderSeen", "TrytonConnector", "TrytonSettings"]
