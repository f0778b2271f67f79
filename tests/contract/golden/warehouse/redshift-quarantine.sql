CREATE TABLE IF NOT EXISTS fieldline.quarantine (
  "reason" VARCHAR(65535),
  "detail" VARCHAR(65535),
  "mqtt_topic" VARCHAR(65535),
  "device_id" VARCHAR(65535),
  "payload" VARBYTE(1024000),
  "payload_size" BIGINT,
  "readings" INTEGER,
  "received_at" TIMESTAMP,
  "flag" VARCHAR(65535),
  "extra" VARCHAR(65535),
  "kafka_partition" INTEGER NOT NULL,
  "kafka_offset" BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ("device_id") COMPOUND SORTKEY ("received_at", "mqtt_topic");

COMMENT ON COLUMN fieldline.quarantine."reason" IS 'Reason code: the closed set of pipeline.core.quarantine.';

COMMENT ON COLUMN fieldline.quarantine."detail" IS 'One sentence for a person.';

COMMENT ON COLUMN fieldline.quarantine."mqtt_topic" IS 'MQTT topic it came on.';

COMMENT ON COLUMN fieldline.quarantine."device_id" IS 'Device, ''tenant/device'', where the topic gave one.';

COMMENT ON COLUMN fieldline.quarantine."payload" IS 'The payload as it came, at most 65,536 bytes of it.';

COMMENT ON COLUMN fieldline.quarantine."payload_size" IS 'Its full size, bytes.';

COMMENT ON COLUMN fieldline.quarantine."readings" IS 'How many readings it counts for: 1 for a message or item that could not be read.';

COMMENT ON COLUMN fieldline.quarantine."received_at" IS 'Arrival at the bridge, milliseconds since the Unix epoch, UTC.';

COMMENT ON COLUMN fieldline.quarantine."flag" IS 'Why it is to be doubted (Flag); null where it is not.';

COMMENT ON COLUMN fieldline.quarantine."extra" IS 'JSON object: what its columns cannot hold, by name.';

COMMENT ON COLUMN fieldline.quarantine."kafka_partition" IS 'Partition of the dataset''s topic it came on.';

COMMENT ON COLUMN fieldline.quarantine."kafka_offset" IS 'Its offset in that partition.';

INSERT INTO fieldline.fieldline_load_turns SELECT 'quarantine', 0 WHERE NOT EXISTS (SELECT 1 FROM fieldline.fieldline_load_turns WHERE "dataset" = 'quarantine');

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'quarantine' AND lower(table_schema) = 'fieldline' ORDER BY ordinal_position;

ALTER TABLE fieldline.quarantine ADD COLUMN "firmware" VARCHAR(65535);

COMMENT ON COLUMN fieldline.quarantine."firmware" IS 'Firmware of the device.';

DROP TABLE IF EXISTS fieldline_stage_0;

CREATE TEMPORARY TABLE fieldline_stage_0 ("reason" VARCHAR(65535), "detail" VARCHAR(65535), "mqtt_topic" VARCHAR(65535), "device_id" VARCHAR(65535), "payload" VARBYTE(1024000), "payload_size" BIGINT, "readings" INTEGER, "received_at" TIMESTAMP, "flag" VARCHAR(65535), "extra" VARCHAR(65535), "kafka_partition" INTEGER, "kafka_offset" BIGINT);

COPY fieldline_stage_0 FROM 's3://lake/quarantine/_loads/dca34a262f840204399d89c8f136986d.manifest'
IAM_ROLE default FORMAT AS PARQUET MANIFEST;

SELECT count(*) FROM fieldline_stage_0;

BEGIN;

LOCK TABLE fieldline.fieldline_load_turns;

UPDATE fieldline.fieldline_load_turns SET "turn" = "turn" + 1 WHERE "dataset" = 'quarantine';

SELECT max("turn") FROM fieldline.fieldline_load_turns WHERE "dataset" = 'quarantine';

DELETE FROM fieldline.quarantine WHERE "received_at" >= CAST('2026-11-22 00:00:00' AS TIMESTAMP) AND "received_at" < CAST('2026-11-23 00:00:00' AS TIMESTAMP);

DELETE FROM fieldline.quarantine WHERE "received_at" >= CAST('9999-12-31 00:00:00' AS TIMESTAMP);

INSERT INTO fieldline.quarantine ("reason", "detail", "mqtt_topic", "device_id", "payload", "payload_size", "readings", "received_at", "flag", "extra", "kafka_partition", "kafka_offset") SELECT "reason", "detail", "mqtt_topic", "device_id", "payload", "payload_size", "readings", "received_at", "flag", "extra", "kafka_partition", "kafka_offset" FROM fieldline_stage_0;

INSERT INTO fieldline.quarantine ("reason", "detail", "mqtt_topic", "device_id", "payload", "payload_size", "readings", "received_at", "flag", "extra", "kafka_partition", "kafka_offset") SELECT "reason", "before", "mqtt_topic", "device_id", "payload", "payload_size", "readings", "received_at", "flag", "extra", "kafka_partition", "kafka_offset" FROM fieldline_stage_0;

DELETE FROM fieldline.fieldline_loads WHERE "dataset" = 'quarantine' AND "lake_file" IN ('old.parquet');

INSERT INTO fieldline.fieldline_loads ("dataset", "lake_date", "lake_file", "spans", "row_count", "position_sum", "snapshot_id", "loaded_at") SELECT 'quarantine', CAST('2026-11-22' AS DATE), 'quarantine/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'sink.lake/0/0-9', 100, CAST(450 AS NUMERIC(38, 0)), 7, CAST('2026-11-22 01:02:03' AS TIMESTAMP);

COMMIT;

SELECT CAST("received_at" AS DATE), count(*), sum(CAST("kafka_offset" AS NUMERIC(38, 0))) FROM fieldline.quarantine WHERE "received_at" >= CAST('2026-11-01 00:00:00' AS TIMESTAMP) AND "received_at" < CAST('2026-11-23 00:00:00' AS TIMESTAMP) GROUP BY CAST("received_at" AS DATE);

DELETE FROM fieldline.quarantine WHERE "device_id" = 'acme/pump-007';

CREATE EXTERNAL SCHEMA IF NOT EXISTS fieldline_lake FROM DATA CATALOG DATABASE 'fieldline' IAM_ROLE default;
SELECT count(*) FROM fieldline_lake.quarantine;

