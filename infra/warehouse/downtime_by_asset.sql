-- downtime_by_asset: How long each asset was down, and whether it still is.
--
-- grain: one row per tenant and asset that was down
-- reads: downtime_periods
-- parameters: as_of, from_time, to_time (by downtime_periods)
--
-- columns:
--   tenant (text): Tenant.
--   asset (text): Asset, or device where it is not registered.
--   periods (integer): Times it was down.
--   alarms (integer): Critical alarms in these.
--   open_alarms (integer): Those of them without a clear: more than 0 says that it is down.
--   downtime_s (number, s): Time down; what alarms share counts once.
--   open_s (number, s): The part of it that comes of alarms without a clear.
--   longest_s (number, s): Its longest period.
--   first_down_at (time): Start of the first period.
--   last_down_at (time): Start of the last period.
SELECT
    p.tenant,
    p.asset,
    COUNT(*) AS periods,
    CAST(SUM(p.alarms) AS BIGINT) AS alarms,
    CAST(SUM(p.open_alarms) AS BIGINT) AS open_alarms,
    CAST(SUM(p.down_ms) AS DOUBLE) / 1000 AS downtime_s,
    CAST(SUM(p.open_ms) AS DOUBLE) / 1000 AS open_s,
    CAST(MAX(p.down_ms) AS DOUBLE) / 1000 AS longest_s,
    MIN(p.started_at) AS first_down_at,
    MAX(p.started_at) AS last_down_at
FROM downtime_periods AS p
GROUP BY p.tenant, p.asset
