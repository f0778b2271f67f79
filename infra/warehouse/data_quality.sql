-- data_quality: How much of what came in was late, to be doubted, or could not be read.
--
-- grain: one row per tenant, day of arrival (UTC), dataset, problem and reason
-- reads: deliveries, events, parameters, quarantine, telemetry
-- parameters: from_time, to_time (of arrival), tenant
--
-- problem 'none' counts all rows of the dataset, to compare with: a reading that is late and
-- flagged stands in three rows. Of quarantine, counted are readings (1 for a message that could
-- not be read at all). Where the MQTT topic named no device, the tenant is empty.
--
-- columns:
--   tenant (text): Tenant; empty where it is not known.
--   day (date): Day of arrival, UTC; of a delivery, of its end.
--   dataset (text): telemetry, events, deliveries or quarantine.
--   problem (text): none (all rows), late, flagged or quarantined.
--   reason (text): The flag, or the reason of the quarantine; empty for none and late.
--   amount (integer): Readings, events or deliveries.
WITH arrived AS (
    SELECT
        t.tenant,
        t.received_at AS moment,
        'telemetry' AS dataset,
        t.flag,
        CASE WHEN t.late THEN 1 ELSE 0 END AS is_late
    FROM telemetry AS t
    UNION ALL
    SELECT e.tenant, e.observed_at AS moment, 'events' AS dataset, e.flag, 0 AS is_late
    FROM events AS e
    UNION ALL
    SELECT d.tenant, d.at, 'deliveries' AS dataset, d.flag, 0 AS is_late
    FROM deliveries AS d
),

kept AS (
    SELECT
        a.tenant,
        CAST(a.moment AS DATE) AS day,
        a.dataset,
        a.flag,
        a.is_late,
        COUNT(*) AS amount
    FROM arrived AS a
    CROSS JOIN parameters AS p
    WHERE
        a.moment >= p.from_time
        AND a.moment < p.to_time
        AND (p.tenant IS NULL OR a.tenant = p.tenant)
    GROUP BY a.tenant, CAST(a.moment AS DATE), a.dataset, a.flag, a.is_late
),

refused AS (
    SELECT
        CASE
            WHEN STRPOS(q.device_id, '/') > 0
                THEN SUBSTR(q.device_id, 1, STRPOS(q.device_id, '/') - 1)
            ELSE ''
        END AS tenant,
        q.received_at AS moment,
        q.reason,
        q.readings
    FROM quarantine AS q
),

counted AS (
    SELECT
        k.tenant, k.day, k.dataset, 'none' AS problem, '' AS reason, k.amount
    FROM kept AS k
    UNION ALL
    SELECT
        k.tenant, k.day, k.dataset, 'late' AS problem, '' AS reason, k.amount
    FROM kept AS k
    WHERE k.is_late = 1
    UNION ALL
    SELECT
        k.tenant, k.day, k.dataset, 'flagged' AS problem, k.flag AS reason, k.amount
    FROM kept AS k
    WHERE k.flag IS NOT NULL
    UNION ALL
    SELECT
        r.tenant,
        CAST(r.moment AS DATE) AS day,
        'quarantine' AS dataset,
        'quarantined' AS problem,
        r.reason,
        r.readings AS amount
    FROM refused AS r
    CROSS JOIN parameters AS p
    WHERE
        r.moment >= p.from_time
        AND r.moment < p.to_time
        AND (p.tenant IS NULL OR r.tenant = p.tenant)
)

SELECT
    c.tenant,
    c.day,
    c.dataset,
    c.problem,
    c.reason,
    CAST(SUM(c.amount) AS BIGINT) AS amount
FROM counted AS c
GROUP BY c.tenant, c.day, c.dataset, c.problem, c.reason
