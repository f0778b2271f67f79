IF OBJECT_ID('dbo.quarantine') IS NULL
CREATE TABLE [dbo].[quarantine] (
  [reason] VARCHAR(8000) NULL, -- Reason code: the closed set of pipeline.core.quarantine.
  [detail] VARCHAR(MAX) NULL, -- One sentence for a person.
  [mqtt_topic] VARCHAR(8000) NULL, -- MQTT topic it came on.
  [device_id] VARCHAR(8000) NULL, -- Device, 'tenant/device', where the topic gave one.
  [payload] VARBINARY(MAX) NULL, -- The payload as it came, at most 65,536 bytes of it.
  [payload_size] BIGINT NULL, -- Its full size, bytes.
  [readings] INT NULL, -- How many readings it counts for: 1 for a message or item that could not be read.
  [received_at] DATETIME2(6) NULL, -- Arrival at the bridge, milliseconds since the Unix epoch, UTC.
  [flag] VARCHAR(8000) NULL, -- Why it is to be doubted (Flag); null where it is not.
  [extra] VARCHAR(MAX) NULL, -- JSON object: what its columns cannot hold, by name.
  [kafka_partition] INT NOT NULL, -- Partition of the dataset's topic it came on.
  [kafka_offset] BIGINT NOT NULL -- Its offset in that partition.
)
WITH (CLUSTER BY ([received_at], [mqtt_topic]));

IF NOT EXISTS (SELECT 1 FROM [dbo].[fieldline_load_turns] WHERE [dataset] = 'quarantine') INSERT INTO [dbo].[fieldline_load_turns] SELECT 'quarantine', 0;

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'quarantine' AND lower(table_schema) = 'dbo' ORDER BY ordinal_position;

ALTER TABLE [dbo].[quarantine] ADD [firmware] VARCHAR(8000) NULL;

CREATE TABLE [dbo].[fieldline_stage_abcd1234_0] ([reason] VARCHAR(8000), [detail] VARCHAR(MAX), [mqtt_topic] VARCHAR(8000), [device_id] VARCHAR(8000), [payload] VARBINARY(MAX), [payload_size] BIGINT, [readings] INT, [received_at] DATETIME2(6), [flag] VARCHAR(8000), [extra] VARCHAR(MAX), [kafka_partition] INT, [kafka_offset] BIGINT);

COPY INTO [dbo].[fieldline_stage_abcd1234_0] FROM
  'https://lake.dfs.core.windows.net/fieldline/quarantine/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet',
  'https://lake.dfs.core.windows.net/fieldline/quarantine/date=2026-11-22/sink.lake-00000-00000000000000000010.parquet'
WITH (FILE_TYPE = 'PARQUET');

SELECT COUNT_BIG(*) FROM [dbo].[fieldline_stage_abcd1234_0];

BEGIN TRANSACTION;

UPDATE [dbo].[fieldline_load_turns] SET [turn] = [turn] + 1 WHERE [dataset] = 'quarantine';

SELECT max([turn]) FROM [dbo].[fieldline_load_turns] WHERE [dataset] = 'quarantine';

DELETE FROM [dbo].[quarantine] WHERE [received_at] >= CAST('2026-11-22 00:00:00' AS DATETIME2(6)) AND [received_at] < CAST('2026-11-23 00:00:00' AS DATETIME2(6));

DELETE FROM [dbo].[quarantine] WHERE [received_at] >= CAST('9999-12-31 00:00:00' AS DATETIME2(6));

INSERT INTO [dbo].[quarantine] ([reason], [detail], [mqtt_topic], [device_id], [payload], [payload_size], [readings], [received_at], [flag], [extra], [kafka_partition], [kafka_offset]) SELECT [reason], [detail], [mqtt_topic], [device_id], [payload], [payload_size], [readings], [received_at], [flag], [extra], [kafka_partition], [kafka_offset] FROM [dbo].[fieldline_stage_abcd1234_0];

INSERT INTO [dbo].[quarantine] ([reason], [detail], [mqtt_topic], [device_id], [payload], [payload_size], [readings], [received_at], [flag], [extra], [kafka_partition], [kafka_offset]) SELECT [reason], [before], [mqtt_topic], [device_id], [payload], [payload_size], [readings], [received_at], [flag], [extra], [kafka_partition], [kafka_offset] FROM [dbo].[fieldline_stage_abcd1234_0];

DELETE FROM [dbo].[fieldline_loads] WHERE [dataset] = 'quarantine' AND [lake_file] IN ('old.parquet');

INSERT INTO [dbo].[fieldline_loads] ([dataset], [lake_date], [lake_file], [spans], [row_count], [position_sum], [snapshot_id], [loaded_at]) SELECT 'quarantine', CAST('2026-11-22' AS DATE), 'quarantine/date=2026-11-22/sink.lake-00000-00000000000000000000.parquet', 'sink.lake/0/0-9', 100, CAST(450 AS DECIMAL(38, 0)), 7, CAST('2026-11-22 01:02:03' AS DATETIME2(6));

COMMIT TRANSACTION;

DROP TABLE [dbo].[fieldline_stage_abcd1234_0];

SELECT CAST([received_at] AS DATE), count(*), sum(CAST([kafka_offset] AS DECIMAL(38, 0))) FROM [dbo].[quarantine] WHERE [received_at] >= CAST('2026-11-01 00:00:00' AS DATETIME2(6)) AND [received_at] < CAST('2026-11-23 00:00:00' AS DATETIME2(6)) GROUP BY CAST([received_at] AS DATE);

DELETE FROM [dbo].[quarantine] WHERE [device_id] = 'acme/pump-007';

{
 "path": "Tables",
 "name": "quarantine",
 "target": {
  "adlsGen2": {
   "location": "https://lake.dfs.core.windows.net",
   "subpath": "/fieldline/quarantine",
   "connectionId": "CONNECTION-ID"
  }
 }
};

