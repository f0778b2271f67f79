"""The lake: telemetry and events as date-partitioned Parquet on S3, every row once."""
