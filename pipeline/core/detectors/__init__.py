"""Detectors: each a pure function from one more reading of a series to a score.

A module here has

- `FIELDS`: how many float64 of state it keeps per series (a metric of a device), at most 64;
- `PARAMS`: the names of its parameters, in the order in which `step` takes them;
- `step(state, param, value, time_ms) -> score`, under `pipeline.core.jit.jit`.

`state` is a float64 array of shape (FIELDS,), all zeros for a series that has seen nothing;
`step` changes it in place and has no other memory. `param` is a float64 array of shape
(len(PARAMS),). `value` is finite, at most MAX_VALUE in size; `time_ms` is the reading's event
time as float64, ms since the Unix epoch, and may stand still or go back by a little. The
score is a float64 without a sign: the greater, the more unusual, and 0.0 (or less) while the
detector has not seen enough to judge. It is never NaN.

`step` runs per reading, millions of times a second: constant work, no allocation, only
arithmetic, comparisons, and sqrt, exp, log where there is no way around.
A module may have `prepare(param)`, which works out once what `step_prepared`, with the same
signature as `step`, then takes in place of the parameters. It also has, as plain Python,
`explain(state, param, value)` (numbers for a person at the moment of an alarm) and
`confidence(score, enter_samples)` (0 to 1, with its meaning).

What turns scores into events (thresholds, hysteresis, episodes) is pipeline.core.kernel.
"""

from typing import Final

MAX_VALUE: Final = 1e150
"""Readings beyond are not scored: differences and products of two must stay finite."""
