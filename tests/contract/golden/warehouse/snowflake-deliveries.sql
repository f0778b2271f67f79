CREATE TABLE IF NOT EXISTS FIELDLINE.LAKE.DELIVERIES (
  "EVENT_ID" VARCHAR COMMENT 'BusinessEvent.id.',
  "SINK" VARCHAR COMMENT 'Sink.',
  "TENANT" VARCHAR COMMENT 'Tenant.',
  "DEVICE_ID" VARCHAR COMMENT 'Device, ''tenant/device'': the ordering key.',
  "OUTCOME" VARCHAR COMMENT 'How it ended.',
  "ACTION" VARCHAR COMMENT 'BusinessEvent.action: raise, update or clear.',
  "ENTITY_ID" VARCHAR COMMENT 'Event that raised what this one is about; empty where that is the event itself.',
  "CODE" VARCHAR COMMENT 'Cause code; empty when delivered.',
  "MESSAGE" VARCHAR COMMENT 'Cause for a person; empty when delivered.',
  "TARGET_ID" VARCHAR COMMENT 'Record at the target; null where none.',
  "CAUSE_CLASS" VARCHAR COMMENT 'Why it went to the DLQ, as in DeadLetter; empty where it did not.',
  "ATTEMPTS" NUMBER(10, 0) COMMENT 'Attempts in all, the last included.',
  "LATENCY_MS" NUMBER(19, 0) COMMENT 'From arrival of the causing sample at the bridge to at_ms; milliseconds. [ms]',
  "AT" TIMESTAMP_TZ(6) COMMENT 'When it was confirmed, milliseconds since the Unix epoch, UTC.',
  "PAYLOAD_HASH" VARCHAR COMMENT 'SHA-256 of what happened (pipeline.core.events.fingerprint), hex: payloads themselves stay out of the audit stream.',
  "REQUEST_HASH" VARCHAR COMMENT 'SHA-256, hex, of the last request that could have an effect (method, address, body; one request may carry many events); null where none was sent by this worker.',
  "REPLAY" VARCHAR COMMENT 'Id of the operator''s replay that asked for it; null where none did.',
  "FLAG" VARCHAR COMMENT 'Why it is to be doubted (Flag); null where it is not.',
  "EXTRA" VARCHAR COMMENT 'JSON object: what its columns cannot hold, by name.',
  "KAFKA_PARTITION" NUMBER(10, 0) NOT NULL COMMENT 'Partition of the dataset''s topic it came on.',
  "KAFKA_OFFSET" NUMBER(19, 0) NOT NULL COMMENT 'Its offset in that partition.'
)
CLUSTER BY (TO_DATE("AT"), "DEVICE_ID");

INSERT INTO FIELDLINE.LAKE.FIELDLINE_LOAD_TURNS SELECT 'deliveries', 0 WHERE NOT EXISTS (SELECT 1 FROM FIELDLINE.LAKE.FIELDLINE_LOAD_TURNS WHERE "DATASET" = 'deliveries');

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'deliveries' AND lower(table_schema) = 'lake' ORDER BY ordinal_position;

ALTER TABLE FIELDLINE.LAKE.DELIVERIES ADD COLUMN "FIRMWARE" VARCHAR COMMENT 'Firmware of the device.';

BEGIN;

UPDATE FIELDLINE.LAKE.FIELDLINE_LOAD_TURNS SET "TURN" = "TURN" + 1 WHERE "DATASET" = 'deliveries';

SELECT max("TURN") FROM FIELDLINE.LAKE.FIELDLINE_LOAD_TURNS WHERE "DATASET" = 'deliveries';

DELETE FROM FIELDLINE.LAKE.DELIVERIES WHERE "AT" >= CAST('2026-11-22 00:00:00 +0000' AS TIMESTAMP_TZ(6)) AND "AT" < CAST('2026-11-23 00:00:00 +0000' AS TIMESTAMP_TZ(6));

DELETE FROM FIELDLINE.LAKE.DELIVERIES WHERE "AT" >= CAST('9999-12-31 00:00:00 +0000' AS TIMESTAMP_TZ(6));

COPY INTO FIELDLINE.LAKE.DELIVERIES ("EVENT_ID", "SINK", "TENANT", "DEVICE_ID", "OUTCOME", "ACTION", "ENTITY_ID", "CODE", "MESSAGE", "TARGET_ID", "CAUSE_CLASS", "ATTEMPTS", "LATENCY_MS", "AT", "PAYLOAD_HASH", "REQUEST_HASH", "REPLAY", "FLAG", "EXTRA", "KAFKA_PARTITION", "KAFKA_OFFSET")
FROM (SELECT $1:"event_id"::VARCHAR, $1:"sink"::VARCHAR, $1:"tenant"::VARCHAR, $1:"device_id"::VARCHAR, $1:"outcome"::VARCHAR, $1:"action"::VARCHAR, $1:"entity_id"::VARCHAR, $1:"code"::VARCHAR, $1:"message"::VARCHAR, $1:"target_id"::VARCHAR, $1:"cause_class"::VARCHAR, $1:"attempts"::NUMBER(10, 0), $1:"latency_ms"::NUMBER(19, 0), $1:"at"::TIMESTAMP_TZ(6), $1:"payload_hash"::VARCHAR, $1:"request_hash"::VARCHAR, $1:"replay"::VARCHAR, $1:"flag"::VARCHAR, $1:"extra"::VARCHAR, $1:"kafka_partition"::NUMBER(10, 0), $1:"kafka_offset"::NUMBER(19, 0) FROM @FIELDLINE.LAKE.FIELDLINE_LAKE/deliveries/)
FILES = ('date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'date=2026-11-22/sink.lake-00000-00000000000000000010.parquet')
FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE)
FORCE = TRUE ON_ERROR = ABORT_STATEMENT;

COPY INTO FIELDLINE.LAKE.DELIVERIES ("EVENT_ID", "SINK", "TENANT", "DEVICE_ID", "OUTCOME", "ACTION", "ENTITY_ID", "CODE", "MESSAGE", "TARGET_ID", "CAUSE_CLASS", "ATTEMPTS", "LATENCY_MS", "AT", "PAYLOAD_HASH", "REQUEST_HASH", "REPLAY", "FLAG", "EXTRA", "KAFKA_PARTITION", "KAFKA_OFFSET")
FROM (SELECT $1:"event_id"::VARCHAR, $1:"before"::VARCHAR, $1:"tenant"::VARCHAR, $1:"device_id"::VARCHAR, $1:"outcome"::VARCHAR, $1:"action"::VARCHAR, $1:"entity_id"::VARCHAR, $1:"code"::VARCHAR, $1:"message"::VARCHAR, $1:"target_id"::VARCHAR, $1:"cause_class"::VARCHAR, $1:"attempts"::NUMBER(10, 0), $1:"latency_ms"::NUMBER(19, 0), $1:"at"::TIMESTAMP_TZ(6), $1:"payload_hash"::VARCHAR, $1:"request_hash"::VARCHAR, $1:"replay"::VARCHAR, $1:"flag"::VARCHAR, $1:"extra"::VARCHAR, $1:"kafka_partition"::NUMBER(10, 0), $1:"kafka_offset"::NUMBER(19, 0) FROM @FIELDLINE.LAKE.FIELDLINE_LAKE/deliveries/)
FILES = ('date=2026-11-22/sink.lake-00000-00000000000000000000.parquet')
FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE)
FORCE = TRUE ON_ERROR = ABORT_STATEMENT;

DELETE FROM FIELDLINE.LAKE.FIELDLINE_LOADS WHERE "DATASET" = 'deliveries' AND "LAKE_FILE" IN ('old.parquet');

INSERT INTO FIELDLINE.LAKE.FIELDLINE_LOADS ("DATASET", "LAKE_DATE", "LAKE_FILE", "SPANS", "ROW_COUNT", "POSITION_SUM", "SNAPSHOT_ID", "LOADED_AT") SELECT 'deliveries', CAST('2026-11-22' AS DATE), 'deliveries/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'sink.lake/0/0-9', 100, CAST(450 AS NUMBER(38, 0)), 7, CAST('2026-11-22 01:02:03 +0000' AS TIMESTAMP_TZ(6));

COMMIT;

SELECT CAST("AT" AS DATE), count(*), sum(CAST("KAFKA_OFFSET" AS NUMBER(38, 0))) FROM FIELDLINE.LAKE.DELIVERIES WHERE "AT" >= CAST('2026-11-01 00:00:00 +0000' AS TIMESTAMP_TZ(6)) AND "AT" < CAST('2026-11-23 00:00:00 +0000' AS TIMESTAMP_TZ(6)) GROUP BY CAST("AT" AS DATE);

DELETE FROM FIELDLINE.LAKE.DELIVERIES WHERE "DEVICE_ID" = 'acme/pump-007';

CREATE ICEBERG TABLE IF NOT EXISTS FIELDLINE.LAKE.DELIVERIES_ICEBERG
  EXTERNAL_VOLUME = 'FIELDLINE_VOLUME' CATALOG = 'FIELDLINE_CATALOG'
  METADATA_FILE_PATH = 'deliveries/_iceberg/00007.metadata.json';
ALTER ICEBERG TABLE FIELDLINE.LAKE.DELIVERIES_ICEBERG REFRESH 'deliveries/_iceberg/00007.metadata.json';

