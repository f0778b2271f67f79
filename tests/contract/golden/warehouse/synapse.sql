IF OBJECT_ID('dbo.fieldline_loads') IS NULL
CREATE TABLE [dbo].[fieldline_loads] (
  [dataset] NVARCHAR(4000) NOT NULL, -- Dataset of the lake.
  [lake_date] DATE NOT NULL, -- Event date of the file's rows.
  [lake_file] NVARCHAR(4000) NOT NULL, -- File, below the lake's root.
  [spans] NVARCHAR(MAX) NOT NULL, -- Offsets whose rows it holds.
  [row_count] BIGINT NOT NULL, -- Its rows.
  [position_sum] DECIMAL(38, 0) NOT NULL, -- Sum of its rows' offsets.
  [snapshot_id] BIGINT NOT NULL, -- Snapshot it was found in.
  [loaded_at] DATETIME2(6) NOT NULL -- When it was loaded, UTC.
)
WITH (DISTRIBUTION = ROUND_ROBIN, HEAP);

IF OBJECT_ID('dbo.fieldline_load_turns') IS NULL
CREATE TABLE [dbo].[fieldline_load_turns] (
  [dataset] NVARCHAR(4000) NOT NULL, -- Dataset of the lake.
  [turn] BIGINT NOT NULL -- Rises with every load.
)
WITH (DISTRIBUTION = ROUND_ROBIN, HEAP);

