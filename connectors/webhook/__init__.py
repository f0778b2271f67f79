"""Webhook out: events as signed CloudEvents, or in a body of one's own, to any address."""

from connectors.webhook.config import WebhookSettings
from connectors.webhook.protocol import WebhookConnector

__all__ = ["WebhookConnector", "WebhookSettings"]
