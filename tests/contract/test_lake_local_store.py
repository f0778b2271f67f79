"""A folder keeps a bucket's promises: whole or not at all, once, and trouble is a value."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connectors.lake import base
from connectors.lake.local_store import PAGE, LocalStore


def files(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def test_a_name_is_written_once_and_read_whole_or_in_part(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert await store.put_new("a/b/one", b"hello") == base.Created()
    assert await store.put_new("a/b/one", b"other") == base.Exists()
    assert await store.get("a/b/one") == base.Content(data=b"hello", size=5)
    assert await store.tail("a/b/one", 2) == base.Content(data=b"lo", size=5)
    assert await store.tail("a/b/one", 99) == base.Content(data=b"hello", size=5)
    for name in ("a/b/none", "none/at/all", "a/b/one/below"):
        assert await store.get(name) == base.Missing()
    assert files(tmp_path) == ["one"], "nothing is left over"


async def test_of_many_writers_at_once_one_wins_and_its_bytes_are_there(tmp_path: Path) -> None:
    stores = [LocalStore(tmp_path) for _ in range(8)]
    told = [b"%d" % number * 10_000 for number in range(8)]
    answers = await asyncio.gather(
        *(store.put_new("d=1/x", data) for store, data in zip(stores, told, strict=True))
    )
    assert answers.count(base.Created()) == 1
    assert answers.count(base.Exists()) == 7
    winner = told[answers.index(base.Created())]
    assert await stores[0].get("d=1/x") == base.Content(data=winner, size=len(winner))


async def test_names_are_listed_in_order_after_a_name_and_page_by_page(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for number in range(5):
        await store.put_new(f"c/{number:03d}", b"")
    await store.put_new("other/000", b"")
    (tmp_path / "c/.half.part").write_bytes(b"a writer that died")
    assert await store.list_after("c/", "c/001") == base.Names(
        names=("c/002", "c/003", "c/004"), more=False
    )
    assert await store.list_after("none/", "") == base.Names(names=(), more=False)
    for number in range(PAGE + 1):
        (tmp_path / f"c/{number:06d}").touch()
    page = await store.list_after("c/", "c/")
    assert isinstance(page, base.Names)
    assert (len(page.names), page.more) == (PAGE, True)
    assert list(page.names) == sorted(page.names)


async def test_a_folder_that_cannot_be_written_is_a_value_with_a_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    answer = await LocalStore(tmp_path / "file").put_new("a/one", b"")
    assert isinstance(answer, base.Unavailable)
    assert "give the worker the right" in answer.reason


async def test_a_name_that_another_gave_is_on_the_disk_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought: list[Path] = []
    monkeypatch.setattr("connectors.lake.local_store._bring", brought.append)
    store = LocalStore(tmp_path)
    await store.put_new("a/b/one", b"x")
    assert brought == [tmp_path / "a", tmp_path, tmp_path / "a/b"]
    brought.clear()
    assert await store.put_new("a/b/one", b"x") == base.Exists()
    assert brought == [tmp_path / "a/b"]
