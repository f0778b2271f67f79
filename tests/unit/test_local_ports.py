import socket
from itertools import chain, cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local import ports
from infra.local.part import StackError


def test_a_port_with_a_listener_is_not_free_and_is_free_again_once_it_is_gone() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        taken = server.getsockname()[1]
        assert not ports.is_free(taken)
    assert ports.is_free(taken)


def test_a_remembered_port_is_kept_while_it_is_free() -> None:
    assert ports.choose(["kafka"], {"kafka": 20_123}, free=lambda _: True) == {"kafka": 20_123}


def test_a_remembered_port_that_somebody_took_gives_way_to_a_new_one() -> None:
    with socket.create_server((ports.LOOPBACK, 0)) as server:
        taken = server.getsockname()[1]
        chosen = ports.choose(["redis"], {"redis": taken})
    assert chosen["redis"] != taken
    assert ports.FIRST <= chosen["redis"] <= ports.LAST


@given(
    remembered=st.dictionaries(st.sampled_from("abcde"), st.integers(-1, 40)),
    busy=st.sets(st.integers(1, 20)),
    others=st.sets(st.integers(1, 40), max_size=10),
    draws=st.lists(st.integers(1, 60), max_size=20),
)
def test_every_name_gets_a_free_port_of_its_own(
    remembered: dict[str, int], busy: set[int], others: set[int], draws: list[int]
) -> None:
    drawn = chain(draws, cycle(range(1, 61)))
    chosen = ports.choose(
        "abcde",
        remembered,
        taken=others,
        free=lambda port: port not in busy,
        pick=lambda: next(drawn),
    )
    assert set(chosen) == set("abcde")
    assert len(set(chosen.values())) == len(chosen)
    assert not set(chosen.values()) & (busy | others)


def test_a_machine_without_a_free_port_is_said_to_be_so() -> None:
    with pytest.raises(StackError, match="No free port"):
        ports.choose(["kafka"], {}, free=lambda _: False)
