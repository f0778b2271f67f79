CREATE TABLE IF NOT EXISTS fieldline.events (
  "id" VARCHAR(65535),
  "type" VARCHAR(65535),
  "tenant" VARCHAR(65535),
  "device_id" VARCHAR(65535),
  "asset_id" VARCHAR(65535),
  "customer_id" VARCHAR(65535),
  "severity" VARCHAR(65535),
  "confidence" DOUBLE PRECISION,
  "disposition" VARCHAR(65535),
  "action" VARCHAR(65535),
  "entity_id" VARCHAR(65535),
  "summary" VARCHAR(65535),
  "detector" VARCHAR(65535),
  "metric" VARCHAR(65535),
  "rule" VARCHAR(65535),
  "correlation_id" VARCHAR(65535),
  "occurred_at" TIMESTAMP,
  "observed_at" TIMESTAMP,
  "source_topic" VARCHAR(65535),
  "source_partition" INTEGER,
  "source_offset" BIGINT,
  "source_index" INTEGER,
  "source_session" BIGINT,
  "source_sequence" BIGINT,
  "snapshot" SUPER,
  "flag" VARCHAR(65535),
  "extra" VARCHAR(65535),
  "kafka_partition" INTEGER NOT NULL,
  "kafka_offset" BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ("device_id") COMPOUND SORTKEY ("occurred_at", "device_id");

COMMENT ON COLUMN fieldline.events."id" IS 'Deterministic id, 24 characters of base32: the same episode gives the same id in every replay. It is the idempotency key at every sink.';

COMMENT ON COLUMN fieldline.events."type" IS 'Event type, e.g. fieldline.limit.exceeded; the keys of the routing table.';

COMMENT ON COLUMN fieldline.events."tenant" IS 'Tenant.';

COMMENT ON COLUMN fieldline.events."device_id" IS 'Device, ''tenant/device''.';

COMMENT ON COLUMN fieldline.events."asset_id" IS 'Asset the device is mounted on, by the device registry; null where unregistered.';

COMMENT ON COLUMN fieldline.events."customer_id" IS 'Customer who owns the asset, by the device registry; null where unregistered.';

COMMENT ON COLUMN fieldline.events."severity" IS 'Severity.';

COMMENT ON COLUMN fieldline.events."confidence" IS '0 to 1: estimated probability that the condition is real rather than noise.';

COMMENT ON COLUMN fieldline.events."disposition" IS 'Set when it was made; not part of what happened.';

COMMENT ON COLUMN fieldline.events."action" IS 'What it asks of a sink.';

COMMENT ON COLUMN fieldline.events."entity_id" IS 'Id of the event that raised what this one is about; its own id, or empty, for action raise.';

COMMENT ON COLUMN fieldline.events."summary" IS 'One line for a person.';

COMMENT ON COLUMN fieldline.events."detector" IS 'Detector that raised it: pipeline/core/detectors/table.py has them all.';

COMMENT ON COLUMN fieldline.events."metric" IS 'Metric that raised it.';

COMMENT ON COLUMN fieldline.events."rule" IS 'Rule and version, name@version.';

COMMENT ON COLUMN fieldline.events."correlation_id" IS 'Shared by all events of one asset''s trouble; the id of the first.';

COMMENT ON COLUMN fieldline.events."occurred_at" IS 'Event time of the sample that raised it, milliseconds since the Unix epoch, UTC.';

COMMENT ON COLUMN fieldline.events."observed_at" IS 'Arrival of that sample at the bridge, milliseconds since the Unix epoch, UTC.';

COMMENT ON COLUMN fieldline.events."source_topic" IS 'Kafka topic.';

COMMENT ON COLUMN fieldline.events."source_partition" IS 'Kafka partition.';

COMMENT ON COLUMN fieldline.events."source_offset" IS 'Kafka offset.';

COMMENT ON COLUMN fieldline.events."source_index" IS 'Place among the events that the same message can cause: rising, not without gaps, the same in every replay.';

COMMENT ON COLUMN fieldline.events."source_session" IS 'Device session of the sample that caused it; 0 where unknown.';

COMMENT ON COLUMN fieldline.events."source_sequence" IS 'Sequence number of that sample; -1 where the device has none.';

COMMENT ON COLUMN fieldline.events."snapshot" IS 'All readings of the sample that raised it, with their baselines.';

COMMENT ON COLUMN fieldline.events."flag" IS 'Why it is to be doubted (Flag); null where it is not.';

COMMENT ON COLUMN fieldline.events."extra" IS 'JSON object: what its columns cannot hold, by name.';

COMMENT ON COLUMN fieldline.events."kafka_partition" IS 'Partition of the dataset''s topic it came on.';

COMMENT ON COLUMN fieldline.events."kafka_offset" IS 'Its offset in that partition.';

INSERT INTO fieldline.fieldline_load_turns SELECT 'events', 0 WHERE NOT EXISTS (SELECT 1 FROM fieldline.fieldline_load_turns WHERE "dataset" = 'events');

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'events' AND lower(table_schema) = 'fieldline' ORDER BY ordinal_position;

ALTER TABLE fieldline.events ADD COLUMN "firmware" VARCHAR(65535);

COMMENT ON COLUMN fieldline.events."firmware" IS 'Firmware of the device.';

DROP TABLE IF EXISTS fieldline_stage_0;

CREATE TEMPORARY TABLE fieldline_stage_0 ("id" VARCHAR(65535), "type" VARCHAR(65535), "tenant" VARCHAR(65535), "device_id" VARCHAR(65535), "asset_id" VARCHAR(65535), "customer_id" VARCHAR(65535), "severity" VARCHAR(65535), "confidence" DOUBLE PRECISION, "disposition" VARCHAR(65535), "action" VARCHAR(65535), "entity_id" VARCHAR(65535), "summary" VARCHAR(65535), "detector" VARCHAR(65535), "metric" VARCHAR(65535), "rule" VARCHAR(65535), "correlation_id" VARCHAR(65535), "occurred_at" TIMESTAMP, "observed_at" TIMESTAMP, "source_topic" VARCHAR(65535), "source_partition" INTEGER, "source_offset" BIGINT, "source_index" INTEGER, "source_session" BIGINT, "source_sequence" BIGINT, "snapshot" SUPER, "flag" VARCHAR(65535), "extra" VARCHAR(65535), "kafka_partition" INTEGER, "kafka_offset" BIGINT);

COPY fieldline_stage_0 FROM 's3://lake/events/_loads/8ee2ba3a0f95e088e62ca2977df94f2e.manifest'
IAM_ROLE default FORMAT AS PARQUET MANIFEST SERIALIZETOJSON;

SELECT count(*) FROM fieldline_stage_0;

BEGIN;

LOCK TABLE fieldline.fieldline_load_turns;

UPDATE fieldline.fieldline_load_turns SET "turn" = "turn" + 1 WHERE "dataset" = 'events';

SELECT max("turn") FROM fieldline.fieldline_load_turns WHERE "dataset" = 'events';

DELETE FROM fieldline.events WHERE "occurred_at" >= CAST('2026-11-22 00:00:00' AS TIMESTAMP) AND "occurred_at" < CAST('2026-11-23 00:00:00' AS TIMESTAMP);

DELETE FROM fieldline.events WHERE "occurred_at" >= CAST('9999-12-31 00:00:00' AS TIMESTAMP);

INSERT INTO fieldline.events ("id", "type", "tenant", "device_id", "asset_id", "customer_id", "severity", "confidence", "disposition", "action", "entity_id", "summary", "detector", "metric", "rule", "correlation_id", "occurred_at", "observed_at", "source_topic", "source_partition", "source_offset", "source_index", "source_session", "source_sequence", "snapshot", "flag", "extra", "kafka_partition", "kafka_offset") SELECT "id", "type", "tenant", "device_id", "asset_id", "customer_id", "severity", "confidence", "disposition", "action", "entity_id", "summary", "detector", "metric", "rule", "correlation_id", "occurred_at", "observed_at", "source_topic", "source_partition", "source_offset", "source_index", "source_session", "source_sequence", "snapshot", "flag", "extra", "kafka_partition", "kafka_offset" FROM fieldline_stage_0;

INSERT INTO fieldline.events ("id", "type", "tenant", "device_id", "asset_id", "customer_id", "severity", "confidence", "disposition", "action", "entity_id", "summary", "detector", "metric", "rule", "correlation_id", "occurred_at", "observed_at", "source_topic", "source_partition", "source_offset", "source_index", "source_session", "source_sequence", "snapshot", "flag", "extra", "kafka_partition", "kafka_offset") SELECT "id", "before", "tenant", "device_id", "asset_id", "customer_id", "severity", "confidence", "disposition", "action", "entity_id", "summary", "detector", "metric", "rule", "correlation_id", "occurred_at", "observed_at", "source_topic", "source_partition", "source_offset", "source_index", "source_session", "source_sequence", "snapshot", "flag", "extra", "kafka_partition", "kafka_offset" FROM fieldline_stage_0;

DELETE FROM fieldline.fieldline_loads WHERE "dataset" = 'events' AND "lake_file" IN ('old.parquet');

INSERT INTO fieldline.fieldline_loads ("dataset", "lake_date", "lake_file", "spans", "row_count", "position_sum", "snapshot_id", "loaded_at") SELECT 'events', CAST('2026-11-22' AS DATE), 'events/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'sink.lake/0/0-9', 100, CAST(450 AS NUMERIC(38, 0)), 7, CAST('2026-11-22 01:02:03' AS TIMESTAMP);

COMMIT;

SELECT CAST("occurred_at" AS DATE), count(*), sum(CAST("kafka_offset" AS NUMERIC(38, 0))) FROM fieldline.events WHERE "occurred_at" >= CAST('2026-11-01 00:00:00' AS TIMESTAMP) AND "occurred_at" < CAST('2026-11-23 00:00:00' AS TIMESTAMP) GROUP BY CAST("occurred_at" AS DATE);

DELETE FROM fieldline.events WHERE "device_id" = 'acme/pump-007';

CREATE EXTERNAL SCHEMA IF NOT EXISTS fieldline_lake FROM DATA CATALOG DATABASE 'fieldline' IAM_ROLE default;
SELECT count(*) FROM fieldline_lake.events;

