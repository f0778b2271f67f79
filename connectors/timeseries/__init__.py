"""Time-series stores for live dashboards: InfluxDB, and PostgreSQL with or without TimescaleDB.

This is no connector of business events (it has no system.py): its worker reads
telemetry.deduplicated, as the lake's does.
"""
