CREATE SCHEMA IF NOT EXISTS fieldline;

CREATE TABLE IF NOT EXISTS fieldline.fieldline_loads (
  "dataset" VARCHAR(65535) NOT NULL,
  "lake_date" DATE NOT NULL,
  "lake_file" VARCHAR(65535) NOT NULL,
  "spans" VARCHAR(65535) NOT NULL,
  "row_count" BIGINT NOT NULL,
  "position_sum" NUMERIC(38, 0) NOT NULL,
  "snapshot_id" BIGINT NOT NULL,
  "loaded_at" TIMESTAMP NOT NULL
);

CREATE TABLE IF NOT EXISTS fieldline.fieldline_load_turns (
  "dataset" VARCHAR(65535) NOT NULL,
  "turn" BIGINT NOT NULL
);

