CREATE TABLE IF NOT EXISTS `acme.fieldline.telemetry` (
  `tenant` STRING OPTIONS (description = "Tenant the device belongs to."),
  `device_id` STRING OPTIONS (description = "Device, 'tenant/device'."),
  `metric` STRING OPTIONS (description = "What was measured, as the device names it."),
  `time` TIMESTAMP OPTIONS (description = "When it was measured, by the device's clock, UTC."),
  `value` FLOAT64 OPTIONS (description = "The reading, in the metric's own unit."),
  `session` INT64 OPTIONS (description = "The device's session; 0 where it tells none."),
  `sequence` INT64 OPTIONS (description = "The sample's number in its session; -1 where it has none."),
  `received_at` TIMESTAMP OPTIONS (description = "Arrival at the bridge, UTC."),
  `late` BOOL OPTIONS (description = "It came too late for detection to look at it."),
  `flag` STRING OPTIONS (description = "Why it is to be doubted (Flag); null where it is not."),
  `source_partition` INT64 OPTIONS (description = "Partition of telemetry.readings it came on."),
  `source_offset` INT64 OPTIONS (description = "Offset in that partition of the message it came in.")
)
PARTITION BY TIMESTAMP_TRUNC(`time`, DAY)
CLUSTER BY `device_id`, `metric`;

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'telemetry' AND lower(table_schema) = 'fieldline' ORDER BY ordinal_position;

ALTER TABLE `acme.fieldline.telemetry` ADD COLUMN `firmware` STRING;

BEGIN;

UPDATE `acme.fieldline.fieldline_load_turns` SET `turn` = `turn` + 1 WHERE `dataset` = 'telemetry';

SELECT max(`turn`) FROM `acme.fieldline.fieldline_load_turns` WHERE `dataset` = 'telemetry';

DELETE FROM `acme.fieldline.telemetry` WHERE `time` >= TIMESTAMP '2026-11-22 00:00:00+00' AND `time` < TIMESTAMP '2026-11-23 00:00:00+00';

DELETE FROM `acme.fieldline.telemetry` WHERE `time` >= TIMESTAMP '9999-12-31 00:00:00+00';

{
 "labels": {
  "fieldline_writer": "abcd1234"
 },
 "load": {
  "destinationTable": {
   "projectId": "acme",
   "datasetId": "fieldline",
   "tableId": "telemetry"
  },
  "createDisposition": "CREATE_NEVER",
  "writeDisposition": "WRITE_APPEND",
  "sourceUris": [
   "gs://lake/telemetry/date=2026-11-22/telemetry.deduplicated-00000-00000000000000000000.parquet",
   "gs://lake/telemetry/date=2026-11-22/telemetry.deduplicated-00000-00000000000000000010.parquet"
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
   "tableId": "telemetry"
  },
  "createDisposition": "CREATE_NEVER",
  "writeDisposition": "WRITE_APPEND",
  "query": "SELECT `tenant` AS `tenant`, `before` AS `device_id`, `metric` AS `metric`, `time` AS `time`, `value` AS `value`, `session` AS `session`, `sequence` AS `sequence`, `received_at` AS `received_at`, `late` AS `late`, `flag` AS `flag`, `source_partition` AS `source_partition`, `source_offset` AS `source_offset` FROM lake_0",
  "useLegacySql": false,
  "tableDefinitions": {
   "lake_0": {
    "sourceFormat": "PARQUET",
    "sourceUris": [
     "gs://lake/telemetry/date=2026-11-22/telemetry.deduplicated-00000-00000000000000000000.parquet"
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

DELETE FROM `acme.fieldline.fieldline_loads` WHERE `dataset` = 'telemetry' AND `lake_file` IN ('old.parquet');

INSERT INTO `acme.fieldline.fieldline_loads` (`dataset`, `lake_date`, `lake_file`, `spans`, `row_count`, `position_sum`, `snapshot_id`, `loaded_at`) SELECT 'telemetry', CAST('2026-11-22' AS DATE), 'telemetry/date=2026-11-22/telemetry.deduplicated-00000-00000000000000000000.parquet', 'telemetry.deduplicated/0/0-9', 100, CAST(450 AS NUMERIC), 7, TIMESTAMP '2026-11-22 01:02:03+00';

COMMIT;

SELECT CAST(`time` AS DATE), count(*), sum(CAST(`source_offset` AS NUMERIC)) FROM `acme.fieldline.telemetry` WHERE `time` >= TIMESTAMP '2026-11-01 00:00:00+00' AND `time` < TIMESTAMP '2026-11-23 00:00:00+00' GROUP BY CAST(`time` AS DATE);

DELETE FROM `acme.fieldline.telemetry` WHERE `device_id` = 'acme/pump-007';

CREATE OR REPLACE EXTERNAL TABLE `acme.fieldline.telemetry_lake`
OPTIONS (format = 'ICEBERG', uris = ['gs://lake/telemetry/_iceberg/00007.metadata.json']);

