IF OBJECT_ID('dbo.telemetry') IS NULL
CREATE TABLE [dbo].[telemetry] (
  [tenant] NVARCHAR(4000) NOT NULL, -- Tenant the device belongs to.
  [device_id] NVARCHAR(4000) NOT NULL, -- Device, 'tenant/device'.
  [metric] NVARCHAR(4000) NOT NULL, -- What was measured, as the device names it.
  [time] DATETIME2(6) NOT NULL, -- When it was measured, by the device's clock, UTC.
  [value] FLOAT NOT NULL, -- The reading, in the metric's own unit.
  [session] BIGINT NOT NULL, -- The device's session; 0 where it tells none.
  [sequence] BIGINT NOT NULL, -- The sample's number in its session; -1 where it has none.
  [received_at] DATETIME2(6) NOT NULL, -- Arrival at the bridge, UTC.
  [late] BIT NOT NULL, -- It came too late for detection to look at it.
  [flag] NVARCHAR(4000) NULL, -- Why it is to be doubted (Flag); null where it is not.
  [source_partition] INT NOT NULL, -- Partition of telemetry.readings it came on.
  [source_offset] BIGINT NOT NULL -- Offset in that partition of the message it came in.
)
WITH (DISTRIBUTION = HASH([device_id]), CLUSTERED COLUMNSTORE INDEX ORDER ([time]));

IF NOT EXISTS (SELECT 1 FROM [dbo].[fieldline_load_turns] WHERE [dataset] = 'telemetry') INSERT INTO [dbo].[fieldline_load_turns] SELECT 'telemetry', 0;

SELECT column_name, data_type, numeric_precision FROM information_schema.columns WHERE lower(table_name) = 'telemetry' AND lower(table_schema) = 'dbo' ORDER BY ordinal_position;

ALTER TABLE [dbo].[telemetry] ADD [firmware] NVARCHAR(4000) NULL;

CREATE TABLE [#fieldline_stage_abcd1234_0] ([tenant] NVARCHAR(4000), [device_id] NVARCHAR(4000), [metric] NVARCHAR(4000), [time] DATETIME2(6), [value] FLOAT, [session] BIGINT, [sequence] BIGINT, [received_at] DATETIME2(6), [late] BIT, [flag] NVARCHAR(4000), [source_partition] INT, [source_offset] BIGINT) WITH (DISTRIBUTION = ROUND_ROBIN, HEAP);

COPY INTO [#fieldline_stage_abcd1234_0] FROM
  'https://lake.dfs.core.windows.net/fieldline/telemetry/date=2026-11-22/telemetry.deduplicated-00000-00000000000000000000.parquet',
  'https://lake.dfs.core.windows.net/fieldline/telemetry/date=2026-11-22/telemetry.deduplicated-00000-00000000000000000010.parquet'
WITH (FILE_TYPE = 'PARQUET', CREDENTIAL = (IDENTITY = 'Managed Identity'));

SELECT COUNT_BIG(*) FROM [#fieldline_stage_abcd1234_0];

BEGIN TRANSACTION;

UPDATE [dbo].[fieldline_load_turns] SET [turn] = [turn] + 1 WHERE [dataset] = 'telemetry';

SELECT max([turn]) FROM [dbo].[fieldline_load_turns] WHERE [dataset] = 'telemetry';

DELETE FROM [dbo].[telemetry] WHERE [time] >= CAST('2026-11-22 00:00:00' AS DATETIME2(6)) AND [time] < CAST('2026-11-23 00:00:00' AS DATETIME2(6));

DELETE FROM [dbo].[telemetry] WHERE [time] >= CAST('9999-12-31 00:00:00' AS DATETIME2(6));

INSERT INTO [dbo].[telemetry] ([tenant], [device_id], [metric], [time], [value], [session], [sequence], [received_at], [late], [flag], [source_partition], [source_offset]) SELECT [tenant], [device_id], [metric], [time], [value], [session], [sequence], [received_at], [late], [flag], [source_partition], [source_offset] FROM [#fieldline_stage_abcd1234_0];

INSERT INTO [dbo].[telemetry] ([tenant], [device_id], [metric], [time], [value], [session], [sequence], [received_at], [late], [flag], [source_partition], [source_offset]) SELECT [tenant], [before], [metric], [time], [value], [session], [sequence], [received_at], [late], [flag], [source_partition], [source_offset] FROM [#fieldline_stage_abcd1234_0];

DELETE FROM [dbo].[fieldline_loads] WHERE [dataset] = 'telemetry' AND [lake_file] IN ('old.parquet');

INSERT INTO [dbo].[fieldline_loads] ([dataset], [lake_date], [lake_file], [spans], [row_count], [position_sum], [snapshot_id], [loaded_at]) SELECT 'telemetry', CAST('2026-11-22' AS DATE), 'telemetry/date=2026-11-22/telemetry.deduplicated-00000-00000000000000000000.parquet', 'telemetry.deduplicated/0/0-9', 100, CAST(450 AS DECIMAL(38, 0)), 7, CAST('2026-11-22 01:02:03' AS DATETIME2(6));

COMMIT TRANSACTION;

DROP TABLE [#fieldline_stage_abcd1234_0];

SELECT CAST([time] AS DATE), count(*), sum(CAST([source_offset] AS DECIMAL(38, 0))) FROM [dbo].[telemetry] WHERE [time] >= CAST('2026-11-01 00:00:00' AS DATETIME2(6)) AND [time] < CAST('2026-11-23 00:00:00' AS DATETIME2(6)) GROUP BY CAST([time] AS DATE);

DELETE FROM [dbo].[telemetry] WHERE [device_id] = N'acme/pump-007';

CREATE EXTERNAL DATA SOURCE fieldline_lake WITH (LOCATION = 'https://lake.dfs.core.windows.net/fieldline');
CREATE EXTERNAL FILE FORMAT fieldline_parquet WITH (FORMAT_TYPE = PARQUET);
CREATE EXTERNAL TABLE [dbo].[telemetry_lake] (
  [tenant] NVARCHAR(4000),
  [device_id] NVARCHAR(4000),
  [metric] NVARCHAR(4000),
  [time] DATETIME2(6),
  [value] FLOAT,
  [session] BIGINT,
  [sequence] BIGINT,
  [received_at] DATETIME2(6),
  [late] BIT,
  [flag] NVARCHAR(4000),
  [source_partition] INT,
  [source_offset] BIGINT
) WITH (
  LOCATION = '/telemetry/**', DATA_SOURCE = fieldline_lake, FILE_FORMAT = fieldline_parquet);

