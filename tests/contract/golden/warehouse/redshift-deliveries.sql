CREATE TABLE IF NOT EXISTS fieldline.deliveries (
  "event_id" VARCHAR(65535),
  "sink" VARCHAR(65535),
  "tenant" VARCHAR(65535),
  "device_id" VARCHAR(65535),
  "outcome" VARCHAR(65535),
  "action" VARCHAR(65535),
  "entity_id" VARCHAR(65535),
  "code" VARCHAR(65535),
  "message" VARCHAR(65535),
  "target_id" VARCHAR(65535),
  "cause_class" VARCHAR(65535),
  "attempts" INTEGER,
  "latency_ms" BIGINT,
  "at" TIMESTAMP,
  "payload_hash" VARCHAR(65535),
  "request_hash" VARCHAR(65535),
  "replay" VARCHAR(65535),
  "flag" VARCHAR(65535),
  "extra" VARCHAR(65535),
  "kafka_partition" INTEGER NOT NULL,
  "kafka_offset" BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ("device_id") COMPOUND SORTKEY ("at", "device_id");

COMMENT ON COLUMN fieldline.deliveries."event_id" IS 'BusinessEvent.id.';

COMMENT ON COLUMN fieldline.deliveries."sink" IS 'Sink.';

COMMENT ON COLUMN fieldline.deliveries."tenant" IS 'Tenant.';

COMMENT ON COLUMN fieldline.deliveries."device_id" IS 'Device, ''tenant/device'': the ordering key.';

COMMENT ON COLUMN fieldline.deliveries."outcome" IS 'How it ended.';

COMMENT ON COLUMN fieldline.deliveries."action" IS 'BusinessEvent.action: raise, update or clear.';

COMMENT ON COLUMN fieldline.deliveries."entity_id" IS 'Event that raised what this one is about; empty where that is the event itself.';

COMMENT ON COLUMN fieldline.deliveries."code" IS 'Cause code; empty when delivered.';

COMMENT ON COLUMN fieldline.deliveries."message" IS 'Cause for a person; empty when delivered.';

COMMENT ON COLUMN fieldline.deliveries."target_id" IS 'Record at the target; null where none.';

COMMENT ON COLUMN fieldline.deliveries."cause_class" IS 'Why it went to the DLQ, as in DeadLetter; empty where it did not.';

COMMENT ON COLUMN fieldline.deliveries."attempts" IS 'Attempts in all, the last included.';

COMMENT ON COLUMN fieldline.deliveries."latency_ms" IS 'From arrival of the causing sample at the bridge to at_ms; milliseconds. [ms]';

COMMENT ON COLUMN fieldline.deliveries."at" IS 'When it was confirmed, milliseconds since the Unix epoch, UTC.';

COMMENT ON COLUMN fieldline.deliveries."payload_hash" IS 'SHA-256 of what happened (pipeline.core.events.fingerprint), hex: payloads themselves stay out of the audit stream.';

COMMENT ON COLUMN fieldline.deliveries."request_hash" IS 'SHA-256, hex, of the last request that could have an effect (method, address, body; one request may carry many events); null where none was sent by this worker.';

COMMENT ON COLUMN fieldline.deliveries."replay" IS 'Id of the operator''s replay that asked for it; null where none did.';

COMMENT ON COLUMN fieldline.deliveries."flag" IS 'Why it is to be doubted (Flag); null where it is not.';

COMMENT ON COLUMN fieldline.deliveries."extra" IS 'JSON object: what its columns cannot hold, by name.';

COMMENT ON COLUMN fieldline.deliveries."kafka_partition" IS 'Partition of the dataset''s topic it came on.';

COMMENT ON COLUMN fieldline.deliveries."kafka_offset" IS 'Its offset in that partition.';

INSERT INTO fieldline.fieldline_load_turns SELECT 'deliveries', 0 WHERE NOT EXISTS (SELECT 1 FROM fieldline.fieldline_load_turns WHERE "dataset" = 'deliveries');

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'deliveries' AND lower(table_schema) = 'fieldline' ORDER BY ordinal_position;

ALTER TABLE fieldline.deliveries ADD COLUMN "firmware" VARCHAR(65535);

COMMENT ON COLUMN fieldline.deliveries."firmware" IS 'Firmware of the device.';

DROP TABLE IF EXISTS fieldline_stage_0;

CREATE TEMPORARY TABLE fieldline_stage_0 ("event_id" VARCHAR(65535), "sink" VARCHAR(65535), "tenant" VARCHAR(65535), "device_id" VARCHAR(65535), "outcome" VARCHAR(65535), "action" VARCHAR(65535), "entity_id" VARCHAR(65535), "code" VARCHAR(65535), "message" VARCHAR(65535), "target_id" VARCHAR(65535), "cause_class" VARCHAR(65535), "attempts" INTEGER, "latency_ms" BIGINT, "at" TIMESTAMP, "payload_hash" VARCHAR(65535), "request_hash" VARCHAR(65535), "replay" VARCHAR(65535), "flag" VARCHAR(65535), "extra" VARCHAR(65535), "kafka_partition" INTEGER, "kafka_offset" BIGINT);

COPY fieldline_stage_0 FROM 's3://lake/deliveries/_loads/fba357a1b018583720ac75dccfb8c3c5.manifest'
IAM_ROLE default FORMAT AS PARQUET MANIFEST;

SELECT count(*) FROM fieldline_stage_0;

BEGIN;

LOCK TABLE fieldline.fieldline_load_turns;

UPDATE fieldline.fieldline_load_turns SET "turn" = "turn" + 1 WHERE "dataset" = 'deliveries';

SELECT max("turn") FROM fieldline.fieldline_load_turns WHERE "dataset" = 'deliveries';

DELETE FROM fieldline.deliveries WHERE "at" >= CAST('2026-11-22 00:00:00' AS TIMESTAMP) AND "at" < CAST('2026-11-23 00:00:00' AS TIMESTAMP);

DELETE FROM fieldline.deliveries WHERE "at" >= CAST('9999-12-31 00:00:00' AS TIMESTAMP);

INSERT INTO fieldline.deliveries ("event_id", "sink", "tenant", "device_id", "outcome", "action", "entity_id", "code", "message", "target_id", "cause_class", "attempts", "latency_ms", "at", "payload_hash", "request_hash", "replay", "flag", "extra", "kafka_partition", "kafka_offset") SELECT "event_id", "sink", "tenant", "device_id", "outcome", "action", "entity_id", "code", "message", "target_id", "cause_class", "attempts", "latency_ms", "at", "payload_hash", "request_hash", "replay", "flag", "extra", "kafka_partition", "kafka_offset" FROM fieldline_stage_0;

INSERT INTO fieldline.deliveries ("event_id", "sink", "tenant", "device_id", "outcome", "action", "entity_id", "code", "message", "target_id", "cause_class", "attempts", "latency_ms", "at", "payload_hash", "request_hash", "replay", "flag", "extra", "kafka_partition", "kafka_offset") SELECT "event_id", "before", "tenant", "device_id", "outcome", "action", "entity_id", "code", "message", "target_id", "cause_class", "attempts", "latency_ms", "at", "payload_hash", "request_hash", "replay", "flag", "extra", "kafka_partition", "kafka_offset" FROM fieldline_stage_0;

DELETE FROM fieldline.fieldline_loads WHERE "dataset" = 'deliveries' AND "lake_file" IN ('old.parquet');

INSERT INTO fieldline.fieldline_loads ("dataset", "lake_date", "lake_file", "spans", "row_count", "position_sum", "snapshot_id", "loaded_at") SELECT 'deliveries', CAST('2026-11-22' AS DATE), 'deliveries/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'sink.lake/0/0-9', 100, CAST(450 AS NUMERIC(38, 0)), 7, CAST('2026-11-22 01:02:03' AS TIMESTAMP);

COMMIT;

SELECT CAST("at" AS DATE), count(*), sum(CAST("kafka_offset" AS NUMERIC(38, 0))) FROM fieldline.deliveries WHERE "at" >= CAST('2026-11-01 00:00:00' AS TIMESTAMP) AND "at" < CAST('2026-11-23 00:00:00' AS TIMESTAMP) GROUP BY CAST("at" AS DATE);

DELETE FROM fieldline.deliveries WHERE "device_id" = 'acme/pump-007';

CREATE EXTERNAL SCHEMA IF NOT EXISTS fieldline_lake FROM DATA CATALOG DATABASE 'fieldline' IAM_ROLE default;
SELECT count(*) FROM fieldline_lake.deliveries;

