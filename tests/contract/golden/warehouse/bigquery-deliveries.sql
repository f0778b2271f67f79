CREATE TABLE IF NOT EXISTS `acme.fieldline.deliveries` (
  `event_id` STRING OPTIONS (description = "BusinessEvent.id."),
  `sink` STRING OPTIONS (description = "Sink."),
  `tenant` STRING OPTIONS (description = "Tenant."),
  `device_id` STRING OPTIONS (description = "Device, 'tenant/device': the ordering key."),
  `outcome` STRING OPTIONS (description = "How it ended."),
  `action` STRING OPTIONS (description = "BusinessEvent.action: raise, update or clear."),
  `entity_id` STRING OPTIONS (description = "Event that raised what this one is about; empty where that is the event itself."),
  `code` STRING OPTIONS (description = "Cause code; empty when delivered."),
  `message` STRING OPTIONS (description = "Cause for a person; empty when delivered."),
  `target_id` STRING OPTIONS (description = "Record at the target; null where none."),
  `cause_class` STRING OPTIONS (description = "Why it went to the DLQ, as in DeadLetter; empty where it did not."),
  `attempts` INT64 OPTIONS (description = "Attempts in all, the last included."),
  `latency_ms` INT64 OPTIONS (description = "From arrival of the causing sample at the bridge to at_ms; milliseconds. [ms]"),
  `at` TIMESTAMP OPTIONS (description = "When it was confirmed, milliseconds since the Unix epoch, UTC."),
  `payload_hash` STRING OPTIONS (description = "SHA-256 of what happened (pipeline.core.events.fingerprint), hex: payloads themselves stay out of the audit stream."),
  `request_hash` STRING OPTIONS (description = "SHA-256, hex, of the last request that could have an effect (method, address, body; one request may carry many events); null where none was sent by this worker."),
  `replay` STRING OPTIONS (description = "Id of the operator's replay that asked for it; null where none did."),
  `flag` STRING OPTIONS (description = "Why it is to be doubted (Flag); null where it is not."),
  `extra` STRING OPTIONS (description = "JSON object: what its columns cannot hold, by name."),
  `kafka_partition` INT64 OPTIONS (description = "Partition of the dataset's topic it came on."),
  `kafka_offset` INT64 OPTIONS (description = "Its offset in that partition.")
)
PARTITION BY TIMESTAMP_TRUNC(`at`, DAY)
CLUSTER BY `device_id`, `event_id`, `sink`;

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'deliveries' AND lower(table_schema) = 'fieldline' ORDER BY ordinal_position;

ALTER TABLE `acme.fieldline.deliveries` ADD COLUMN `firmware` STRING;

BEGIN;

UPDATE `acme.fieldline.fieldline_load_turns` SET `turn` = `turn` + 1 WHERE `dataset` = 'deliveries';

SELECT max(`turn`) FROM `acme.fieldline.fieldline_load_turns` WHERE `dataset` = 'deliveries';

DELETE FROM `acme.fieldline.deliveries` WHERE `at` >= TIMESTAMP '2026-11-22 00:00:00+00' AND `at` < TIMESTAMP '2026-11-23 00:00:00+00';

DELETE FROM `acme.fieldline.deliveries` WHERE `at` >= TIMESTAMP '9999-12-31 00:00:00+00';

{
 "labels": {
  "fieldline_writer": "abcd1234"
 },
 "load": {
  "destinationTable": {
   "projectId": "acme",
   "datasetId": "fieldline",
   "tableId": "deliveries"
  },
  "createDisposition": "CREATE_NEVER",
  "writeDisposition": "WRITE_APPEND",
  "sourceUris": [
   "gs://lake/deliveries/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet",
   "gs://lake/deliveries/date=2026-11-22/sink.lake-00000-00000000000000000010.parquet"
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
   "tableId": "deliveries"
  },
  "createDisposition": "CREATE_NEVER",
  "writeDisposition": "WRITE_APPEND",
  "query": "SELECT `event_id` AS `event_id`, `before` AS `sink`, `tenant` AS `tenant`, `device_id` AS `device_id`, `outcome` AS `outcome`, `action` AS `action`, `entity_id` AS `entity_id`, `code` AS `code`, `message` AS `message`, `target_id` AS `target_id`, `cause_class` AS `cause_class`, `attempts` AS `attempts`, `latency_ms` AS `latency_ms`, `at` AS `at`, `payload_hash` AS `payload_hash`, `request_hash` AS `request_hash`, `replay` AS `replay`, `flag` AS `flag`, `extra` AS `extra`, `kafka_partition` AS `kafka_partition`, `kafka_offset` AS `kafka_offset` FROM lake_0",
  "useLegacySql": false,
  "tableDefinitions": {
   "lake_0": {
    "sourceFormat": "PARQUET",
    "sourceUris": [
     "gs://lake/deliveries/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet"
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

DELETE FROM `acme.fieldline.fieldline_loads` WHERE `dataset` = 'deliveries' AND `lake_file` IN ('old.parquet');

INSERT INTO `acme.fieldline.fieldline_loads` (`dataset`, `lake_date`, `lake_file`, `spans`, `row_count`, `position_sum`, `snapshot_id`, `loaded_at`) SELECT 'deliveries', CAST('2026-11-22' AS DATE), 'deliveries/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'sink.lake/0/0-9', 100, CAST(450 AS NUMERIC), 7, TIMESTAMP '2026-11-22 01:02:03+00';

COMMIT;

SELECT CAST(`at` AS DATE), count(*), sum(CAST(`kafka_offset` AS NUMERIC)) FROM `acme.fieldline.deliveries` WHERE `at` >= TIMESTAMP '2026-11-01 00:00:00+00' AND `at` < TIMESTAMP '2026-11-23 00:00:00+00' GROUP BY CAST(`at` AS DATE);

DELETE FROM `acme.fieldline.deliveries` WHERE `device_id` = 'acme/pump-007';

CREATE OR REPLACE EXTERNAL TABLE `acme.fieldline.deliveries_lake`
OPTIONS (format = 'ICEBERG', uris = ['gs://lake/deliveries/_iceberg/00007.metadata.json']);

