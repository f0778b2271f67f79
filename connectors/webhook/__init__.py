"""Webhook out: events as signed CloudEvents, posted to any address, one or many at a time."""

from connectors.webhook.config import WebhookConfig
from connectors.webhook.protocol import WebhookConnector

__all__ = ["WebhookConfig", "WebhookConnector"]
