CREATE TABLE IF NOT EXISTS FIELDLINE.LAKE.EVENTS (
  "ID" VARCHAR COMMENT 'Deterministic id, 24 characters of base32: the same episode gives the same id in every replay. It is the idempotency key at every sink.',
  "TYPE" VARCHAR COMMENT 'Event type, e.g. fieldline.limit.exceeded; the keys of the routing table.',
  "TENANT" VARCHAR COMMENT 'Tenant.',
  "DEVICE_ID" VARCHAR COMMENT 'Device, ''tenant/device''.',
  "ASSET_ID" VARCHAR COMMENT 'Asset the device is mounted on, by the device registry; null where unregistered.',
  "CUSTOMER_ID" VARCHAR COMMENT 'Customer who owns the asset, by the device registry; null where unregistered.',
  "SEVERITY" VARCHAR COMMENT 'Severity.',
  "CONFIDENCE" FLOAT COMMENT '0 to 1: estimated probability that the condition is real rather than noise.',
  "DISPOSITION" VARCHAR COMMENT 'Set when it was made; not part of what happened.',
  "ACTION" VARCHAR COMMENT 'What it asks of a sink.',
  "ENTITY_ID" VARCHAR COMMENT 'Id of the event that raised what this one is about; its own id, or empty, for action raise.',
  "SUMMARY" VARCHAR COMMENT 'One line for a person.',
  "DETECTOR" VARCHAR COMMENT 'Detector that raised it: pipeline/core/detectors/table.py has them all.',
  "METRIC" VARCHAR COMMENT 'Metric that raised it.',
  "RULE" VARCHAR COMMENT 'Rule and version, name@version.',
  "CORRELATION_ID" VARCHAR COMMENT 'Shared by all events of one asset''s trouble; the id of the first.',
  "OCCURRED_AT" TIMESTAMP_TZ(6) COMMENT 'Event time of the sample that raised it, milliseconds since the Unix epoch, UTC.',
  "OBSERVED_AT" TIMESTAMP_TZ(6) COMMENT 'Arrival of that sample at the bridge, milliseconds since the Unix epoch, UTC.',
  "SOURCE_TOPIC" VARCHAR COMMENT 'Kafka topic.',
  "SOURCE_PARTITION" NUMBER(10, 0) COMMENT 'Kafka partition.',
  "SOURCE_OFFSET" NUMBER(19, 0) COMMENT 'Kafka offset.',
  "SOURCE_INDEX" NUMBER(10, 0) COMMENT 'Place among the events that the same message can cause: rising, not without gaps, the same in every replay.',
  "SOURCE_SESSION" NUMBER(19, 0) COMMENT 'Device session of the sample that caused it; 0 where unknown.',
  "SOURCE_SEQUENCE" NUMBER(19, 0) COMMENT 'Sequence number of that sample; -1 where the device has none.',
  "SNAPSHOT" VARIANT COMMENT 'All readings of the sample that raised it, with their baselines.',
  "FLAG" VARCHAR COMMENT 'Why it is to be doubted (Flag); null where it is not.',
  "EXTRA" VARCHAR COMMENT 'JSON object: what its columns cannot hold, by name.',
  "KAFKA_PARTITION" NUMBER(10, 0) NOT NULL COMMENT 'Partition of the dataset''s topic it came on.',
  "KAFKA_OFFSET" NUMBER(19, 0) NOT NULL COMMENT 'Its offset in that partition.'
)
CLUSTER BY (TO_DATE("OCCURRED_AT"), "DEVICE_ID");

INSERT INTO FIELDLINE.LAKE.FIELDLINE_LOAD_TURNS SELECT 'events', 0 WHERE NOT EXISTS (SELECT 1 FROM FIELDLINE.LAKE.FIELDLINE_LOAD_TURNS WHERE "DATASET" = 'events');

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'events' AND lower(table_schema) = 'lake' ORDER BY ordinal_position;

ALTER TABLE FIELDLINE.LAKE.EVENTS ADD COLUMN "FIRMWARE" VARCHAR COMMENT 'Firmware of the device.';

BEGIN;

UPDATE FIELDLINE.LAKE.FIELDLINE_LOAD_TURNS SET "TURN" = "TURN" + 1 WHERE "DATASET" = 'events';

SELECT max("TURN") FROM FIELDLINE.LAKE.FIELDLINE_LOAD_TURNS WHERE "DATASET" = 'events';

DELETE FROM FIELDLINE.LAKE.EVENTS WHERE "OCCURRED_AT" >= CAST('2026-11-22 00:00:00 +0000' AS TIMESTAMP_TZ(6)) AND "OCCURRED_AT" < CAST('2026-11-23 00:00:00 +0000' AS TIMESTAMP_TZ(6));

DELETE FROM FIELDLINE.LAKE.EVENTS WHERE "OCCURRED_AT" >= CAST('9999-12-31 00:00:00 +0000' AS TIMESTAMP_TZ(6));

COPY INTO FIELDLINE.LAKE.EVENTS ("ID", "TYPE", "TENANT", "DEVICE_ID", "ASSET_ID", "CUSTOMER_ID", "SEVERITY", "CONFIDENCE", "DISPOSITION", "ACTION", "ENTITY_ID", "SUMMARY", "DETECTOR", "METRIC", "RULE", "CORRELATION_ID", "OCCURRED_AT", "OBSERVED_AT", "SOURCE_TOPIC", "SOURCE_PARTITION", "SOURCE_OFFSET", "SOURCE_INDEX", "SOURCE_SESSION", "SOURCE_SEQUENCE", "SNAPSHOT", "FLAG", "EXTRA", "KAFKA_PARTITION", "KAFKA_OFFSET")
FROM (SELECT $1:"id"::VARCHAR, $1:"type"::VARCHAR, $1:"tenant"::VARCHAR, $1:"device_id"::VARCHAR, $1:"asset_id"::VARCHAR, $1:"customer_id"::VARCHAR, $1:"severity"::VARCHAR, $1:"confidence"::FLOAT, $1:"disposition"::VARCHAR, $1:"action"::VARCHAR, $1:"entity_id"::VARCHAR, $1:"summary"::VARCHAR, $1:"detector"::VARCHAR, $1:"metric"::VARCHAR, $1:"rule"::VARCHAR, $1:"correlation_id"::VARCHAR, $1:"occurred_at"::TIMESTAMP_TZ(6), $1:"observed_at"::TIMESTAMP_TZ(6), $1:"source_topic"::VARCHAR, $1:"source_partition"::NUMBER(10, 0), $1:"source_offset"::NUMBER(19, 0), $1:"source_index"::NUMBER(10, 0), $1:"source_session"::NUMBER(19, 0), $1:"source_sequence"::NUMBER(19, 0), $1:"snapshot"::VARIANT, $1:"flag"::VARCHAR, $1:"extra"::VARCHAR, $1:"kafka_partition"::NUMBER(10, 0), $1:"kafka_offset"::NUMBER(19, 0) FROM @FIELDLINE.LAKE.FIELDLINE_LAKE/events/)
FILES = ('date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'date=2026-11-22/sink.lake-00000-00000000000000000010.parquet')
FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE)
FORCE = TRUE ON_ERROR = ABORT_STATEMENT;

COPY INTO FIELDLINE.LAKE.EVENTS ("ID", "TYPE", "TENANT", "DEVICE_ID", "ASSET_ID", "CUSTOMER_ID", "SEVERITY", "CONFIDENCE", "DISPOSITION", "ACTION", "ENTITY_ID", "SUMMARY", "DETECTOR", "METRIC", "RULE", "CORRELATION_ID", "OCCURRED_AT", "OBSERVED_AT", "SOURCE_TOPIC", "SOURCE_PARTITION", "SOURCE_OFFSET", "SOURCE_INDEX", "SOURCE_SESSION", "SOURCE_SEQUENCE", "SNAPSHOT", "FLAG", "EXTRA", "KAFKA_PARTITION", "KAFKA_OFFSET")
FROM (SELECT $1:"id"::VARCHAR, $1:"before"::VARCHAR, $1:"tenant"::VARCHAR, $1:"device_id"::VARCHAR, $1:"asset_id"::VARCHAR, $1:"customer_id"::VARCHAR, $1:"severity"::VARCHAR, $1:"confidence"::FLOAT, $1:"disposition"::VARCHAR, $1:"action"::VARCHAR, $1:"entity_id"::VARCHAR, $1:"summary"::VARCHAR, $1:"detector"::VARCHAR, $1:"metric"::VARCHAR, $1:"rule"::VARCHAR, $1:"correlation_id"::VARCHAR, $1:"occurred_at"::TIMESTAMP_TZ(6), $1:"observed_at"::TIMESTAMP_TZ(6), $1:"source_topic"::VARCHAR, $1:"source_partition"::NUMBER(10, 0), $1:"source_offset"::NUMBER(19, 0), $1:"source_index"::NUMBER(10, 0), $1:"source_session"::NUMBER(19, 0), $1:"source_sequence"::NUMBER(19, 0), $1:"snapshot"::VARIANT, $1:"flag"::VARCHAR, $1:"extra"::VARCHAR, $1:"kafka_partition"::NUMBER(10, 0), $1:"kafka_offset"::NUMBER(19, 0) FROM @FIELDLINE.LAKE.FIELDLINE_LAKE/events/)
FILES = ('date=2026-11-22/sink.lake-00000-00000000000000000000.parquet')
FILE_FORMAT = (TYPE = PARQUET USE_LOGICAL_TYPE = TRUE BINARY_AS_TEXT = FALSE)
FORCE = TRUE ON_ERROR = ABORT_STATEMENT;

DELETE FROM FIELDLINE.LAKE.FIELDLINE_LOADS WHERE "DATASET" = 'events' AND "LAKE_FILE" IN ('old.parquet');

INSERT INTO FIELDLINE.LAKE.FIELDLINE_LOADS ("DATASET", "LAKE_DATE", "LAKE_FILE", "SPANS", "ROW_COUNT", "POSITION_SUM", "SNAPSHOT_ID", "LOADED_AT") SELECT 'events', CAST('2026-11-22' AS DATE), 'events/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'sink.lake/0/0-9', 100, CAST(450 AS NUMBER(38, 0)), 7, CAST('2026-11-22 01:02:03 +0000' AS TIMESTAMP_TZ(6));

COMMIT;

SELECT CAST("OCCURRED_AT" AS DATE), count(*), sum(CAST("KAFKA_OFFSET" AS NUMBER(38, 0))) FROM FIELDLINE.LAKE.EVENTS WHERE "OCCURRED_AT" >= CAST('2026-11-01 00:00:00 +0000' AS TIMESTAMP_TZ(6)) AND "OCCURRED_AT" < CAST('2026-11-23 00:00:00 +0000' AS TIMESTAMP_TZ(6)) GROUP BY CAST("OCCURRED_AT" AS DATE);

DELETE FROM FIELDLINE.LAKE.EVENTS WHERE "DEVICE_ID" = 'acme/pump-007';

CREATE ICEBERG TABLE IF NOT EXISTS FIELDLINE.LAKE.EVENTS_ICEBERG
  EXTERNAL_VOLUME = 'FIELDLINE_VOLUME' CATALOG = 'FIELDLINE_CATALOG'
  METADATA_FILE_PATH = 'events/_iceberg/00007.metadata.json';
ALTER ICEBERG TABLE FIELDLINE.LAKE.EVENTS_ICEBERG REFRESH 'events/_iceberg/00007.metadata.json';

