"""The page: one HTML file that asks nobody for anything.

Style and drawings stand in it, and its policy (Content-Security-Policy) lets a browser load
nothing else, nor run a script. Every text from outside passes `escape`.
"""

from __future__ import annotations

from html import escape
from typing import Final

from pipeline.ops import marts
from pipeline.ops.report.data import MEASURES, Report, total
from pipeline.ops.report.sections import SECTIONS
from pipeline.ops.report.style import CSS
from pipeline.ops.report.words import count, duration, moment, name, ratio, share

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)


def page(report: Report) -> str:
    """The whole page, HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Fieldline report, {moment(report.asked.as_of)}</title>\n"
        f"<style>{CSS}</style>\n</head>\n<body>\n"
        f"{_header(report)}<main>\n{_body(report)}</main>\n"
        "<footer><p>Made by <code>fieldline report</code>. What each column means: "
        "<code>infra/warehouse/DICTIONARY.md</code>. All rows: "
        "<code>fieldline report --csv DIR</code>.</p></footer>\n</body>\n</html>\n"
    )


def _header(report: Report) -> str:
    asked = report.asked
    window = (
        f"up to {moment(asked.to_time)}"
        if asked.from_time <= marts.BEGINNING
        else f"{moment(asked.from_time)} to {moment(asked.to_time)}"
    )
    facts = [
        f"Generated {moment(asked.as_of)} UTC",
        f"window {window}",
        f"data {moment(report.first_at)} to {moment(report.last_at)}"
        if report.first_at
        else "no data",
        f"tenant {escape(name(asked.tenant))}" if asked.tenant is not None else "all tenants",
    ]
    note = ""
    if report.feedback.unknown and not report.empty:
        note = (
            f'<p class="note">What people told of alarms is not known: '
            f"{escape(report.feedback.unknown)}. False alarms are not told apart, and count.</p>"
        )
    links = (
        ""
        if report.empty
        else (
            '<nav aria-label="Sections">'
            + " ".join(f'<a href="#{anchor}">{title}</a>' for anchor, title, _ in SECTIONS)
            + "</nav>"
        )
    )
    return (
        f'<header>\n<h1>Fieldline report</h1>\n<p class="facts">{" · ".join(facts)}. '
        f"Times are UTC.</p>{links}{note}\n</header>\n"
    )


def _body(report: Report) -> str:
    if report.empty:
        return (
            "<section><h2>The lake has nothing to show</h2><p>There are no readings, events or "
            "deliveries for what was asked. If that is a surprise, look at <code>fieldline status"
            "</code>, or ask for another time with <code>--since</code> and <code>--until</code>."
            "</p></section>\n"
        )
    return _cards(report) + "".join(
        f'<section id="{anchor}" aria-labelledby="{anchor}-title">'
        f'<h2 id="{anchor}-title">{title}</h2>\n{make(report)}</section>\n'
        for anchor, title, make in SECTIONS
    )


def _cards(report: Report) -> str:
    rows = report.rows
    down = rows["downtime_by_asset"]
    fix, sent, alarms = (
        rows["first_time_fix"],
        rows["deliveries_by_sink"],
        rows["alarms_by_rule"],
    )
    held, back = total(fix, "held"), total(fix, "came_back")
    ended, delivered = total(sent, "ended"), total(sent, "delivered")
    usage = rows["usage_by_month"]
    refused = sum(row["amount"] for row in rows["data_quality"] if row["problem"] == "quarantined")
    still = sum(row["open_alarms"] > 0 for row in down)
    still_open, parked = total(alarms, "still_open"), total(sent, "dead_lettered")
    days = report.asked.fix_days
    medians = {measure: duration(report.quantile_s(measure, 1, 2)) for measure in MEASURES}
    cards = [
        (
            "Downtime",
            duration(sum(row["downtime_s"] for row in down)),
            f"assets that were down: {count(len(down))}; still down: {count(still)}",
        ),
        (
            "Alarms",
            count(total(alarms, "raised")),
            f"{count(total(alarms, 'critical'))} critical, {count(still_open)} still open",
        ),
        (
            "Median time to resolve",
            medians["resolve"],
            f"{medians['detect']} to detect, {medians['acknowledge']} to acknowledge",
        ),
        (
            "First-time fix",
            share(ratio(held, held + back)),
            f"{count(held)} stayed away, {count(back)} came back in {days} days",
        ),
        (
            "Delivered",
            share(ratio(delivered, ended)),
            f"{count(delivered)} of {count(ended)}; {count(parked)} wait for a person",
        ),
        (
            "Readings",
            count(total(usage, "readings")),
            f"each once; {count(refused)} more could not be read",
        ),
    ]
    return (
        '<h2 class="unseen">Headline figures</h2><div class="cards">'
        + "".join(
            f'<div class="card"><h3>{title}</h3><p class="figure">{figure}</p><p>{words}</p></div>'
            for title, figure, words in cards
        )
        + "</div>\n"
    )
