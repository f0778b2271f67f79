CREATE TABLE IF NOT EXISTS fieldline.telemetry (
  "tenant" VARCHAR(65535) NOT NULL,
  "device_id" VARCHAR(65535) NOT NULL,
  "metric" VARCHAR(65535) NOT NULL,
  "time" TIMESTAMP NOT NULL,
  "value" DOUBLE PRECISION NOT NULL,
  "session" BIGINT NOT NULL,
  "sequence" BIGINT NOT NULL,
  "received_at" TIMESTAMP NOT NULL,
  "late" BOOLEAN NOT NULL,
  "flag" VARCHAR(65535),
  "source_partition" INTEGER NOT NULL,
  "source_offset" BIGINT NOT NULL
)
DISTSTYLE KEY DISTKEY ("device_id") COMPOUND SORTKEY ("time", "device_id");

COMMENT ON COLUMN fieldline.telemetry."tenant" IS 'Tenant the device belongs to.';

COMMENT ON COLUMN fieldline.telemetry."device_id" IS 'Device, ''tenant/device''.';

COMMENT ON COLUMN fieldline.telemetry."metric" IS 'What was measured, as the device names it.';

COMMENT ON COLUMN fieldline.telemetry."time" IS 'When it was measured, by the device''s clock, UTC.';

COMMENT ON COLUMN fieldline.telemetry."value" IS 'The reading, in the metric''s own unit.';

COMMENT ON COLUMN fieldline.telemetry."session" IS 'The device''s session; 0 where it tells none.';

COMMENT ON COLUMN fieldline.telemetry."sequence" IS 'The sample''s number in its session; -1 where it has none.';

COMMENT ON COLUMN fieldline.telemetry."received_at" IS 'Arrival at the bridge, UTC.';

COMMENT ON COLUMN fieldline.telemetry."late" IS 'It came too late for detection to look at it.';

COMMENT ON COLUMN fieldline.telemetry."flag" IS 'Why it is to be doubted (Flag); null where it is not.';

COMMENT ON COLUMN fieldline.telemetry."source_partition" IS 'Partition of telemetry.readings it came on.';

COMMENT ON COLUMN fieldline.telemetry."source_offset" IS 'Offset in that partition of the message it came in.';

INSERT INTO fieldline.fieldline_load_turns SELECT 'telemetry', 0 WHERE NOT EXISTS (SELECT 1 FROM fieldline.fieldline_load_turns WHERE "dataset" = 'telemetry');

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'telemetry' AND lower(table_schema) = 'fieldline' ORDER BY ordinal_position;

ALTER TABLE fieldline.telemetry ADD COLUMN "firmware" VARCHAR(65535);

COMMENT ON COLUMN fieldline.telemetry."firmware" IS 'Firmware of the device.';

DROP TABLE IF EXISTS fieldline_stage_0;

CREATE TEMPORARY TABLE fieldline_stage_0 ("tenant" VARCHAR(65535), "device_id" VARCHAR(65535), "metric" VARCHAR(65535), "time" TIMESTAMP, "value" DOUBLE PRECISION, "session" BIGINT, "sequence" BIGINT, "received_at" TIMESTAMP, "late" BOOLEAN, "flag" VARCHAR(65535), "source_partition" INTEGER, "source_offset" BIGINT);

COPY fieldline_stage_0 FROM 's3://lake/telemetry/_loads/7caf1beea81471047abc131d321644ff.manifest'
IAM_ROLE default FORMAT AS PARQUET MANIFEST;

SELECT count(*) FROM fieldline_stage_0;

BEGIN;

LOCK TABLE fieldline.fieldline_load_turns;

UPDATE fieldline.fieldline_load_turns SET "turn" = "turn" + 1 WHERE "dataset" = 'telemetry';

SELECT max("turn") FROM fieldline.fieldline_load_turns WHERE "dataset" = 'telemetry';

DELETE FROM fieldline.telemetry WHERE "time" >= CAST('2026-11-22 00:00:00' AS TIMESTAMP) AND "time" < CAST('2026-11-23 00:00:00' AS TIMESTAMP);

DELETE FROM fieldline.telemetry WHERE "time" >= CAST('9999-12-31 00:00:00' AS TIMESTAMP);

INSERT INTO fieldline.telemetry ("tenant", "device_id", "metric", "time", "value", "session", "sequence", "received_at", "late", "flag", "source_partition", "source_offset") SELECT "tenant", "device_id", "metric", "time", "value", "session", "sequence", "received_at", "late", "flag", "source_partition", "source_offset" FROM fieldline_stage_0;

INSERT INTO fieldline.telemetry ("tenant", "device_id", "metric", "time", "value", "session", "sequence", "received_at", "late", "flag", "source_partition", "source_offset") SELECT "tenant", "before", "metric", "time", "value", "session", "sequence", "received_at", "late", "flag", "source_partition", "source_offset" FROM fieldline_stage_0;

DELETE FROM fieldline.fieldline_loads WHERE "dataset" = 'telemetry' AND "lake_file" IN ('old.parquet');

INSERT INTO fieldline.fieldline_loads ("dataset", "lake_date", "lake_file", "spans", "row_count", "position_sum", "snapshot_id", "loaded_at") SELECT 'telemetry', CAST('2026-11-22' AS DATE), 'telemetry/date=2026-11-22/telemetry.deduplicated-00000-00000000000000000000.parquet', 'telemetry.deduplicated/0/0-9', 100, CAST(450 AS NUMERIC(38, 0)), 7, CAST('2026-11-22 01:02:03' AS TIMESTAMP);

COMMIT;

SELECT CAST("time" AS DATE), count(*), sum(CAST("source_offset" AS NUMERIC(38, 0))) FROM fieldline.telemetry WHERE "time" >= CAST('2026-11-01 00:00:00' AS TIMESTAMP) AND "time" < CAST('2026-11-23 00:00:00' AS TIMESTAMP) GROUP BY CAST("time" AS DATE);

DELETE FROM fieldline.telemetry WHERE "device_id" = 'acme/pump-007';

CREATE EXTERNAL SCHEMA IF NOT EXISTS fieldline_lake FROM DATA CATALOG DATABASE 'fieldline' IAM_ROLE default;
SELECT count(*) FROM fieldline_lake.telemetry;

