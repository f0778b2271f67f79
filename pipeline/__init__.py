"""Fieldline: from device telemetry to the systems a business runs on."""
