-- deliveries_by_sink: How deliveries ended at each sink, day by day, and how long they took.
--
-- grain: one row per tenant, sink and day (UTC) on which deliveries ended
-- reads: deliveries, parameters
-- parameters: from_time, to_time (of the end), tenant
--
-- One delivery is one event at one sink. Of several results of it the last one holds, so a
-- repetition after a crash counts once, and what a person sent again from the DLQ counts on the
-- day it arrived. Latency is of delivered ones, from arrival of the sample at the bridge to the
-- sink's answer; quantiles are nearest rank.
--
-- columns:
--   tenant (text): Tenant.
--   sink (text): Sink.
--   day (date): Day, UTC.
--   ended (integer): Deliveries that ended: the six that follow, together.
--   delivered (integer): The target has it.
--   rejected (integer): Refused, and nobody needs to decide.
--   superseded (integer): Dropped, as the target has a newer state.
--   dead_lettered (integer): Waits for a person.
--   discarded (integer): A person decided against it.
--   other (integer): An outcome that this version does not know.
--   attempts (integer): Attempts in all.
--   latency_p50_ms (integer, ms): Median latency; null where nothing was delivered.
--   latency_p95_ms (integer, ms): 95th percentile of the latency; null likewise.
WITH numbered AS (
    SELECT
        d.tenant,
        d.sink,
        d.event_id,
        d.outcome,
        d.attempts,
        d.latency_ms,
        d.at,
        ROW_NUMBER() OVER (
            PARTITION BY d.tenant, d.event_id, d.sink
            ORDER BY d.at DESC, d.kafka_offset DESC, d.kafka_partition DESC
        ) AS place
    FROM deliveries AS d
    CROSS JOIN parameters AS p
    WHERE p.tenant IS NULL OR d.tenant = p.tenant
),

last_results AS (
    SELECT
        n.tenant,
        n.sink,
        CAST(n.at AS DATE) AS day,
        n.outcome,
        n.attempts,
        CASE WHEN n.outcome = 'delivered' THEN n.latency_ms END AS took_ms
    FROM numbered AS n
    CROSS JOIN parameters AS p
    WHERE n.place = 1 AND n.at >= p.from_time AND n.at < p.to_time
),

ranked AS (
    SELECT
        r.*,
        ROW_NUMBER() OVER (
            PARTITION BY r.tenant, r.sink, r.day
            ORDER BY CASE WHEN r.took_ms IS NULL THEN 1 ELSE 0 END, r.took_ms
        ) AS place,
        COUNT(r.took_ms) OVER (PARTITION BY r.tenant, r.sink, r.day) AS known
    FROM last_results AS r
)

SELECT
    r.tenant,
    r.sink,
    r.day,
    COUNT(*) AS ended,
    COUNT(CASE WHEN r.outcome = 'delivered' THEN 1 END) AS delivered,
    COUNT(CASE WHEN r.outcome = 'rejected' THEN 1 END) AS rejected,
    COUNT(CASE WHEN r.outcome = 'superseded' THEN 1 END) AS superseded,
    COUNT(CASE WHEN r.outcome = 'dead_lettered' THEN 1 END) AS dead_lettered,
    COUNT(CASE WHEN r.outcome = 'discarded' THEN 1 END) AS discarded,
    COUNT(
        CASE
            WHEN r.outcome IN (
                'delivered', 'rejected', 'superseded', 'dead_lettered', 'discarded'
            ) THEN NULL
            ELSE 1
        END
    ) AS other,
    CAST(SUM(r.attempts) AS BIGINT) AS attempts,
    MIN(CASE WHEN 2 * r.place >= r.known THEN r.took_ms END) AS latency_p50_ms,
    MIN(CASE WHEN 20 * r.place >= 19 * r.known THEN r.took_ms END) AS latency_p95_ms
FROM ranked AS r
GROUP BY r.tenant, r.sink, r.day
