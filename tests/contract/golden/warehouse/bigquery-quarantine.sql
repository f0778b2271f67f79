CREATE TABLE IF NOT EXISTS `acme.fieldline.quarantine` (
  `reason` STRING OPTIONS (description = "Reason code: the closed set of pipeline.core.quarantine."),
  `detail` STRING OPTIONS (description = "One sentence for a person."),
  `mqtt_topic` STRING OPTIONS (description = "MQTT topic it came on."),
  `device_id` STRING OPTIONS (description = "Device, 'tenant/device', where the topic gave one."),
  `payload` BYTES OPTIONS (description = "The payload as it came, at most 65,536 bytes of it."),
  `payload_size` INT64 OPTIONS (description = "Its full size, bytes."),
  `readings` INT64 OPTIONS (description = "How many readings it counts for: 1 for a message or item that could not be read."),
  `received_at` TIMESTAMP OPTIONS (description = "Arrival at the bridge, milliseconds since the Unix epoch, UTC."),
  `flag` STRING OPTIONS (description = "Why it is to be doubted (Flag); null where it is not."),
  `extra` STRING OPTIONS (description = "JSON object: what its columns cannot hold, by name."),
  `kafka_partition` INT64 OPTIONS (description = "Partition of the dataset's topic it came on."),
  `kafka_offset` INT64 OPTIONS (description = "Its offset in that partition.")
)
PARTITION BY TIMESTAMP_TRUNC(`received_at`, DAY)
CLUSTER BY `mqtt_topic`;

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'quarantine' AND lower(table_schema) = 'fieldline' ORDER BY ordinal_position;

ALTER TABLE `acme.fieldline.quarantine` ADD COLUMN `firmware` STRING;

BEGIN;

UPDATE `acme.fieldline.fieldline_load_turns` SET `turn` = `turn` + 1 WHERE `dataset` = 'quarantine';

SELECT max(`turn`) FROM `acme.fieldline.fieldline_load_turns` WHERE `dataset` = 'quarantine';

DELETE FROM `acme.fieldline.quarantine` WHERE `received_at` >= TIMESTAMP '2026-11-22 00:00:00+00' AND `received_at` < TIMESTAMP '2026-11-23 00:00:00+00';

DELETE FROM `acme.fieldline.quarantine` WHERE `received_at` >= TIMESTAMP '9999-12-31 00:00:00+00';

{
 "labels": {
  "fieldline_writer": "abcd1234"
 },
 "load": {
  "destinationTable": {
   "projectId": "acme",
   "datasetId": "fieldline",
   "tableId": "quarantine"
  },
  "createDisposition": "CREATE_NEVER",
  "writeDisposition": "WRITE_APPEND",
  "sourceUris": [
   "gs://lake/quarantine/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet",
   "gs://lake/quarantine/date=2026-11-22/sink.lake-00000-00000000000000000010.parquet"
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
   "tableId": "quarantine"
  },
  "createDisposition": "CREATE_NEVER",
  "writeDisposition": "WRITE_APPEND",
  "query": "SELECT `reason` AS `reason`, `before` AS `detail`, `mqtt_topic` AS `mqtt_topic`, `device_id` AS `device_id`, `payload` AS `payload`, `payload_size` AS `payload_size`, `readings` AS `readings`, `received_at` AS `received_at`, `flag` AS `flag`, `extra` AS `extra`, `kafka_partition` AS `kafka_partition`, `kafka_offset` AS `kafka_offset` FROM lake_0",
  "useLegacySql": false,
  "tableDefinitions": {
   "lake_0": {
    "sourceFormat": "PARQUET",
    "sourceUris": [
     "gs://lake/quarantine/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet"
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

DELETE FROM `acme.fieldline.fieldline_loads` WHERE `dataset` = 'quarantine' AND `lake_file` IN ('old.parquet');

INSERT INTO `acme.fieldline.fieldline_loads` (`dataset`, `lake_date`, `lake_file`, `spans`, `row_count`, `position_sum`, `snapshot_id`, `loaded_at`) SELECT 'quarantine', CAST('2026-11-22' AS DATE), 'quarantine/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'sink.lake/0/0-9', 100, CAST(450 AS NUMERIC), 7, TIMESTAMP '2026-11-22 01:02:03+00';

COMMIT;

SELECT CAST(`received_at` AS DATE), count(*), sum(CAST(`kafka_offset` AS NUMERIC)) FROM `acme.fieldline.quarantine` WHERE `received_at` >= TIMESTAMP '2026-11-01 00:00:00+00' AND `received_at` < TIMESTAMP '2026-11-23 00:00:00+00' GROUP BY CAST(`received_at` AS DATE);

DELETE FROM `acme.fieldline.quarantine` WHERE `device_id` = 'acme/pump-007';

CREATE OR REPLACE EXTERNAL TABLE `acme.fieldline.quarantine_lake`
OPTIONS (format = 'ICEBERG', uris = ['gs://lake/quarantine/_iceberg/00007.metadata.json']);

