-- first_time_fix: How often a trouble that was cleared stayed away.
--
-- grain: one row per tenant, asset, detector and metric with a cleared alarm
-- reads: alarms, parameters
-- parameters: as_of, fix_days, from_time, to_time (of the clear)
--
-- Of counted alarms of severity warning or critical. A clear came back where the same detector
-- and metric raise again on the asset after it and not more than fix_days days after it; it held
-- where they did not and those days are over; until then it is undecided. The rules' version
-- does not matter. Where the clear lies before its raise by the clocks, the raise's time counts.
--
-- columns:
--   tenant (text): Tenant.
--   asset (text): Asset, or device where it is not registered.
--   detector (text): Detector.
--   metric (text): Metric.
--   cleared (integer): Alarms cleared.
--   held (integer): Those of them that did not come back.
--   came_back (integer): Those of them that came back.
--   undecided (integer): Those of them of which it is too early to tell.
--   first_time_fix_share (number): held / (held + came_back), 0 to 1; null where all are undecided.
WITH counted AS (
    SELECT
        a.tenant,
        a.asset,
        a.detector,
        a.metric,
        a.severity,
        a.raised_at,
        CASE WHEN a.cleared_at < a.raised_at THEN a.raised_at ELSE a.cleared_at END AS fixed_at
    FROM alarms AS a
    WHERE a.counted
),

timeline AS (
    SELECT
        c.tenant,
        c.asset,
        c.detector,
        c.metric,
        c.raised_at AS moment,
        0 AS is_clear,
        c.raised_at
    FROM counted AS c
    UNION ALL
    SELECT
        c.tenant,
        c.asset,
        c.detector,
        c.metric,
        c.fixed_at AS moment,
        1 AS is_clear,
        NULL AS raised_at
    FROM counted AS c
    WHERE c.fixed_at IS NOT NULL AND c.severity IN ('warning', 'critical')
),

-- At one moment raises stand before clears: what follows a clear is later than it.
paired AS (
    SELECT
        t.*,
        MIN(t.raised_at) OVER (
            PARTITION BY t.tenant, t.asset, t.detector, t.metric
            ORDER BY t.moment, t.is_clear
            ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
        ) AS again_at
    FROM timeline AS t
),

judged AS (
    SELECT
        q.tenant,
        q.asset,
        q.detector,
        q.metric,
        CASE
            WHEN DATE_DIFF('millisecond', q.moment, q.again_at) <= p.fix_days * 86400000
                THEN 'came_back'
            WHEN DATE_DIFF('millisecond', q.moment, p.as_of) < p.fix_days * 86400000 THEN 'undecided'
            ELSE 'held'
        END AS verdict
    FROM paired AS q
    CROSS JOIN parameters AS p
    WHERE q.is_clear = 1 AND q.moment >= p.from_time AND q.moment < p.to_time
)

SELECT
    j.tenant,
    j.asset,
    j.detector,
    j.metric,
    COUNT(*) AS cleared,
    COUNT(CASE WHEN j.verdict = 'held' THEN 1 END) AS held,
    COUNT(CASE WHEN j.verdict = 'came_back' THEN 1 END) AS came_back,
    COUNT(CASE WHEN j.verdict = 'undecided' THEN 1 END) AS undecided,
    CASE
        WHEN COUNT(CASE WHEN j.verdict <> 'undecided' THEN 1 END) > 0
            THEN CAST(COUNT(CASE WHEN j.verdict = 'held' THEN 1 END) AS DOUBLE)
                / COUNT(CASE WHEN j.verdict <> 'undecided' THEN 1 END)
    END AS first_time_fix_share
FROM judged AS j
GROUP BY j.tenant, j.asset, j.detector, j.metric
