from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.bench import bridge, detect, latency, restart, two_workers
from tests.bench.broker import BenchError
from tests.bench.load import Loaded
from tests.bench.shapes import FULL, QUICK, SINGLE
from tests.bench.two_workers import Window


def test_without_options_every_engine_plays_the_headline_and_ours_plays_the_rest() -> None:
    plan = detect.plan([])
    assert plan.sizes is FULL
    assert [shape.name for shape in plan.shapes] == ["single", "ten", "million"]
    assert plan.runs == 3 * (5 + 1 + 1)


def test_quick_is_one_run_of_the_headline_in_small() -> None:
    plan = detect.plan(["--quick"])
    assert (plan.sizes, plan.repeats, plan.shapes) == (QUICK, 1, (SINGLE,))


def test_engines_take_turns_in_one_order_however_they_are_named() -> None:
    assert detect.plan(["--only", "quix,fieldline,quix"]).engines == ("fieldline", "quix")


def test_an_unknown_engine_is_refused_with_the_names_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        detect.plan(["--only", "flink"])
    assert "there is no engine flink" in capsys.readouterr().err


@pytest.mark.parametrize("module", [detect, latency, bridge, restart, two_workers])
def test_every_bench_says_what_it_does(module: object, capsys: pytest.CaptureFixture[str]) -> None:
    main: Callable[[list[str]], int] = module.main  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "--quick" in capsys.readouterr().out


def window() -> Window:
    loaded = Loaded(shape=SINGLE, readings=8_000)
    loaded.edges = {p: [0, 1_000, 2_000] for p in range(4)}
    return Window(loaded)


def test_two_workers_are_rated_while_all_partitions_have_work() -> None:
    seen = window()
    seen.look(1.0, {0: 1, 1: 0, 2: 0, 3: 0}, 0.0)
    seen.all_here({0: 1, 1: 0, 2: 0, 3: 0})
    seen.look(2.0, {0: 1, 1: 1, 2: 1, 3: 1}, 0.0)
    assert not seen.waits
    with pytest.raises(BenchError):
        seen.result()
    seen = window()
    seen.all_here({0: 0, 1: 0, 2: 0, 3: 0})
    seen.look(2.0, {0: 1, 1: 1, 2: 1, 3: 1}, 10.0)
    seen.look(4.0, {0: 2, 1: 1, 2: 1, 3: 1}, 11.0)
    seen.look(9.0, {0: 2, 1: 2, 2: 2, 3: 2}, 99.0)
    assert seen.result() == (500.0, 2.0, 0.5)


def test_two_workers_that_never_worked_together_have_no_rate() -> None:
    seen = window()
    seen.all_here({0: 0, 1: 0, 2: 0, 3: 0})
    seen.look(2.0, {0: 2, 1: 0, 2: 2, 3: 2}, 0.0)
    with pytest.raises(BenchError, match="play more"):
        seen.result()
