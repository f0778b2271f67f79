from __future__ import annotations

from pathlib import Path

import pytest
import rocksdict
from faust.stores.rocksdb import Store

from pipeline.state.local_copy import discard_foreign


def database(folder: Path, partition: int, offset: int | None) -> Path:
    path = folder / f"devices-{partition}.db"
    made = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
    made.put(b"acme/e1", b"row")
    if offset is not None:
        made.put(Store.offset_key, str(offset).encode())
    made.close()
    return path


@pytest.mark.parametrize(
    ("offset", "end", "kept"),
    [
        (None, 0, True),
        (9, 10, True),
        (9, 500, True),
        (10, 10, False),
        (3932, 3870, False),
        (0, 0, False),
    ],
)
def test_a_copy_is_kept_only_while_the_changelog_holds_what_it_includes(
    tmp_path: Path, offset: int | None, end: int, *, kept: bool
) -> None:
    path = database(tmp_path, 2, offset)
    said = discard_foreign(tmp_path, cluster="A", ends={2: end})
    assert path.exists() is kept
    assert bool(said) is not kept
    if said:
        assert f"ends at {end}" in said[0]


def test_a_copy_of_another_cluster_is_discarded_whatever_its_offset(tmp_path: Path) -> None:
    first, second = database(tmp_path, 0, 3), database(tmp_path, 1, None)
    assert discard_foreign(tmp_path, cluster="A", ends={0: 10, 1: 10}) == []
    assert discard_foreign(tmp_path, cluster="A", ends={0: 10, 1: 10}) == []
    said = discard_foreign(tmp_path, cluster="B", ends={0: 10, 1: 10})
    assert len(said) == 2
    assert not first.exists()
    assert not second.exists()
    again = database(tmp_path, 0, 3)
    assert discard_foreign(tmp_path, cluster="B", ends={0: 10}) == []
    assert again.exists()
