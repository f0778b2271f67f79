CREATE TABLE IF NOT EXISTS `acme.fieldline.events` (
  `id` STRING OPTIONS (description = "Deterministic id, 24 characters of base32: the same episode gives the same id in every replay. It is the idempotency key at every sink."),
  `type` STRING OPTIONS (description = "Event type, e.g. fieldline.limit.exceeded; the keys of the routing table."),
  `tenant` STRING OPTIONS (description = "Tenant."),
  `device_id` STRING OPTIONS (description = "Device, 'tenant/device'."),
  `asset_id` STRING OPTIONS (description = "Asset the device is mounted on, by the device registry; null where unregistered."),
  `customer_id` STRING OPTIONS (description = "Customer who owns the asset, by the device registry; null where unregistered."),
  `severity` STRING OPTIONS (description = "Severity."),
  `confidence` FLOAT64 OPTIONS (description = "0 to 1: estimated probability that the condition is real rather than noise."),
  `disposition` STRING OPTIONS (description = "Set when it was made; not part of what happened."),
  `action` STRING OPTIONS (description = "What it asks of a sink."),
  `entity_id` STRING OPTIONS (description = "Id of the event that raised what this one is about; its own id, or empty, for action raise."),
  `summary` STRING OPTIONS (description = "One line for a person."),
  `detector` STRING OPTIONS (description = "Detector that raised it: pipeline/core/detectors/table.py has them all."),
  `metric` STRING OPTIONS (description = "Metric that raised it."),
  `rule` STRING OPTIONS (description = "Rule and version, name@version."),
  `correlation_id` STRING OPTIONS (description = "Shared by all events of one asset's trouble; the id of the first."),
  `occurred_at` TIMESTAMP OPTIONS (description = "Event time of the sample that raised it, milliseconds since the Unix epoch, UTC."),
  `observed_at` TIMESTAMP OPTIONS (description = "Arrival of that sample at the bridge, milliseconds since the Unix epoch, UTC."),
  `source_topic` STRING OPTIONS (description = "Kafka topic."),
  `source_partition` INT64 OPTIONS (description = "Kafka partition."),
  `source_offset` INT64 OPTIONS (description = "Kafka offset."),
  `source_index` INT64 OPTIONS (description = "Place among the events that the same message can cause: rising, not without gaps, the same in every replay."),
  `source_session` INT64 OPTIONS (description = "Device session of the sample that caused it; 0 where unknown."),
  `source_sequence` INT64 OPTIONS (description = "Sequence number of that sample; -1 where the device has none."),
  `snapshot` ARRAY<STRUCT<`metric` STRING, `value` FLOAT64, `baseline` FLOAT64, `score` FLOAT64>> OPTIONS (description = "All readings of the sample that raised it, with their baselines."),
  `flag` STRING OPTIONS (description = "Why it is to be doubted (Flag); null where it is not."),
  `extra` STRING OPTIONS (description = "JSON object: what its columns cannot hold, by name."),
  `kafka_partition` INT64 OPTIONS (description = "Partition of the dataset's topic it came on."),
  `kafka_offset` INT64 OPTIONS (description = "Its offset in that partition.")
)
PARTITION BY TIMESTAMP_TRUNC(`occurred_at`, DAY)
CLUSTER BY `device_id`, `metric`, `id`;

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'events' AND lower(table_schema) = 'fieldline' ORDER BY ordinal_position;

ALTER TABLE `acme.fieldline.events` ADD COLUMN `firmware` STRING;

BEGIN;

UPDATE `acme.fieldline.fieldline_load_turns` SET `turn` = `turn` + 1 WHERE `dataset` = 'events';

SELECT max(`turn`) FROM `acme.fieldline.fieldline_load_turns` WHERE `dataset` = 'events';

DELETE FROM `acme.fieldline.events` WHERE `occurred_at` >= TIMESTAMP '2026-11-22 00:00:00+00' AND `occurred_at` < TIMESTAMP '2026-11-23 00:00:00+00';

DELETE FROM `acme.fieldline.events` WHERE `occurred_at` >= TIMESTAMP '9999-12-31 00:00:00+00';

{
 "labels": {
  "fieldline_writer": "abcd1234"
 },
 "load": {
  "destinationTable": {
   "projectId": "acme",
   "datasetId": "fieldline",
   "tableId": "events"
  },
  "createDisposition": "CREATE_NEVER",
  "writeDisposition": "WRITE_APPEND",
  "sourceUris": [
   "gs://lake/events/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet",
   "gs://lake/events/date=2026-11-22/sink.lake-00000-00000000000000000010.parquet"
  ],
  "sourceFormat": "PARQUET",
  "parquetOptions": {
   "enableListInference": true,
   "enumAsString": true
  }
 }
};

{
 "labels": {
  "fieldline_writer": "abcd1234"
 },
 "query": {
  "destinationTable": {
   "projectId": "acme",
   "datasetId": "fieldline",
   "tableId": "events"
  },
  "createDisposition": "CREATE_NEVER",
  "writeDisposition": "WRITE_APPEND",
  "query": "SELECT `id` AS `id`, `before` AS `type`, `tenant` AS `tenant`, `device_id` AS `device_id`, `asset_id` AS `asset_id`, `customer_id` AS `customer_id`, `severity` AS `severity`, `confidence` AS `confidence`, `disposition` AS `disposition`, `action` AS `action`, `entity_id` AS `entity_id`, `summary` AS `summary`, `detector` AS `detector`, `metric` AS `metric`, `rule` AS `rule`, `correlation_id` AS `correlation_id`, `occurred_at` AS `occurred_at`, `observed_at` AS `observed_at`, `source_topic` AS `source_topic`, `source_partition` AS `source_partition`, `source_offset` AS `source_offset`, `source_index` AS `source_index`, `source_session` AS `source_session`, `source_sequence` AS `source_sequence`, `snapshot` AS `snapshot`, `flag` AS `flag`, `extra` AS `extra`, `kafka_partition` AS `kafka_partition`, `kafka_offset` AS `kafka_offset` FROM lake_0",
  "useLegacySql": false,
  "tableDefinitions": {
   "lake_0": {
    "sourceFormat": "PARQUET",
    "sourceUris": [
     "gs://lake/events/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet"
    ],
    "parquetOptions": {
     "enableListInference": true,
     "enumAsString": true
    },
    "autodetect": true
   }
  }
 }
};

DELETE FROM `acme.fieldline.fieldline_loads` WHERE `dataset` = 'events' AND `lake_file` IN ('old.parquet');

INSERT INTO `acme.fieldline.fieldline_loads` (`dataset`, `lake_date`, `lake_file`, `spans`, `row_count`, `position_sum`, `snapshot_id`, `loaded_at`) SELECT 'events', CAST('2026-11-22' AS DATE), 'events/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'sink.lake/0/0-9', 100, CAST(450 AS NUMERIC), 7, TIMESTAMP '2026-11-22 01:02:03+00';

COMMIT;

SELECT CAST(`occurred_at` AS DATE), count(*), sum(CAST(`kafka_offset` AS NUMERIC)) FROM `acme.fieldline.events` WHERE `occurred_at` >= TIMESTAMP '2026-11-01 00:00:00+00' AND `occurred_at` < TIMESTAMP '2026-11-23 00:00:00+00' GROUP BY CAST(`occurred_at` AS DATE);

DELETE FROM `acme.fieldline.events` WHERE `device_id` = 'acme/pump-007';

CREATE OR REPLACE EXTERNAL TABLE `acme.fieldline.events_lake`
OPTIONS (format = 'ICEBERG', uris = ['gs://lake/events/_iceberg/00007.metadata.json']);

