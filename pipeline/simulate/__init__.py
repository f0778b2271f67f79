"""Devices that replay recorded telemetry, with faults on request."""
