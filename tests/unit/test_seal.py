from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from pipeline.state.seal import Seal


@dataclass
class Store:
    """Rows as (bytes, checkpoint, before) and the last note (number, total)."""

    rows: dict[str, tuple[bytes, int, int]] = field(default_factory=dict)
    note: tuple[int, int] = (0, 0)

    def load(self) -> Seal:
        seal = Seal(self.note[0])
        for device, (row, checkpoint, before) in self.rows.items():
            seal.found(device, row, checkpoint=checkpoint, before=before)
        return seal

    def whole(self) -> bool:
        return self.load().claimed == self.note[1]


def checkpoint(store: Store, seal: Seal, devices: list[str], stamp: int, cut: int | None) -> None:
    """Rows in order, then the note; `cut`: the process ends after so many writes."""
    for n, device in enumerate(devices):
        if n == cut:
            return
        row = f"{device}-{stamp}".encode()
        store.rows[device] = (row, seal.checkpoint, seal.before(device))
        seal.write(device, row)
    if cut is not None:
        return
    store.note = (seal.checkpoint, seal.total)
    seal.note()


devices = st.lists(st.sampled_from("abcde"), max_size=5, unique=True)
steps = st.lists(st.tuples(devices, st.none() | st.integers(0, 5)), max_size=25)


@given(steps)
def test_however_checkpoints_were_cut_short_the_copy_is_whole(
    steps: list[tuple[list[str], int | None]],
) -> None:
    store = Store()
    seal = store.load()
    for stamp, (chosen, cut) in enumerate(steps):
        checkpoint(store, seal, chosen, stamp, cut)
        assert store.whole()
        if cut is not None:
            seal = store.load()


@given(steps, st.data())
def test_a_row_that_is_older_than_it_should_be_is_found(
    steps: list[tuple[list[str], int | None]], data: st.DataObject
) -> None:
    store = Store()
    seal = store.load()
    older: list[tuple[str, tuple[bytes, int, int] | None]] = []
    for stamp, (chosen, _) in enumerate(steps):
        older += [(device, store.rows.get(device)) for device in chosen]
        checkpoint(store, seal, chosen, stamp, None)
    if not older:
        return
    device, row = data.draw(st.sampled_from(older))
    if row is None:
        del store.rows[device]
    else:
        store.rows[device] = row
    assert not store.whole()
