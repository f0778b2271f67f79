"""The ledger's rules against a target that counts effects, whatever happens in between.

Workers, a topic of two partitions, a target and a clock, all in memory. Workers die (all that
they remember is gone), freeze, lose partitions and do not know it, do not hear Redis's answer
and ask again; Redis is emptied; finished rows expire; operators replay and edit; the target
refuses, takes without answering, and forgets. The rules that a worker keeps by itself are the
driver's: it sends nothing SETTLE after its begin, and believes "not there" only 2 SETTLE after
the last time that it may have been sent.

tests/integration/test_ledger_redis.py plays the same with the scripts in a real Redis.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pipeline.core.ledger import (
    HISTORY,
    AlreadyDone,
    AlreadyFinished,
    Begin,
    Claim,
    Ending,
    Fenced,
    Gone,
    Held,
    Hold,
    LookUpFirst,
    Mode,
    Place,
    Row,
    Send,
    State,
    Superseded,
)
from pipeline.core.ledger_table import FINISHED, KEEPS_VERSION
from tests.unit.ledger_book import ENDS, Book, CoreBook, Memory, Run, Target, name

SETTLE = 10
WORKERS = range(3)
TOOL = 2
"""An operator's tool, which replays without a token: only the rows' fences keep it in check."""
NO_TOKEN = Hold(token=0, doubt_below=0)
FIRST_OFFSET = 1
"""One event was delivered before: a group that never committed cannot know of a loss."""


workers = st.sampled_from([0, 0, 0, 0, 1, 1, 1, 2])
places = st.sampled_from([0, 0, 0, 2, 1])
answers = st.sampled_from(sorted(ENDS))
lost = st.sampled_from([False, False, True])
operators = st.sampled_from([None, None, None, None, Mode.REPLAY, Mode.EDITED])


class Deliveries(RuleBasedStateMachine):
    """Every rule is one step of one part. A key is chosen by its place among the open ones."""

    def make_book(self) -> Book:
        return CoreBook()

    def __init__(self) -> None:
        super().__init__()
        self.book = self.make_book()
        self.now = 1_000
        self.used: set[tuple[int, int]] = set()
        self.start()

    def start(self) -> None:
        """A new topic, a new target, an empty Redis."""
        self.book.empty()
        self.target = Target()
        self.produced = 0
        self.edits: Counter[str] = Counter()
        self.memories = [Memory() for _ in WORKERS]
        self.owner: dict[int, int] = {}
        self.acked: set[str] = set()
        self.newest: dict[str, str] = defaultdict(str)
        self.tokens: dict[int, int] = {}
        self.touched: set[str] = set()

    def teardown(self) -> None:
        self.book.close()

    # -- the world

    @staticmethod
    def partition(key: str) -> int:
        return int(key) % 2

    def offset(self, key: str) -> int:
        return FIRST_OFFSET + int(key) // 2

    def committed(self, partition: int) -> int:
        mine = range(partition, self.produced, 2)
        first_open = next((n for n in mine if name(n) not in self.acked), None)
        return self.end(partition) if first_open is None else self.offset(name(first_open))

    def end(self, partition: int) -> int:
        return FIRST_OFFSET + len(range(partition, self.produced, 2))

    def acknowledge(self, worker: int, key: str) -> None:
        if self.owner.get(self.partition(key)) == worker:
            self.acked.add(key)

    def key(self, place: int) -> str:
        """One of the newest keys; a new one comes where all of those are done."""
        newest = range(max(self.produced - 3, 0), self.produced)
        if all(name(n) in self.acked for n in newest) or self.produced < place + 1:
            self.produced += 1
        return name(max(self.produced - 1 - place, 0))

    @rule(
        what=st.sampled_from(["die", "empty", "expire", "forget"]),
        worker=workers,
        place=places,
    )
    def disturb(self, what: str, worker: int, place: int) -> None:
        key = self.key(place)
        match what:
            case "die":
                self.memories[worker] = Memory()
            case "empty":
                self.book.empty()
                self.tokens.clear()
                self.newest.clear()
                self.memories[TOOL] = Memory()
            case "expire":
                self.expire(key)
            case _:
                self.target.forgotten[key] += self.target.has(key)

    def expire(self, key: str) -> None:
        row = self.book.row(key)
        committed = self.committed(self.partition(key))
        if row is not None and row.state in FINISHED and self.offset(key) < committed:
            self.now += 100 * SETTLE
            self.book.expire(key)
            for memory in self.memories:
                memory.runs.pop(key, None)

    @rule(ticks=st.sampled_from([1, SETTLE - 1, 2 * SETTLE]))
    def wait(self, ticks: int) -> None:
        self.now += ticks

    # -- workers

    @rule(worker=workers, partition=st.sampled_from([0, 1]), lost=lost)
    def hold(self, worker: int, partition: int, *, lost: bool) -> None:
        self.now += 1
        memory = self.memories[worker]
        place = Place(
            committed=self.committed(partition),
            end=self.end(partition),
            held=partition in memory.seen,
        )
        [got] = self.book.hold({partition: place}, f"w{worker}", self.now).values()
        assert (partition, got.token) not in self.used, "a token that somebody had before"
        self.used.add((partition, got.token))
        self.tokens[partition] = got.token
        self.owner[partition] = worker
        if not lost:
            memory.seen.add(partition)
            memory.holds[partition] = got

    def claim(self, key: str, mode: Mode, held: Hold) -> Claim:
        payload = "first"
        if mode is Mode.FIRST and self.offset(key) < held.doubt_below:
            mode = Mode.DOUBT
        elif mode in {Mode.REPLAY, Mode.EDITED}:
            self.edits[key] += mode is Mode.EDITED and self.edits[key] < 2
            payload = f"edit {self.edits[key]}" if self.edits[key] else payload
        return Claim(
            key=key,
            payload_hash=payload,
            mode=mode,
            partition=self.partition(key),
            token=held.token,
            entity=f"entity {int(key) // 6}" if int(key) % 5 else "",
            version=key,
        )

    @rule()
    def produce(self) -> None:
        self.produced += 1

    @rule(worker=workers, places=st.sets(places, min_size=2), answer=answers, lost=lost)
    def go_on_with_some(self, worker: int, places: set[int], answer: str, *, lost: bool) -> None:
        keys = dict.fromkeys(self.key(place) for place in sorted(places))
        self.go_on(worker, list(keys), answer, lost=lost)

    @rule(worker=workers, place=places, answer=answers, operator=operators, lost=lost)
    def go_on_with_one(
        self, worker: int, place: int, answer: str, operator: Mode | None, *, lost: bool
    ) -> None:
        self.go_on(worker, [self.key(place)], answer, operator=operator, lost=lost)

    @rule(
        worker=workers,
        place=places,
        answers=st.lists(answers, min_size=2, max_size=5),
        operator=operators,
    )
    def go_far(self, worker: int, place: int, answers: list[str], operator: Mode | None) -> None:
        key = self.key(place)
        for answer in answers:
            self.go_on(worker, [key], answer, operator=operator, lost=False)

    def go_on(
        self,
        worker: int,
        keys: Sequence[str],
        answer: str,
        *,
        lost: bool,
        operator: Mode | None = None,
    ) -> None:
        """The next thing that this worker would do with each of these."""
        memory = self.memories[worker]
        runs = [memory.runs[key] for key in keys if key in memory.runs]
        ending = [run for run in runs if run.ends]
        for run in runs:
            if not run.ends:
                (self.send if run.sends else self.look)(run, answer)
        if len(runs) < len(keys):
            self.begin(worker, [key for key in keys if key not in memory.runs], operator, lost=lost)
        if ending:
            self.finish(worker, ending, lost=lost)

    def begin(self, worker: int, keys: Sequence[str], operator: Mode | None, *, lost: bool) -> None:
        memory = self.memories[worker]
        claims = []
        for key in keys:
            held = memory.holds.get(self.partition(key))
            if worker == TOOL:
                claims.append(self.claim(key, operator or Mode.REPLAY, NO_TOKEN))
            elif held is None:
                self.hold(worker, self.partition(key), lost=lost)
            elif operator is not None or key not in self.acked:
                claims.append(self.claim(key, operator or Mode.FIRST, held))
        self.now += 1
        before = {claim.key: self.book.row(claim.key) for claim in claims}
        for claim, reply in zip(
            claims, self.book.begin(claims, f"w{worker}", self.now), strict=True
        ):
            self.check_begun(claim, before[claim.key], reply)
            if not lost:
                self.heard(worker, claim, reply)

    def check_begun(self, claim: Claim, before: Row | None, reply: Begin) -> None:
        self.touched.add(claim.key)
        row = self.book.row(claim.key)
        current = self.tokens.get(claim.partition) if claim.token else 0
        assert isinstance(reply, Gone) == (current is None)
        assert isinstance(reply, Fenced) == (current not in {None, claim.token})
        if not isinstance(reply, Send | LookUpFirst | Superseded):
            assert row == before, "it writes what it must not"
            assert not isinstance(reply, AlreadyFinished) or reply.state in FINISHED
            return
        assert row is not None
        assert row.payload_hash == claim.payload_hash
        if before is not None and before.payload_hash != claim.payload_hash:
            assert claim.mode is Mode.EDITED
            assert before.state in FINISHED, "a payload is exchanged under way"
        if isinstance(reply, Send):
            assert row.state is State.IN_FLIGHT
            assert not claim.entity or claim.version >= self.newest[claim.entity], (
                "a stale version is sent"
            )
        if isinstance(reply, Superseded):
            assert row.state is State.SUPERSEDED
            assert claim.version < self.newest[claim.entity], "the newest is dropped"

    def heard(self, worker: int, claim: Claim, reply: Begin) -> None:
        memory = self.memories[worker]
        if isinstance(reply, Send | LookUpFirst):
            since = reply.since_ms if isinstance(reply, LookUpFirst) else self.now
            memory.runs[claim.key] = Run(claim, reply.fence, since, isinstance(reply, Send))
        elif isinstance(reply, Fenced | Gone):
            memory.holds.pop(claim.partition, None)
        else:
            if isinstance(reply, AlreadyDone):
                assert self.target.effects[claim.key], "nobody has it, and it is called done"
            self.acknowledge(worker, claim.key)

    def send(self, run: Run, answer: str) -> None:
        self.now += 1
        if self.now - run.since >= SETTLE:
            run.ends = [State.RETRYABLE]
            return
        self.target.effects[run.claim.key] += answer.startswith("took")
        run.ends = list(ENDS[answer])

    def look(self, run: Run, answer: str) -> None:
        self.now += 1
        if answer == "refused, and a person decides":
            run.ends = [State.DEAD_LETTERED]  # it cannot be looked up
        elif self.target.has(run.claim.key):
            run.ends = [State.SUCCEEDED]
        elif self.now >= run.since + 2 * SETTLE:
            run.ends = [State.RETRYABLE]

    def finish(self, worker: int, runs: Sequence[Run], *, lost: bool) -> None:
        self.now += 1
        endings = [
            Ending(
                key=run.claim.key,
                fence=run.fence,
                state=run.ends[0],
                target_id=f"T{run.claim.key}" if run.ends[0] is State.SUCCEEDED else None,
                code="" if run.ends[0] is State.SUCCEEDED else "why",
                partition=run.claim.partition,
                token=run.claim.token,
                entity=run.claim.entity,
                version=run.claim.version,
            )
            for run in runs
        ]
        before = {ending.key: self.book.row(ending.key) for ending in endings}
        for run, ending, reply in zip(
            runs, endings, self.book.finish(endings, f"w{worker}", self.now), strict=True
        ):
            self.check_ended(ending, before[ending.key], reply)
            if not lost:
                self.ended(worker, run, reply)

    def check_ended(self, ending: Ending, before: Row | None, reply: Held) -> None:
        self.touched.add(ending.key)
        current = self.tokens.get(ending.partition) if ending.token else 0
        assert (reply is Held.GONE) == (current is None)
        assert (reply is Held.FENCED) == (current not in {None, ending.token})
        row = self.book.row(ending.key)
        if reply is not Held.OURS:
            assert row == before, "somebody wrote who may not"
            return
        assert row is not None
        assert (row.state, row.fence) == (ending.state, ending.fence)
        if ending.state in KEEPS_VERSION and ending.entity:
            newest = self.newest[ending.entity]
            self.newest[ending.entity] = max(newest, ending.version)

    def ended(self, worker: int, run: Run, reply: Held) -> None:
        memory, key = self.memories[worker], run.claim.key
        state = run.ends.pop(0)
        if reply in {Held.FENCED, Held.GONE}:
            memory.holds.pop(run.claim.partition, None)
        if reply is not Held.OURS:
            del memory.runs[key]
            if state is State.SUCCEEDED:
                self.acknowledge(worker, key)
        elif state is State.UNKNOWN:
            run.sends = False
        elif not run.ends:
            del memory.runs[key]
            if state in FINISHED:
                self.acknowledge(worker, key)

    @rule(worker=workers)
    def calm(self, worker: int) -> None:
        """One worker alone and a target that takes everything: all ends. Then a new topic."""
        self.memories[worker] = Memory()
        for key in map(name, range(self.produced)):
            self.hold(worker, self.partition(key), lost=False)
            for _ in range(10):
                self.go_on(worker, [key], "took", lost=False)
                self.wait(SETTLE // 2)
            assert key in self.acked, "a delivery that nobody can end"
        self.start()

    # -- what always holds

    @invariant()
    def nothing_has_two_effects_and_what_succeeded_is_there(self) -> None:
        for key, count in self.target.effects.items():
            assert count <= 1 + self.target.forgotten[key], "doubled"
        for key in self.touched:
            row = self.book.row(key)
            if row is not None:
                assert row.state is not State.SUCCEEDED or self.target.effects[key], "lost"
                assert row.history[-1].state is row.state
                assert len(row.history) <= HISTORY
        self.touched.clear()
