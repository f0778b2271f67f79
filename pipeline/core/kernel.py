"""The loop over samples: dedup, detectors, episodes; compiled (pipeline.core.jit).

Samples are taken one by one in order of arrival, so how the input was cut into messages cannot
change a result. State is arrays changed in place (pipeline.core.fleet). The loop *pauses* at a
sample with an alarm or the end of an episode: the caller tells it from that very state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from pipeline.core.dedup import FRESH, follows, judge
from pipeline.core.detectors import MAX_VALUE
from pipeline.core.detectors.limit import step as limit_step
from pipeline.core.detectors.novelty import step as novelty_step
from pipeline.core.detectors.rate import step as rate_step
from pipeline.core.detectors.seasonal import step as seasonal_step
from pipeline.core.detectors.stuck import step as stuck_step
from pipeline.core.detectors.table import DETECTORS, NUMBER
from pipeline.core.detectors.trend import step as trend_step
from pipeline.core.detectors.usage import step as usage_step
from pipeline.core.detectors.zscore import step_prepared as zscore_step
from pipeline.core.fleet import (
    BEFORE_ALL,
    C_CORRELATED,
    C_COUNT,
    C_DIRTY,
    C_FIRST,
    C_INSIDE,
    C_LAST,
    C_LAST_RECEIVED,
    C_LAST_SEQUENCE,
    C_LAST_SESSION,
    C_LAST_TIME,
    C_OPEN,
    C_SILENT,
    C_START,
    C_UNTIL,
)
from pipeline.core.jit import jit, jit_inline, lend
from pipeline.core.plans import (
    ACTIVE,
    L_AGREE,
    L_ENTER,
    L_ENTER_N,
    L_LANE,
    L_LEAVE,
    L_LEAVE_N,
    P_DETECTOR,
    P_LANE,
    P_LANES,
    P_PARAM,
    P_STATE,
    P_WORD,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    from pipeline.core.fleet import Arrays
    from pipeline.core.plans import Tables

    I64 = npt.NDArray[np.int64]
    F64 = npt.NDArray[np.float64]

SKIPPED: Final = 254
"""The device had this message applied before: see fleet.C_UNTIL."""
UNDECIDED: Final = 255
"""Not judged yet: the kernel judges numbered samples, the caller has judged the others."""

GROUPS: Final = len(DETECTORS)
SILENT: Final = GROUPS
"""In an alarm's place of a detector: the device was silent before this sample."""
OVER: Final = -1
"""In an alarm's place of a severity: the detector's episode has ended."""

_ZSCORE: Final = NUMBER["zscore"]
_LIMIT: Final = NUMBER["limit"]
_NOVELTY: Final = NUMBER["novelty"]
_RATE: Final = NUMBER["rate"]
_STUCK: Final = NUMBER["stuck"]
_SEASONAL: Final = NUMBER["seasonal"]
_TREND: Final = NUMBER["trend"]
_USAGE: Final = NUMBER["usage"]
_COUNTED: Final = DETECTORS[_ZSCORE].params.index("warm_up")


@jit_inline
def _score(number: int, state: F64, param: F64, value: float, time_ms: float) -> float:
    if number == _ZSCORE:
        return zscore_step(state, param, value, time_ms)
    if number == _LIMIT:
        return limit_step(state, param, value, time_ms)
    if number == _NOVELTY:
        return novelty_step(state, param, value, time_ms)
    if number == _RATE:
        return rate_step(state, param, value, time_ms)
    if number == _STUCK:
        return stuck_step(state, param, value, time_ms)
    if number == _SEASONAL:
        return seasonal_step(state, param, value, time_ms)
    if number == _TREND:
        return trend_step(state, param, value, time_ms)
    if number == _USAGE:
        return usage_step(state, param, value, time_ms)
    return 0.0


@jit
def _needed(agree: int, number: int, row: I64, arrays: Arrays, tables: Tables) -> int:
    """How many of the device's metrics must be in: `agree`, or all that are judged if fewer."""
    if agree <= 1:
        return 1
    judged = 0
    for slot in range(row[C_FIRST], row[C_FIRST] + row[C_COUNT]):
        rule = arrays.series_rule[slot]
        for j in range(tables.plan.shape[1]):
            detector = tables.plan[rule, j, P_DETECTOR]
            if detector < 0:
                break
            if detector == number:
                warm_up = tables.param[rule, tables.plan[rule, j, P_PARAM] + _COUNTED]
                count = arrays.pool[arrays.series_base[slot] + tables.plan[rule, j, P_STATE]]
                if number != _ZSCORE or count > warm_up:
                    judged += 1
    return max(1, min(agree, judged))


@jit
def _raise(
    d: int,
    time_ms: int,
    arrays: Arrays,
    tables: Tables,
    best: F64,
    speaker: I64,
    agree: I64,
    alarms: F64,
) -> int:
    """Episodes of one device after one sample that began, grew graver, or are OVER: how many."""
    row = arrays.columns[d]
    inside, level = arrays.inside[d], arrays.level[d]
    quiet, since = arrays.quiet[d], arrays.since[d]
    raised = 0
    for group in range(GROUPS):
        lane = 3 * group
        if inside[lane] + inside[lane + 1] + inside[lane + 2] > 0:
            quiet[group] = 0
            if since[group] == 0:
                since[group] = time_ms
            if time_ms - since[group] < tables.duration_ms[group]:
                continue
            for place in range(2, level[group] - 1, -1):
                if speaker[lane + place] < 0:  # the metric furthest out speaks, of those over now
                    continue
                wanted = _needed(agree[lane + place], group, row, arrays, tables)
                if inside[lane + place] >= wanted:
                    if level[group] == 0:
                        row[C_OPEN] += 1
                    level[group] = place + 1
                    alarms[raised, 0] = group
                    alarms[raised, 1] = place
                    alarms[raised, 2] = speaker[lane + place]
                    alarms[raised, 3] = best[lane + place]
                    raised += 1
                    break
        elif level[group] > 0:
            since[group] = 0
            quiet[group] += 1
            if quiet[group] >= tables.cool_down[group]:
                level[group] = 0
                quiet[group] = 0
                row[C_OPEN] -= 1
                alarms[raised, 0] = group
                alarms[raised, 1] = OVER
                raised += 1
        else:
            since[group] = 0
    if row[C_OPEN] == 0:
        row[C_CORRELATED] = 0
    return raised


@jit
def _share(score: float, enter: float, leave: float) -> float:
    """A score as a share of the threshold it must reach: 1 there, whatever its unit."""
    if enter > 0.0:
        return max(score, 0.0) / enter
    # Limits count from the limit itself: calm (leave) is 0, on the limit (enter) is 1.
    return max((score - leave) / (enter - leave), 0.0) if enter > leave else 0.0


@jit_inline
def _watch(
    d: int,
    first: int,
    end: int,
    value: F64,
    slot: I64,
    time_ms: int,
    columns: I64,
    inside: npt.NDArray[np.int16],
    pool: F64,
    series_rule: I64,
    series_base: I64,
    plan: I64,
    lanes: F64,
    param: F64,
    wide: int,
    best: F64,
    speaker: I64,
    agree: I64,
    trace: F64,
) -> bool:
    """Feed one sample's readings to the detectors; true where a lane is over its threshold.

    `param` is all plans' parameters one after another, `wide` for each plan.
    """
    moment = float(time_ms)
    over_any = False
    for k in range(first, end):
        s = slot[k]
        x = value[k]
        if s < 0 or not abs(x) <= MAX_VALUE:
            continue
        rule = series_rule[s]
        base = series_base[s]
        for j in range(plan.shape[1]):
            number = plan[rule, j, P_DETECTOR]
            if number < 0:
                break
            at, given = base + plan[rule, j, P_STATE], rule * wide + plan[rule, j, P_PARAM]
            word, lane0 = base + plan[rule, j, P_WORD], plan[rule, j, P_LANE]
            score = _score(
                number,
                lend(pool, at),
                lend(param, given),
                x,
                moment,
            )
            if len(trace) and plan[rule, j, P_LANES] > 0:
                share = _share(score, lanes[rule, lane0, L_ENTER], lanes[rule, lane0, L_LEAVE])
                if share > trace[k, 0]:
                    trace[k, 0] = share
                    trace[k, 1] = number
            for n in range(plan[rule, j, P_LANES]):
                lane = lane0 + n
                held = pool[word + n]
                if held < ACTIVE:
                    if score < lanes[rule, lane, L_ENTER]:
                        if held != 0.0:
                            pool[word + n] = 0.0
                        continue
                    if held + 1.0 < lanes[rule, lane, L_ENTER_N]:
                        pool[word + n] = held + 1.0
                        continue
                    pool[word + n] = ACTIVE
                    inside[d, int(lanes[rule, lane, L_LANE])] += 1
                    columns[d, C_INSIDE] += 1
                elif score < lanes[rule, lane, L_LEAVE]:
                    if held - ACTIVE + 1.0 < lanes[rule, lane, L_LEAVE_N]:
                        pool[word + n] = held + 1.0
                    else:
                        pool[word + n] = 0.0
                        inside[d, int(lanes[rule, lane, L_LANE])] -= 1
                        columns[d, C_INSIDE] -= 1
                    continue
                else:
                    pool[word + n] = ACTIVE
                if score >= lanes[rule, lane, L_ENTER]:
                    number_of_lane = int(lanes[rule, lane, L_LANE])
                    over_any = True
                    if speaker[number_of_lane] < 0 or score > best[number_of_lane]:
                        best[number_of_lane] = score
                        speaker[number_of_lane] = k
                        agree[number_of_lane] = int(lanes[rule, lane, L_AGREE])
    return over_any


@jit_inline
def heard(
    d: int, columns: I64, session: int, sequence: int, time_ms: int, received_ms: int
) -> None:
    """Note the device's latest sample; after a pause that is the caller's to do."""
    if received_ms >= columns[d, C_LAST_RECEIVED]:
        columns[d, C_LAST_RECEIVED] = received_ms
        columns[d, C_LAST_SESSION] = session
        columns[d, C_LAST_SEQUENCE] = sequence
        columns[d, C_LAST_TIME] = time_ms
        columns[d, C_SILENT] = 0


@jit
def run(
    start: int,
    reading: int,
    device: I64,
    session: I64,
    sequence: I64,
    time_ms: I64,
    received_ms: I64,
    readings: I64,
    offset: I64,
    value: F64,
    slot: I64,
    verdict: npt.NDArray[np.uint8],
    arrays: Arrays,
    tables: Tables,
    window: int,
    silent_ms: int,
    alarms: F64,
    trace: F64,
) -> tuple[int, int, int]:
    """Apply samples from `start` on, whose first reading is `reading`.

    `device` to `offset` and `verdict` have shape (samples,), `value` and `slot` (readings,).
    Returns the next sample, its first reading, and how many alarms the sample before it raised:
    `alarms` then has rows of detector, place in SEVERITIES (or OVER), reading, score. `trace`,
    (readings, 2) or (0, 2), gets each reading's greatest score as a share of its mildest
    threshold, and the detector.
    """
    best = np.zeros(3 * GROUPS)
    speaker = np.full(3 * GROUPS, -1)
    agree = np.ones(3 * GROUPS, dtype=np.int64)
    # Taken out of the tuples once: each look at a member counts a reference.
    columns, windows, bits = arrays.columns, arrays.windows, arrays.bits
    inside, pool = arrays.inside, arrays.pool
    series_rule, series_base = arrays.series_rule, arrays.series_base
    plan, lanes, param = tables.plan, tables.lanes, tables.param.reshape(-1)
    wide = tables.param.shape[1]
    for i in range(start, len(device)):
        d = device[i]
        first = reading
        reading += readings[i]
        if offset[i] <= columns[d, C_UNTIL]:
            verdict[i] = SKIPPED
            continue
        if columns[d, C_DIRTY] < 0:
            columns[d, C_DIRTY] = offset[i]
        columns[d, C_LAST] = offset[i]
        if verdict[i] == UNDECIDED and follows(
            d, session[i], sequence[i], time_ms[i], columns, windows, bits, window
        ):
            verdict[i] = FRESH
        elif verdict[i] == UNDECIDED:
            verdict[i] = judge(
                columns[d],
                windows[d],
                bits[d],
                session[i],
                sequence[i],
                time_ms[i],
                received_ms[i],
                window,
            )
        count = 0
        last = columns[d, C_LAST_RECEIVED]
        if (
            silent_ms > 0
            and last > 0
            and received_ms[i] - last > silent_ms
            and not columns[d, C_SILENT]
        ):
            alarms[0, 0] = SILENT
            alarms[0, 1] = 0
            count = 1
        if sequence[i] < 0:
            columns[d, C_START] = BEFORE_ALL
        if verdict[i] == FRESH:
            over = _watch(
                d,
                first,
                reading,
                value,
                slot,
                time_ms[i],
                columns,
                inside,
                pool,
                series_rule,
                series_base,
                plan,
                lanes,
                param,
                wide,
                best,
                speaker,
                agree,
                trace,
            )
            if columns[d, C_INSIDE] > 0 or columns[d, C_OPEN] > 0:
                count += _raise(d, time_ms[i], arrays, tables, best, speaker, agree, alarms[count:])
            if over:
                speaker[:] = -1
        if count:
            return i + 1, reading, count
        heard(d, columns, session[i], sequence[i], time_ms[i], received_ms[i])
    return len(device), reading, 0
