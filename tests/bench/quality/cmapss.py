"""Quality of detection on NASA's C-MAPSS FD001: engines that run to failure, and cut records.

    python -m tests.bench.quality.cmapss [--data DIR] [--rules FILE] [--out FILE] [--fit]

Warnings: the rules, through the very core of the detect agent, over the 100 training engines.
In time is an engine whose first warning or critical event comes 20 to 80 cycles before its
failure; a false alarm is one in the first half of its life. The default rules were chosen on
these engines (ADR 0004 has the cross-validated figure); so the 100 test engines, whose records
end 7 to 145 cycles before failure, are asked too: who was warned too early, and who of those
that come as near as 20 cycles was warned in time.

Remaining life: pipeline.core.remaining_life, learnt from the training engines only, asked at
the last cycle of each of the 100 test engines. RMSE and score as in Saxena, Goebel, Simon and
Eklund, "Damage Propagation Modeling for Aircraft Engine Run-to-Failure Simulation", PHM 2008:
sum of exp(-d/13) - 1 for d < 0 and exp(d/10) - 1 else, d = predicted - true. As is usual in
the literature since Heimes (PHM 2008) the true life is capped at 125; both figures are given.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.detect import At, Detection
from pipeline.core.events import Action, Severity
from pipeline.core.registry import Registry
from pipeline.core.remaining_life import Model, fit, follow
from pipeline.core.telemetry import Sample, pack
from pipeline.simulate.cmapss import CYCLE_MS, ENGINES, SENSORS, device_name, load_fleet
from pipeline.state.rules_file import load

F64 = npt.NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT.parent / "shared" / "data" / "cmapss"
RULES = ROOT / "infra" / "config" / "rules.yaml"
OUT = ROOT / ".local" / "bench" / "cmapss.json"
PROGRAM = "python -m tests.bench.quality.cmapss"
MODEL = Path(__file__).with_name("remaining_life_fd001.json")

NEAR, FAR = 20, 80
"""Cycles before failure between which a warning is in time."""
CAP = 125.0
_START_MS = 1_790_000_000_000
_WINDOW = 64
_IN_MESSAGE = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Warnings:
    """Shares are of `engines`; leads are cycles before failure of the first warnings."""

    engines: int
    in_time: float
    too_early: float
    too_late_or_never: float
    first_half: float
    lead_p05: float
    lead_median: float
    lead_p95: float
    events_an_engine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Counts of engines whose records end before failure; `near`: those that reach 20 cycles."""

    engines: int
    too_early: int
    near: int
    near_in_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Remaining:
    """Errors of the predicted remaining life, in cycles; `score` is NASA's, a sum."""

    engines: int
    rmse: float
    score: float
    rmse_uncapped: float
    score_uncapped: float
    within_10: float
    """Share of engines whose prediction is at most 10 cycles off."""


def moments(values: F64, device: str, rules: Path) -> list[tuple[int, Severity]]:
    """(index of the cycle, severity) of every event that the core raises about one engine."""
    detection = Detection(load(rules), Registry(), window=_WINDOW)
    samples = [
        Sample(
            device_id=f"quality/{device}",
            session=1,
            sequence=n,
            time_ms=_START_MS + n * CYCLE_MS,
            received_ms=_START_MS + n * CYCLE_MS,
            readings=tuple(zip(SENSORS, row, strict=True)),
        )
        for n, row in enumerate(values.tolist())
    ]
    found: list[tuple[int, Severity]] = []
    for offset, first in enumerate(range(0, len(samples), _IN_MESSAGE)):
        at = At(topic="quality", partition=0, offset=offset)
        decisions = detection.apply([(at, pack(samples[first : first + _IN_MESSAGE]))])
        raised = (e for d in decisions for e in d.events if e.action is Action.RAISE)
        found += [(e.source.sequence, e.severity) for e in raised]
    return found


def first_warnings(engines: Sequence[F64], rules: Path) -> tuple[F64, int]:
    """Index of the cycle of each engine's first warning (inf: none), and how many in all."""
    firsts, events = [], 0
    for number, values in enumerate(engines):
        told = [n for n, grave in moments(values, device_name(number), rules) if _warns(grave)]
        events += len(told)
        firsts.append(min(told, default=math.inf))
    return np.array(firsts, dtype=np.float64), events


def warnings(engines: Sequence[F64], rules: Path) -> Warnings:
    """How the rules do on engines that were run to failure."""
    first, events = first_warnings(engines, rules)
    life = np.array([len(values) for values in engines], dtype=np.float64)
    lead = life - 1.0 - first
    known = lead[np.isfinite(lead)] if np.isfinite(lead).any() else np.array([math.nan])
    return Warnings(
        engines=len(engines),
        in_time=float(_in_time(lead).mean()),
        too_early=float((lead > FAR).mean()),
        too_late_or_never=float((lead < NEAR).mean()),
        first_half=float((first < life / 2).mean()),
        lead_p05=float(np.percentile(known, 5)),
        lead_median=float(np.median(known)),
        lead_p95=float(np.percentile(known, 95)),
        events_an_engine=events / len(engines),
    )


def records(engines: Sequence[F64], truth: F64, rules: Path) -> Records:
    """How the rules do on engines whose record ends `truth` cycles before failure."""
    first, _ = first_warnings(engines, rules)
    lead = np.array([len(values) for values in engines]) - 1.0 + truth - first
    near = truth <= NEAR
    return Records(
        engines=len(engines),
        too_early=int((lead > FAR).sum()),
        near=int(near.sum()),
        near_in_time=int((near & _in_time(lead)).sum()),
    )


def _in_time(lead: F64) -> npt.NDArray[np.bool_]:
    return (lead >= NEAR) & (lead <= FAR)


def _warns(severity: Severity) -> bool:
    return severity in {Severity.WARNING, Severity.CRITICAL}


def remaining(model: Model, engines: Sequence[F64], truth: F64) -> Remaining:
    """How a model does at the last cycle of engines whose remaining life is `truth`."""
    predicted = np.array([predict(model, values)[-1] for values in engines])
    capped = predicted - np.minimum(truth, CAP)
    return Remaining(
        engines=len(engines),
        rmse=rmse(capped),
        score=nasa_score(capped),
        rmse_uncapped=rmse(predicted - truth),
        score_uncapped=nasa_score(predicted - truth),
        within_10=float((np.abs(capped) <= 10.0).mean()),
    )


def predict(model: Model, values: F64) -> F64:
    """Remaining life after every cycle of one engine."""
    return follow(model, values[:, [SENSORS.index(name) for name in model.metrics]])


def rmse(errors: F64) -> float:
    """Root mean square."""
    return float(np.sqrt((errors**2).mean()))


def nasa_score(errors: F64) -> float:
    """Saxena et al. 2008, equation 2: predicting too late costs more than too early."""
    return float(np.where(errors < 0, np.expm1(-errors / 13.0), np.expm1(errors / 10.0)).sum())


def cross_validated(engines: Sequence[F64], folds: int = 5) -> float:
    """RMSE, truth capped, on engines left out of the fit: at cycles as test records end.

    Those are cycles from the 31st on with 7 to 145 left, as in the test set's ranges.
    """
    errors = []
    for fold in range(folds):
        model = fit([v for n, v in enumerate(engines) if n % folds != fold], SENSORS, most=CAP)
        for values in engines[fold::folds]:
            left = np.arange(len(values))[::-1]
            asked = (left >= 7) & (left <= 145) & (np.arange(len(values)) >= 30)
            errors.append((predict(model, values) - np.minimum(left, CAP))[asked])
    return rmse(np.concatenate(errors))


def stored() -> Model:
    """The model of FD001 that is kept beside this file."""
    return Model.from_dict(json.loads(MODEL.read_text()))


def same(one: Model, other: Model) -> bool:
    """Whether two models are equal but for what differs between machines' linear algebra."""
    return one.metrics == other.metrics and np.allclose(
        np.concatenate([np.atleast_1d(v) for k, v in one.as_dict().items() if k != "metrics"]),
        np.concatenate([np.atleast_1d(v) for k, v in other.as_dict().items() if k != "metrics"]),
        rtol=1e-6,
        atol=1e-9,
    )


def truth_of(path: Path) -> F64:
    """The remaining lives of the test engines, shape (engines,)."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="ascii") as file:
        return np.loadtxt(file, dtype=np.float64, ndmin=1)


def measure(data: Path, rules: Path) -> dict[str, Any]:
    """All figures of both questions, by the files of FD001 in `data`."""
    train = load_fleet(data / "train_FD001.txt.gz", ENGINES).engines
    test = load_fleet(data / "test_FD001.txt.gz", ENGINES).engines
    truth = truth_of(data / "RUL_FD001.txt")
    life = asdict(remaining(stored(), test, truth))
    return {
        "rules": load(rules).label,
        "warnings": asdict(warnings(train, rules)),
        "test_records": asdict(records(test, truth, rules)),
        "remaining_life": {**life, "rmse_cross_validated": cross_validated(train)},
        "model_is_current": same(fit(train, SENSORS, most=CAP), stored()),
    }


def told(figures: Mapping[str, Any]) -> str:
    """What `measure` found, for people."""
    warned = Warnings(**figures["warnings"])
    cut = Records(**figures["test_records"])
    life = dict(figures["remaining_life"])
    crossed = life.pop("rmse_cross_validated")
    left = Remaining(**life)
    text = (
        f"C-MAPSS FD001, {warned.engines} engines run to failure, rules {figures['rules']}\n"
        f"  first warning 20 to 80 cycles before failure  {warned.in_time:6.0%}   (goal 95 %)\n"
        f"  false alarm in the first half of life         {warned.first_half:6.0%}   (goal < 5 %)\n"
        f"  too early {warned.too_early:.0%}, too late or never {warned.too_late_or_never:.0%}; "
        f"lead {warned.lead_p05:.0f} / {warned.lead_median:.0f} / {warned.lead_p95:.0f} cycles "
        f"(5 % / median / 95 %); {warned.events_an_engine:.1f} events an engine\n"
        f"  test records: {cut.too_early} of {cut.engines} warned too early; of "
        f"{cut.near} that reach 20 cycles {cut.near_in_time} in time\n"
        f"Remaining life, {left.engines} test engines, truth capped at {CAP:.0f} cycles\n"
        f"  RMSE {left.rmse:.1f} cycles (goal < 20), NASA score {left.score:.0f}, "
        f"{left.within_10:.0%} within 10 cycles\n"
        f"  truth not capped: RMSE {left.rmse_uncapped:.1f}, score {left.score_uncapped:.0f}; "
        f"cross-validated on the training engines: RMSE {crossed:.1f}\n"
    )
    if not figures["model_is_current"]:
        text += f"{MODEL.name} is not what fits now: run {PROGRAM} --fit.\n"
    return text


def main(arguments: Sequence[str]) -> int:
    """Print the figures and write them to a file; 1 where the stored model is not the fitted."""
    parser = argparse.ArgumentParser(prog=PROGRAM)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the FD001 files")
    parser.add_argument("--rules", type=Path, default=RULES, help="rules to judge")
    parser.add_argument("--out", type=Path, default=OUT, help="where the figures go, as JSON")
    parser.add_argument("--fit", action="store_true", help=f"write {MODEL.name} anew")
    asked = parser.parse_args(arguments)
    if asked.fit:
        train = load_fleet(asked.data / "train_FD001.txt.gz", ENGINES).engines
        model = fit(train, SENSORS, most=CAP)
        MODEL.write_text(json.dumps(model.as_dict(), indent=1) + "\n")
    figures = measure(asked.data, asked.rules)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(figures, indent=2) + "\n")
    sys.stdout.write(told(figures))
    return 0 if figures["model_is_current"] else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
