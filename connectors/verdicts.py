"""From what came of a conversation to the next step of each of its runs. No I/O.

Three rules beyond the policy's own:

- A fault of the connector's code never leaves as an exception: it is Unknown once a request
  that can have an effect went out, else Rejected with code `connector.bug`. In a batch it is
  charged to nobody: each run goes again by itself, so one event cannot reject the others.
- An Unknown that turns out not to be there is charged to the event's own budget only where
  the target has taken something since it was sent. Else it may be the system that hangs on
  writes, and an outage is never a reason for the DLQ.
- A refusal is written as retryable; `Driver.settle` writes its end (see driver.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from connectors.exchange import Exchange
from connectors.gate import Evidence
from connectors.jobs import Run
from pipeline.core.ledger import State
from pipeline.core.outcome import (
    Delivered,
    Found,
    LookUp,
    NotFound,
    Outcome,
    Rejected,
    Retryable,
    Scope,
    Undecidable,
    Unknown,
)
from pipeline.core.retry import (
    LOOKS,
    DeadLetter,
    Finish,
    LookUpAfter,
    RetryAfter,
    Step,
    after_look_up,
    backoff,
    next_step,
    wished,
)
from pipeline.core.sinks import SinkPolicy

BUG = "connector.bug"
MAPPING = "mapping."
_OUTCOMES = get_args(Outcome)
_LOOK_UPS = get_args(LookUp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One run's part in a round.

    `state` is what to write; None leaves the row as it is. `system` is what this says of the
    system as a whole: True up, False down, None nothing.
    """

    run: Run
    outcome: Outcome
    step: Step
    state: State | None
    system: bool | None
    stay_away_s: float = 0.0

    @property
    def code(self) -> str:
        """Cause for the ledger's row; '' where it was delivered."""
        return "" if isinstance(self.outcome, Delivered) else self.outcome.code


def after_sends(
    runs: Sequence[Run],
    exchange: Exchange[Sequence[Outcome]],
    *,
    keyed: bool,
    policy: SinkPolicy,
    jitter: Callable[[], float],
) -> list[Turn]:
    """One turn per run that was sent, in order. `keyed`: the target keeps each to once."""
    results = _items(exchange, len(runs), _OUTCOMES)
    crowd = len(runs) > 1
    turns = []
    for run, result in zip(runs, results, strict=True):
        broken = result is None and not exchange.late
        outcome = _trouble(exchange) if result is None else result
        if broken and crowd:
            run.alone = True
        run.last = outcome
        run.lost = isinstance(outcome, Unknown)
        run.bug = run.lost and broken and not crowd
        run.request_hash = exchange.request_hash or run.request_hash
        retry = policy.retry_for("" if isinstance(outcome, Delivered) else outcome.code)
        step: Step
        if broken and crowd and not exchange.wrote:
            step = RetryAfter(delay_s=0.0)
        elif keyed and isinstance(outcome, Unknown):
            run.outages += 1
            step = RetryAfter(delay_s=backoff(run.outages, policy=retry, jitter=jitter()))
        else:
            attempt = _charge(run, outcome)
            step = next_step(
                outcome, attempt=attempt, elapsed_s=run.waited_s, policy=retry, jitter=jitter()
            )
            _spend(run, outcome, step)
        if isinstance(step, Finish):
            state = State.SUCCEEDED
        else:
            state = State.UNKNOWN if run.lost else State.RETRYABLE
        away_s = wished(getattr(outcome, "retry_after_s", None), policy=retry)
        turns.append(
            Turn(
                run=run,
                outcome=outcome,
                step=step,
                state=state,
                system=None if result is None else _system(outcome),
                stay_away_s=away_s,
            )
        )
    return turns


def first_look(run: Run, since_s: float, *, settle_s: float) -> LookUpAfter:
    """When to look for what may have been sent so many seconds ago.

    NotFound is believed 2 · settle_s after the send: with two looks on the way there, or with
    one where all that time has passed already.
    """
    if since_s >= LOOKS * settle_s:
        run.looks = max(run.looks, LOOKS - 1)
    return LookUpAfter(delay_s=min(max(settle_s - since_s, 0.0), settle_s))


def after_answers(
    runs: Sequence[Run],
    exchange: Exchange[Sequence[LookUp]],
    *,
    taken_s: float,
    policy: SinkPolicy,
    jitter: Callable[[], float],
) -> list[Turn]:
    """One turn per run that was looked up; `taken_s` is when the target took something last."""
    answers = _items(exchange, len(runs), _LOOK_UPS)
    turns = []
    for run, answer in zip(runs, answers, strict=True):
        if answer is None and len(runs) > 1:
            run.alone = True
            again = LookUpAfter(delay_s=0.0)
            turns.append(Turn(run=run, outcome=_blind(), step=again, state=None, system=None))
            continue
        turns.append(
            _after_answer(run, answer or _blind(), taken_s=taken_s, policy=policy, jitter=jitter())
        )
    return turns


def _after_answer(
    run: Run, answer: LookUp, *, taken_s: float, policy: SinkPolicy, jitter: float
) -> Turn:
    attempt = run.own
    retry = policy.retry_for(answer.code if isinstance(answer, Retryable) else run.code)
    if isinstance(answer, Retryable):
        attempt = _charge(run, answer)
    else:
        run.looks += 1
    if isinstance(answer, NotFound) and run.looks >= LOOKS:
        if run.lost and (run.bug or taken_s > run.sent_s):
            run.own += 1
            run.waited_s += LOOKS * retry.settle_s
        attempt, run.lost, run.bug = run.own, False, False
    step = after_look_up(
        answer,
        looks=run.looks,
        attempt=attempt,
        elapsed_s=run.waited_s,
        policy=retry,
        jitter=jitter,
    )
    if isinstance(answer, Undecidable):
        unresolved = Unknown(code=answer.code, message=answer.message)
        return Turn(run=run, outcome=unresolved, step=step, state=None, system=None)
    if isinstance(answer, Found):
        found = Delivered(target_id=answer.target_id, created=False)
        return Turn(run=run, outcome=found, step=step, state=State.SUCCEEDED, system=True)
    if isinstance(answer, Retryable):
        _spend(run, answer, step)
        return Turn(
            run=run,
            outcome=answer,
            step=step,
            state=None,
            system=None if answer.code == BUG else _system(answer),
            stay_away_s=wished(answer.retry_after_s, policy=retry),
        )
    absent = run.last
    if not isinstance(absent, Unknown):
        message = "It may have been sent before, and the target does not have it."
        absent = Unknown(code="delivery.absent", message=message)
    # Twice not there is certain: the row says so even where the budget is used up.
    state = State.RETRYABLE if isinstance(step, RetryAfter | DeadLetter) else None
    return Turn(run=run, outcome=absent, step=step, state=state, system=True)


def evidence_of(turns: Sequence[Turn], exchange: Exchange[Any]) -> Evidence | None:
    """What a round says about the system: up where it answered for any event."""
    told = [turn for turn in turns if turn.system is not None]
    if exchange.calls == 0 or not told:
        return None
    if any(turn.system for turn in told):
        return Evidence(up=True)
    reason = next((turn.code for turn in told if turn.code), "")
    away_s = max(turn.stay_away_s for turn in told)
    return Evidence(up=False, stay_away_s=away_s, reason=reason)


def _system(outcome: Outcome) -> bool | None:
    """Whether an outcome shows the system up (True) or down (False); None for neither."""
    match outcome:
        case Unknown() | Retryable(scope=Scope.SYSTEM):
            return False
        case Rejected(code=code) if code.startswith(MAPPING):
            return None  # refused before anything was sent
        case _:
            return True


def _items(exchange: Exchange[Any], count: int, kinds: tuple[type, ...]) -> list[Any]:
    """One result per run; None where the connector gave none, or none that is known."""
    result = exchange.result
    if not isinstance(result, Sequence) or len(result) != count:
        return [None] * count
    return [item if isinstance(item, kinds) else None for item in result]


def _trouble(exchange: Exchange[Any]) -> Outcome:
    if exchange.late:
        message = "The worker was held up for so long that it does not send any more."
        if exchange.wrote:
            return Unknown(code="delivery.late", message=message)
        return Retryable(code="delivery.late", message=message, scope=Scope.SYSTEM)
    message = f"The connector's own code failed ({exchange.bug or 'no usable outcome'})."
    if exchange.wrote:
        return Unknown(code=BUG, message=message)
    return Rejected(code=BUG, message=message)


def _blind() -> Retryable:
    message = "The connector's look-up failed in its own code."
    return Retryable(code=BUG, message=message, scope=Scope.ITEM)


def _charge(run: Run, outcome: Outcome) -> int:
    """Count a failure; its number in its own scope."""
    if isinstance(outcome, Retryable):
        if outcome.scope is Scope.ITEM:
            run.own += 1
            return run.own
        run.outages += 1
        return run.outages
    return run.own


def _spend(run: Run, outcome: Outcome, step: Step) -> None:
    own = isinstance(outcome, Retryable) and outcome.scope is Scope.ITEM
    if own and isinstance(step, RetryAfter | LookUpAfter):
        run.waited_s += step.delay_s
