-- downtime_periods: When each asset was down: from the first critical alarm to the last clear.
--
-- grain: one row per tenant, asset and period without a gap
-- reads: alarms, parameters
-- parameters: as_of, from_time, to_time
--
-- Down is an asset while one of its counted alarms is critical: from critical_at to the clear,
-- or to as_of where it is open. Alarms that overlap or touch are one period, and their time
-- counts once. Periods are cut at from_time and to_time. A clear that lies before its raise by
-- the clocks makes a period of no length. An alarm of a rule that tells no clears stays open:
-- open_ms keeps such time apart.
--
-- columns:
--   tenant (text): Tenant.
--   asset (text): Asset, or device where it is not registered.
--   started_at (time): Start of the period.
--   ended_at (time): Its end; as_of, or to_time if that is earlier, where it is not over.
--   alarms (integer): Alarms in it.
--   open_alarms (integer): Those of them without a clear.
--   down_ms (integer, ms): Its length.
--   open_ms (integer, ms): The part of it in which an alarm was on that has no clear yet.
WITH spans AS (
    SELECT
        a.tenant,
        a.asset,
        a.critical_at AS started_at,
        CASE
            WHEN a.cleared_at IS NULL AND a.critical_at <= p.as_of THEN p.as_of
            WHEN a.cleared_at >= a.critical_at THEN a.cleared_at
            ELSE a.critical_at
        END AS ended_at,
        CASE WHEN a.cleared_at IS NULL THEN 1 ELSE 0 END AS still_open,
        p.from_time,
        p.to_time
    FROM alarms AS a
    CROSS JOIN parameters AS p
    WHERE a.counted AND a.critical_at IS NOT NULL
),

clipped AS (
    SELECT
        s.tenant,
        s.asset,
        CASE WHEN s.started_at < s.from_time THEN s.from_time ELSE s.started_at END AS started_at,
        CASE WHEN s.ended_at > s.to_time THEN s.to_time ELSE s.ended_at END AS ended_at,
        s.still_open
    FROM spans AS s
    WHERE
        s.started_at < s.to_time
        AND (s.ended_at > s.from_time OR s.started_at >= s.from_time)
),

-- A period begins where no alarm before, in order of starts, reaches.
marked AS (
    SELECT
        c.*,
        CASE
            WHEN c.started_at <= MAX(c.ended_at) OVER (
                PARTITION BY c.tenant, c.asset
                ORDER BY c.started_at, c.ended_at, c.still_open
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) THEN 0
            ELSE 1
        END AS begins
    FROM clipped AS c
),

numbered AS (
    SELECT
        m.*,
        SUM(m.begins) OVER (
            PARTITION BY m.tenant, m.asset
            ORDER BY m.started_at, m.ended_at, m.still_open
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS period
    FROM marked AS m
),

periods AS (
    SELECT
        n.tenant,
        n.asset,
        MIN(n.started_at) AS started_at,
        MAX(n.ended_at) AS ended_at,
        COUNT(*) AS alarms,
        SUM(n.still_open) AS open_alarms,
        MIN(CASE WHEN n.still_open = 1 THEN n.started_at END) AS open_from,
        MAX(CASE WHEN n.still_open = 1 THEN n.ended_at END) AS open_to
    FROM numbered AS n
    GROUP BY n.tenant, n.asset, n.period
)

SELECT
    q.tenant,
    q.asset,
    q.started_at,
    q.ended_at,
    q.alarms,
    CAST(q.open_alarms AS BIGINT) AS open_alarms,
    DATE_DIFF('millisecond', q.started_at, q.ended_at) AS down_ms,
    COALESCE(DATE_DIFF('millisecond', q.open_from, q.open_to), 0) AS open_ms
FROM periods AS q
