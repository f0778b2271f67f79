-- alarms: Every alarm with what became of it; the other models are made from this one.
--
-- grain: one row per tenant and alarm, an alarm being an event that raises (action raise)
-- reads: deliveries, events, feedback, parameters
-- parameters: tenant
--
-- Where a row's flag says that the device's clock is to be doubted (clamped, future, past), the
-- arrival stands for the event time, and no time is measured from it. An event that stands in
-- the lake twice counts once: the one that arrived first. Severity info to critical is that of
-- the raise; an update can make an alarm critical later. What belongs to no raise that the lake
-- has (a clear alone) makes no row.
--
-- columns:
--   tenant (text): Tenant.
--   alarm_id (text): Id of the event that raised it.
--   asset (text): Asset, by the device registry; the device where it is not registered.
--   device_id (text): Device, 'tenant/device'.
--   customer_id (text): Customer who owns the asset; null where not registered.
--   detector (text): Detector that raised it.
--   metric (text): Metric that raised it.
--   rule (text): Rules that were in force, as a whole: their name and version, name@version. Which of them raised it, detector and metric tell.
--   severity (text): Severity at the raise.
--   disposition (text): deliver, review or suppressed, as it was raised.
--   summary (text): One line for a person, as it came: escape it where it is shown.
--   verdict (text): What people told of it: confirmed or false_alarm; null where nothing stands.
--   counted (boolean): Whether it is an asset's trouble: delivered or part of a storm, no false alarm, and not told by a detector about others (storm, drift).
--   outcome (text): cleared, open, suppressed, review, or other (a disposition of a newer version).
--   updates (integer): Updates of it.
--   raised_at (time): When it was raised, by event time.
--   observed_at (time): Arrival of the sample that raised it.
--   critical_at (time): Since when it is critical; null where it never was.
--   acknowledged_at (time): When the first sink confirmed a record of it; null where none did.
--   cleared_at (time): When it was over, by event time, its first clear; null where it is open. By clocks it can lie before raised_at.
--   detect_ms (integer, ms): From event time to arrival; null where a clock contradicts it.
--   acknowledge_ms (integer, ms): From arrival to acknowledged_at; null where there is none, or a clock contradicts it.
--   resolve_ms (integer, ms): From raised_at to cleared_at; null where open, or a clock contradicts it.
WITH seen AS (
    SELECT
        e.tenant,
        e.id,
        COALESCE(e.action, 'raise') AS action,
        e.entity_id,
        COALESCE(e.asset_id, e.device_id) AS asset,
        e.device_id,
        e.customer_id,
        e.detector,
        e.metric,
        e.rule,
        e.severity,
        COALESCE(e.disposition, 'deliver') AS disposition,
        e.summary,
        e.observed_at,
        CASE
            WHEN COALESCE(e.flag, '') IN ('clamped', 'future', 'past') THEN e.observed_at
            ELSE e.occurred_at
        END AS happened_at,
        CASE
            WHEN COALESCE(e.flag, '') IN ('clamped', 'future', 'past') THEN 1
            ELSE 0
        END AS doubted,
        e.kafka_partition,
        e.kafka_offset
    FROM events AS e
    CROSS JOIN parameters AS p
    WHERE p.tenant IS NULL OR e.tenant = p.tenant
),

raises AS (
    SELECT
        s.*,
        ROW_NUMBER() OVER (
            PARTITION BY s.tenant, s.id
            ORDER BY s.observed_at, s.kafka_partition, s.kafka_offset
        ) AS place
    FROM seen AS s
    WHERE s.action = 'raise'
),

followed AS (
    SELECT
        s.tenant,
        s.entity_id AS alarm_id,
        MIN(CASE WHEN s.action = 'clear' THEN s.happened_at END) AS cleared_at,
        MAX(CASE WHEN s.action = 'clear' THEN s.doubted ELSE 0 END) AS clear_doubted,
        MIN(
            CASE WHEN s.action = 'update' AND s.severity = 'critical' THEN s.happened_at END
        ) AS graver_at,
        COUNT(DISTINCT CASE WHEN s.action = 'update' THEN s.id END) AS updates
    FROM seen AS s
    WHERE s.action IN ('update', 'clear')
    GROUP BY s.tenant, s.entity_id
),

records AS (
    SELECT
        d.tenant,
        d.event_id AS alarm_id,
        MIN(d.at) AS acknowledged_at
    FROM deliveries AS d
    WHERE d.outcome = 'delivered'
    GROUP BY d.tenant, d.event_id
),

verdicts AS (
    SELECT
        f.tenant,
        f.event_id AS alarm_id,
        MIN(f.outcome) AS verdict
    FROM feedback AS f
    WHERE f.outcome IN ('confirmed', 'false_alarm')
    GROUP BY f.tenant, f.event_id
)

SELECT
    r.tenant,
    r.id AS alarm_id,
    r.asset,
    r.device_id,
    r.customer_id,
    r.detector,
    r.metric,
    r.rule,
    r.severity,
    r.disposition,
    r.summary,
    v.verdict,
    CASE
        WHEN r.detector IN ('storm', 'drift') THEN FALSE
        WHEN COALESCE(v.verdict, '') = 'false_alarm' THEN FALSE
        WHEN r.disposition IN ('deliver', 'suppressed') THEN TRUE
        ELSE FALSE
    END AS counted,
    CASE
        WHEN r.disposition = 'suppressed' THEN 'suppressed'
        WHEN r.disposition = 'review' THEN 'review'
        WHEN r.disposition <> 'deliver' THEN 'other'
        WHEN f.cleared_at IS NULL THEN 'open'
        ELSE 'cleared'
    END AS outcome,
    COALESCE(f.updates, 0) AS updates,
    r.happened_at AS raised_at,
    r.observed_at,
    CASE WHEN r.severity = 'critical' THEN r.happened_at ELSE f.graver_at END AS critical_at,
    d.acknowledged_at,
    f.cleared_at,
    CASE
        WHEN r.doubted = 0 AND r.happened_at <= r.observed_at
            THEN DATE_DIFF('millisecond', r.happened_at, r.observed_at)
    END AS detect_ms,
    CASE
        WHEN r.observed_at <= d.acknowledged_at
            THEN DATE_DIFF('millisecond', r.observed_at, d.acknowledged_at)
    END AS acknowledge_ms,
    CASE
        WHEN r.doubted = 0 AND f.clear_doubted = 0 AND r.happened_at <= f.cleared_at
            THEN DATE_DIFF('millisecond', r.happened_at, f.cleared_at)
    END AS resolve_ms
FROM raises AS r
LEFT JOIN followed AS f ON f.tenant = r.tenant AND f.alarm_id = r.id
LEFT JOIN records AS d ON d.tenant = r.tenant AND d.alarm_id = r.id
LEFT JOIN verdicts AS v ON v.tenant = r.tenant AND v.alarm_id = r.id
WHERE r.place = 1
