-- response_times: Mean time to detect, acknowledge and resolve, with median and p90.
--
-- grain: one row per tenant, severity and measure (detect, acknowledge, resolve)
-- reads: alarms, parameters
-- parameters: from_time, to_time (of raised_at)
--
-- Of counted alarms that were delivered. detect: event time to arrival at the bridge.
-- acknowledge: arrival to the record at the first sink. resolve: raise to clear. Quantiles are
-- nearest rank: the least value that so many of the alarms do not exceed, so one that occurred.
--
-- columns:
--   tenant (text): Tenant.
--   severity (text): Severity at the raise.
--   measure (text): detect, acknowledge or resolve.
--   alarms (integer): Alarms with a value.
--   unknown (integer): Alarms without: it has not happened yet, or a clock contradicts it.
--   mean_s (number, s): Mean; null where no alarm has a value, as the next three.
--   median_s (number, s): Median.
--   p90_s (number, s): 90th percentile.
--   longest_s (number, s): Longest.
WITH chosen AS (
    SELECT a.tenant, a.severity, a.detect_ms, a.acknowledge_ms, a.resolve_ms
    FROM alarms AS a
    CROSS JOIN parameters AS p
    WHERE
        a.counted
        AND a.disposition = 'deliver'
        AND a.raised_at >= p.from_time
        AND a.raised_at < p.to_time
),

measured AS (
    SELECT c.tenant, c.severity, 'detect' AS measure, c.detect_ms AS took_ms FROM chosen AS c
    UNION ALL
    SELECT c.tenant, c.severity, 'acknowledge' AS measure, c.acknowledge_ms AS took_ms
    FROM chosen AS c
    UNION ALL
    SELECT c.tenant, c.severity, 'resolve' AS measure, c.resolve_ms AS took_ms FROM chosen AS c
),

-- Those without a value come last in each group, so ranks of the others are not moved.
ranked AS (
    SELECT
        m.tenant,
        m.severity,
        m.measure,
        m.took_ms,
        ROW_NUMBER() OVER (
            PARTITION BY m.tenant, m.severity, m.measure
            ORDER BY CASE WHEN m.took_ms IS NULL THEN 1 ELSE 0 END, m.took_ms
        ) AS place,
        COUNT(m.took_ms) OVER (PARTITION BY m.tenant, m.severity, m.measure) AS known
    FROM measured AS m
)

SELECT
    r.tenant,
    r.severity,
    r.measure,
    COUNT(r.took_ms) AS alarms,
    COUNT(*) - COUNT(r.took_ms) AS unknown,
    CAST(AVG(r.took_ms) AS DOUBLE) / 1000 AS mean_s,
    CAST(MIN(CASE WHEN 2 * r.place >= r.known THEN r.took_ms END) AS DOUBLE) / 1000 AS median_s,
    CAST(MIN(CASE WHEN 10 * r.place >= 9 * r.known THEN r.took_ms END) AS DOUBLE) / 1000 AS p90_s,
    CAST(MAX(r.took_ms) AS DOUBLE) / 1000 AS longest_s
FROM ranked AS r
GROUP BY r.tenant, r.severity, r.measure
