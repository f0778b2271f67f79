-- alarms_by_rule: What became of the alarms of each rule, and how many were false.
--
-- grain: one row per tenant, version of the rules, detector and metric
-- reads: alarms, parameters
-- parameters: from_time, to_time (of raised_at)
--
-- A rule is a detector on a metric, by one version of the rules; column rule is the name of
-- the rules as a whole. raised = cleared + still_open + suppressed + in_review + other.
--
-- columns:
--   tenant (text): Tenant.
--   rule (text): Rules that were in force, as a whole: their name and version, name@version. Which of them raised the alarms, detector and metric tell.
--   detector (text): Detector.
--   metric (text): Metric.
--   raised (integer): Alarms raised, whatever became of them.
--   critical (integer): Those of them that were critical, at once or later.
--   updated (integer): Those of them that were updated.
--   cleared (integer): Delivered, and over.
--   still_open (integer): Delivered, and not over.
--   suppressed (integer): Held back as part of a storm.
--   in_review (integer): Held back as too unsure: a person decides.
--   other (integer): With a disposition that this version does not know.
--   confirmed (integer): Those of the raised that people confirmed.
--   false_alarms (integer): Those of the raised that people called false.
--   false_alarm_share (number): false_alarms / (confirmed + false_alarms), 0 to 1; null where nobody told.
SELECT
    a.tenant,
    a.rule,
    a.detector,
    a.metric,
    COUNT(*) AS raised,
    COUNT(a.critical_at) AS critical,
    COUNT(CASE WHEN a.updates > 0 THEN 1 END) AS updated,
    COUNT(CASE WHEN a.outcome = 'cleared' THEN 1 END) AS cleared,
    COUNT(CASE WHEN a.outcome = 'open' THEN 1 END) AS still_open,
    COUNT(CASE WHEN a.outcome = 'suppressed' THEN 1 END) AS suppressed,
    COUNT(CASE WHEN a.outcome = 'review' THEN 1 END) AS in_review,
    COUNT(CASE WHEN a.outcome = 'other' THEN 1 END) AS other,
    COUNT(CASE WHEN a.verdict = 'confirmed' THEN 1 END) AS confirmed,
    COUNT(CASE WHEN a.verdict = 'false_alarm' THEN 1 END) AS false_alarms,
    CASE
        WHEN COUNT(a.verdict) > 0
            THEN CAST(COUNT(CASE WHEN a.verdict = 'false_alarm' THEN 1 END) AS DOUBLE)
                / COUNT(a.verdict)
    END AS false_alarm_share
FROM alarms AS a
CROSS JOIN parameters AS p
WHERE a.raised_at >= p.from_time AND a.raised_at < p.to_time
GROUP BY a.tenant, a.rule, a.detector, a.metric
