"""The page's sections: what each says, its plot and its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median_low
from typing import Final

from pipeline.ops.report import plots
from pipeline.ops.report.cells import Cells, number, pair, says, table_of, text
from pipeline.ops.report.data import MEASURES, Report, Row, summed
from pipeline.ops.report.words import count, duration, moment, ratio, share


def _downtime(report: Report) -> str:
    rows = report.rows["downtime_by_asset"]
    head = says(
        "Time in which at least one critical alarm of an asset was on, from its raise to its "
        "clear or, where it has none, until now; alarms that overlap count once.",
        "downtime_by_asset",
    )
    table = table_of(
        report,
        "Assets by downtime",
        rows,
        [
            text("Asset", "asset"),
            Cells(head="Down", show=lambda r: duration(r["downtime_s"])),
            Cells(head="Open part", show=lambda r: duration(r["open_s"])),
            Cells(head="Longest", show=lambda r: duration(r["longest_s"])),
            number("Periods", "periods"),
            number("Alarms", "alarms"),
        ],
    )
    now = table_of(
        report,
        "Critical alarms that are open, longest first",
        report.down,
        [
            text("Asset", "asset"),
            Cells(head="Since", show=lambda r: moment(r["critical_at"])),
            Cells(
                head="What",
                show=lambda r: r["summary"] or f"{r['detector']} of {r['metric']}",
                number=False,
            ),
        ],
        whole=sum(row["open_alarms"] for row in rows),
    )
    return (
        head
        + pair(plots.downtime(report), table)
        + ("<h3>Still down</h3>" + now if report.down else "")
    )


def _alarms(report: Report) -> str:
    table = table_of(
        report,
        "Alarms by rule",
        report.rows["alarms_by_rule"],
        [
            Cells(
                head="Detector and metric",
                show=lambda r: f"{r['detector']} of {r['metric']}",
                number=False,
            ),
            text("Rules", "rule"),
            number("Raised", "raised"),
            number("Critical", "critical"),
            number("Updated", "updated"),
            number("Cleared", "cleared"),
            number("Open", "still_open"),
            number("Suppressed", "suppressed"),
            number("In review", "in_review"),
            Cells(head="False alarms", show=lambda r: share(r["false_alarm_share"])),
        ],
    )
    return says(
        "What became of the alarms that each rule raised; false alarms as a share of those that "
        "people judged.",
        "alarms_by_rule",
    ) + pair(plots.alarms(report), table)


def _times(report: Report) -> str:
    table = table_of(
        report,
        "By severity",
        sorted(
            report.rows["response_times"],
            key=lambda r: (r["tenant"], MEASURES.index(r["measure"]), r["severity"]),
        ),
        [
            text("Time to", "measure"),
            text("Severity", "severity"),
            number("Alarms", "alarms"),
            number("Unknown", "unknown"),
            *(
                Cells(head=head, show=lambda r, c=column: duration(r[c]))  # type: ignore[misc]
                for head, column in (
                    ("Mean", "mean_s"),
                    ("Median", "median_s"),
                    ("p90", "p90_s"),
                    ("Longest", "longest_s"),
                )
            ),
        ],
    )
    unknown = report.unknown_times
    return says(
        "Detect: from the event to its arrival here; acknowledge: from there to the record at "
        "the first sink; resolve: from raise to clear. Without a value yet: "
        f"{', '.join(f'{count(unknown[m])} to {m}' for m in MEASURES)}.",
        "response_times",
    ) + pair(plots.times(report), table)


def _fixes(report: Report) -> str:
    table = table_of(
        report,
        "Assets and rules, those that came back most first",
        report.rows["first_time_fix"],
        [
            text("Asset", "asset"),
            Cells(
                head="Detector and metric",
                show=lambda r: f"{r['detector']} of {r['metric']}",
                number=False,
            ),
            number("Cleared", "cleared"),
            number("Stayed away", "held"),
            number("Came back", "came_back"),
            number("Too early", "undecided"),
            Cells(head="Fixed", show=lambda r: share(r["first_time_fix_share"])),
        ],
    )
    days = report.asked.fix_days
    return says(
        f"Of the alarms that were cleared: whether the same was raised on the asset again within "
        f"{days} days; it is too early to tell until those days are over.",
        "first_time_fix",
    ) + pair(plots.fixes(report), table)


def _deliveries(report: Report) -> str:
    rows = report.rows["deliveries_by_sink"]
    counts = (
        *("ended", "delivered", "rejected", "superseded"),
        *("dead_lettered", "discarded", "other", "attempts"),
    )
    sinks = []
    for (tenant, sink), sums in summed(rows, ("tenant", "sink"), counts).items():
        own = [
            row
            for row in rows
            if (row["tenant"], row["sink"]) == (tenant, sink) and row["delivered"]
        ]
        sinks.append({
            "tenant": tenant, "sink": sink, **sums,
            "p50": median_low([row["latency_p50_ms"] for row in own]) / 1000 if own else None,
            "p95": max(row["latency_p95_ms"] for row in own) / 1000 if own else None,
        })  # fmt: skip
    table = table_of(
        report,
        "Deliveries by sink; latency from arrival of the reading to the sink's answer",
        sorted(sinks, key=lambda row: (-row["ended"], row["tenant"], row["sink"])),
        [
            text("Sink", "sink"),
            number("Ended", "ended"),
            number("Delivered", "delivered"),
            number("Rejected", "rejected"),
            number("Superseded", "superseded"),
            number("Dead-lettered", "dead_lettered"),
            number("Discarded", "discarded"),
            Cells(head="Attempts each", show=lambda r: f"{r['attempts'] / r['ended']:.2f}"),
            Cells(head="p50, middle day", show=lambda r: duration(r["p50"])),
            Cells(head="p95, worst day", show=lambda r: duration(r["p95"])),
        ],
    )
    return says(
        "How the delivery of each event to each sink ended, by the day of its last result.",
        "deliveries_by_sink",
    ) + pair(plots.deliveries(report), table)


def _quality(report: Report) -> str:
    rows = report.rows["data_quality"]
    all_rows = summed(
        [r for r in rows if r["problem"] == "none"], ("tenant", "dataset"), ("amount",)
    )
    sums = summed(
        [row for row in rows if row["problem"] != "none"],
        ("tenant", "dataset", "problem", "reason"),
        ("amount",),
    )

    def of(row: Row) -> float | None:
        # What was refused never became a reading: it is compared with both together.
        refused = row["dataset"] == "quarantine"
        dataset = "telemetry" if refused else row["dataset"]
        told = all_rows.get((row["tenant"], dataset), {"amount": 0})["amount"]
        return ratio(row["amount"], told + row["amount"] if refused else told)

    listed = [
        {"tenant": t, "dataset": d, "problem": p, "reason": r, "amount": sums[t, d, p, r]["amount"]}
        for t, d, p, r in sums
    ]
    table = table_of(
        report,
        "Problems, and their share of all rows of the dataset and tenant",
        sorted(listed, key=lambda row: -row["amount"]),
        [
            text("Dataset", "dataset"),
            Cells(
                head="Problem",
                show=lambda r: plots.problem("telemetry", r["problem"], r["reason"]),
                number=False,
            ),
            number("Rows", "amount"),
            Cells(head="Share", show=lambda r: share(of(r))),
        ],
    )
    came = sum(v["amount"] for (_, d), v in all_rows.items() if d == "telemetry")
    return says(
        f"Of {count(came)} readings that came in, and what came with them: how many rows were "
        "late, flagged as doubtful, or could not be read at all.",
        "data_quality",
    ) + pair(plots.quality(report), table)


def _usage(report: Report) -> str:
    table = table_of(
        report,
        "Usage by month, newest first",
        report.rows["usage_by_month"],
        [
            Cells(head="Month", show=lambda r: f"{r['month']:%Y-%m}", number=False),
            number("Active devices", "devices_active"),
            number("Readings", "readings"),
            number("of earlier months", "readings_of_earlier_months"),
            number("Events", "events"),
            number("Deliveries", "deliveries"),
        ],
        always_tenant=True,
    )
    return (
        says(
            "What each tenant used, by month of arrival: a reading counts once however often "
            "it was sent, and a month that is over does not change.",
            "usage_by_month",
        )
        + f'<div class="pair">{table}</div>'
    )


SECTIONS: Final[Sequence[tuple[str, str, Callable[[Report], str]]]] = (
    ("downtime", "Downtime by asset", _downtime),
    ("alarms", "Alarms by rule and outcome", _alarms),
    ("times", "Time to detect, acknowledge, resolve", _times),
    ("fixes", "First-time fix", _fixes),
    ("deliveries", "Deliveries by sink", _deliveries),
    ("quality", "Data quality", _quality),
    ("usage", "Usage", _usage),
)
