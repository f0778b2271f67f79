"""The lake into a warehouse: one pass over the datasets, many, or only the statements."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from connectors.lake.config import LakeConfig
from connectors.warehouse.base import (
    Entry,
    Halt,
    Result,
    Retry,
    Step,
    TroubleError,
    Warehouse,
    Way,
    WrongError,
)
from connectors.warehouse.dialects import Dialect, groups
from connectors.warehouse.files import LakeFiles
from connectors.warehouse.ledger import entries
from connectors.warehouse.sql_load import choose
from connectors.warehouse.warehouses import dialect_of, load_of
from pipeline.core.lake_columns import Dataset
from pipeline.settings import Settings, SettingsError

Progress = Callable[[Dataset, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be loaded: datasets, the first date ('' = all), whether all of it anew."""

    warehouse: Warehouse
    datasets: tuple[Dataset, ...]
    since: str = ""
    anew: bool = False


def once(settings: Settings, wanted: Wanted, on_progress: Progress) -> Iterator[Result]:
    """One pass; a result for each dataset as it comes."""
    for dataset in wanted.datasets:
        side = _side(settings, wanted, dataset, on_progress)
        if isinstance(side, LakeFiles):
            load = load_of(wanted.warehouse, _config(settings), side.put)
            yield load.load(side, side.columns, anew=wanted.anew)
        else:
            yield side


def check(settings: Settings, wanted: Wanted, on_progress: Progress) -> Iterator[Result]:
    """Rows there against rows here, all dates; nothing is loaded."""
    for dataset in wanted.datasets:
        side = _side(settings, wanted, dataset, on_progress)
        if isinstance(side, LakeFiles):
            yield load_of(wanted.warehouse, _config(settings), side.put).check(side)
        else:
            yield side


def continuously(
    settings: Settings,
    wanted: Wanted,
    every_s: float,
    tell: Callable[[Result], None],
) -> Halt:
    """Passes with pauses of `every_s` seconds, until a person must look: why.

    KeyboardInterrupt may end it anywhere: a transaction that is open is undone.
    """
    while True:
        for result in once(settings, wanted, lambda _dataset, _done, _total: None):
            tell(result)
            if isinstance(result, Halt):
                return result
        time.sleep(every_s)


def ledger(
    settings: Settings, wanted: Wanted
) -> Iterator[tuple[Dataset, tuple[Entry, ...] | Retry | Halt]]:
    """What was loaded when, by dataset."""
    for dataset in wanted.datasets:
        side = _side(settings, wanted, dataset, lambda _dataset, _done, _total: None)
        if isinstance(side, LakeFiles):
            yield dataset, load_of(wanted.warehouse, _config(settings), side.put).ledger(side)
        else:
            yield dataset, side


def forget(
    settings: Settings, wanted: Wanted, device: str
) -> Iterator[tuple[Dataset, Retry | Halt | None]]:
    """Delete a device's rows from the warehouse's tables."""
    for dataset in wanted.datasets:
        side = _side(settings, wanted, dataset, lambda _dataset, _done, _total: None)
        if isinstance(side, LakeFiles):
            load = load_of(wanted.warehouse, _config(settings), side.put)
            yield dataset, load.forget(side, device)
        else:
            yield dataset, side


def statements(
    settings: Settings, wanted: Wanted, *, now: str, device: str = "", over_the_lake: bool = False
) -> Iterator[str]:
    """The same as texts, as if the warehouse were empty: nothing is written, nobody is asked."""
    for dataset in wanted.datasets:
        side = _side(settings, wanted, dataset, lambda _dataset, _done, _total: None)
        if not isinstance(side, LakeFiles):
            raise SettingsError(side.reason)
        dialect = dialect_of(wanted.warehouse, _config(settings), lambda _key, _data: None)
        try:
            if device:
                yield dialect.forget_device(dataset, device)
            elif over_the_lake:
                yield dialect.over_the_lake(dataset, side.columns, side.metadata_key)
            else:
                yield from dialect.create(dataset, side.columns)
                yield from load_statements(dialect, side, now=now)
        except (TroubleError, WrongError) as error:
            raise SettingsError(str(error)) from error


def load_statements(dialect: Dialect, side: LakeFiles, *, now: str) -> Iterator[str]:
    """What brings all files of the snapshot."""
    chosen = choose(side, (), anew=False, most=dialect.most)
    if isinstance(chosen, str):
        raise SettingsError(chosen)
    for step in chosen:
        yield from _step(dialect, side, step, now)


def _step(dialect: Dialect, side: LakeFiles, step: Step, now: str) -> Iterator[str]:
    dataset, token = side.dataset, "print"
    if dialect.warehouse is Warehouse.BIGQUERY:
        # One job, whatever the files' columns: its configuration says how it reads them.
        yield dialect.bring(dataset, 0, step.files, token)
        return
    sorts = groups(step.files)
    for number, group in enumerate(sorts):
        yield from dialect.stage(dataset, number, group, token)
    yield dialect.begin
    yield from dialect.turn(dataset)
    if step.way is Way.ANEW:
        yield from dialect.clear(dataset, step.dates)
    for number, group in enumerate(sorts):
        yield dialect.bring(dataset, number, group, token)
    yield from dialect.note(dataset, entries(step, snapshot=side.snapshot, at=now))
    yield dialect.commit
    for number in range(len(sorts)):
        yield from dialect.unstage(number, token)


def _config(settings: Settings) -> LakeConfig:
    return LakeConfig.from_settings(settings)


def _side(
    settings: Settings, wanted: Wanted, dataset: Dataset, on_progress: Progress
) -> LakeFiles | Retry | Halt:
    try:
        return LakeFiles(
            _config(settings),
            dataset,
            since=wanted.since,
            on_progress=lambda done, total: on_progress(dataset, done, total),
        )
    except TroubleError as error:
        return Retry(reason=str(error))
    except WrongError as error:
        return Halt(reason=str(error))


def all_datasets(names: Sequence[str]) -> tuple[Dataset, ...]:
    """Datasets by name, all where none is named; SettingsError for one that is not there."""
    try:
        return tuple(Dataset(name) for name in names) or tuple(Dataset)
    except ValueError:
        raise SettingsError(
            f"There is no dataset of that name: choose among {', '.join(Dataset)}."
        ) from None
