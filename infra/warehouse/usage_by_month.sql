-- usage_by_month: What each tenant used, month by month: the figures of a bill.
--
-- grain: one row per tenant and month (UTC) with any use
-- reads: deliveries, events, parameters, telemetry
-- parameters: from_time, to_time (of arrival), tenant
--
-- A reading counts once however often a device or network sent it: the lake has it after
-- deduplication. It counts in the month it arrived, not in the one it was measured in, so a bill
-- that is out stays right when a device was offline or has a wrong clock. A month at the edge of
-- from_time or to_time is a part of one. Bytes are not billed: the lake keeps readings, not
-- what they were wrapped in.
--
-- columns:
--   tenant (text): Tenant.
--   month (date): First day of the month, UTC.
--   devices_active (integer): Devices with at least one reading.
--   readings (integer): Readings.
--   readings_of_earlier_months (integer): Those of them that were measured in an earlier month.
--   events (integer): Events, of every action and disposition.
--   deliveries (integer): Events at a sink that were delivered, each pair once, by when it was confirmed.
WITH deliveries_once AS (
    SELECT d.tenant, d.event_id, d.sink, MIN(d.at) AS moment
    FROM deliveries AS d
    WHERE d.outcome = 'delivered'
    GROUP BY d.tenant, d.event_id, d.sink
),

events_once AS (
    SELECT e.tenant, e.id, MIN(e.observed_at) AS moment
    FROM events AS e
    GROUP BY e.tenant, e.id
),

uses AS (
    SELECT
        t.tenant,
        CAST(DATE_TRUNC('month', t.received_at) AS DATE) AS month,
        COUNT(DISTINCT t.device_id) AS devices_active,
        COUNT(*) AS readings,
        COUNT(
            CASE WHEN t.time < DATE_TRUNC('month', t.received_at) THEN 1 END
        ) AS readings_of_earlier_months,
        0 AS events,
        0 AS deliveries
    FROM telemetry AS t
    CROSS JOIN parameters AS p
    WHERE
        t.received_at >= p.from_time
        AND t.received_at < p.to_time
        AND (p.tenant IS NULL OR t.tenant = p.tenant)
    GROUP BY t.tenant, CAST(DATE_TRUNC('month', t.received_at) AS DATE)
    UNION ALL
    SELECT
        e.tenant,
        CAST(DATE_TRUNC('month', e.moment) AS DATE) AS month,
        0 AS devices_active,
        0 AS readings,
        0 AS readings_of_earlier_months,
        COUNT(*) AS events,
        0 AS deliveries
    FROM events_once AS e
    CROSS JOIN parameters AS p
    WHERE
        e.moment >= p.from_time
        AND e.moment < p.to_time
        AND (p.tenant IS NULL OR e.tenant = p.tenant)
    GROUP BY e.tenant, CAST(DATE_TRUNC('month', e.moment) AS DATE)
    UNION ALL
    SELECT
        d.tenant,
        CAST(DATE_TRUNC('month', d.moment) AS DATE) AS month,
        0 AS devices_active,
        0 AS readings,
        0 AS readings_of_earlier_months,
        0 AS events,
        COUNT(*) AS deliveries
    FROM deliveries_once AS d
    CROSS JOIN parameters AS p
    WHERE
        d.moment >= p.from_time
        AND d.moment < p.to_time
        AND (p.tenant IS NULL OR d.tenant = p.tenant)
    GROUP BY d.tenant, CAST(DATE_TRUNC('month', d.moment) AS DATE)
)

SELECT
    u.tenant,
    u.month,
    CAST(SUM(u.devices_active) AS BIGINT) AS devices_active,
    CAST(SUM(u.readings) AS BIGINT) AS readings,
    CAST(SUM(u.readings_of_earlier_months) AS BIGINT) AS readings_of_earlier_months,
    CAST(SUM(u.events) AS BIGINT) AS events,
    CAST(SUM(u.deliveries) AS BIGINT) AS deliveries
FROM uses AS u
GROUP BY u.tenant, u.month
