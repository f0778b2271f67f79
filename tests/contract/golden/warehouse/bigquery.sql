CREATE TABLE IF NOT EXISTS `acme.fieldline.fieldline_loads` (
  `dataset` STRING OPTIONS (description = "Dataset of the lake."),
  `lake_date` DATE OPTIONS (description = "Event date of the file's rows."),
  `lake_file` STRING OPTIONS (description = "File, below the lake's root."),
  `spans` STRING OPTIONS (description = "Offsets whose rows it holds."),
  `row_count` INT64 OPTIONS (description = "Its rows."),
  `position_sum` NUMERIC OPTIONS (description = "Sum of its rows' offsets."),
  `snapshot_id` INT64 OPTIONS (description = "Snapshot it was found in."),
  `loaded_at` TIMESTAMP OPTIONS (description = "When it was loaded, UTC."),
  `chain` STRING OPTIONS (description = "Creation time of the table, ms."),
  `turn` INT64 OPTIONS (description = "Number of the load."),
  `writer` STRING OPTIONS (description = "Whose files these are."),
  `way` STRING OPTIONS (description = "append, anew or note."),
  `state` STRING OPTIONS (description = "asked, loaded or failed.")
);

