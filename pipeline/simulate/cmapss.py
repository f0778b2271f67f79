"""NASA's C-MAPSS FD001: 100 turbofan engines, run to failure (infra/sample/cmapss)."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.settings import SettingsError

SAMPLE = Path(__file__).resolve().parents[2] / "infra" / "sample" / "cmapss"
TRAIN = SAMPLE / "train_FD001.txt.gz"
ENGINES = 100
CYCLE_MS = 600_000
"""Event time from one cycle to the next: ten minutes."""

# fmt: off
SENSORS = (
    "T2", "T24", "T30", "T50", "P2", "P15", "P30", "Nf", "Nc", "epr", "Ps30", "phi", "NRf", "NRc",
    "BPR", "farB", "htBleed", "Nf_dmd", "PCNfR_dmd", "W31", "W32",
)
# fmt: on
"""The 21 sensors in the order of their columns, by the symbols of Saxena et al. 2008, table 2.

T in degrees Rankine, P in psia, N in rpm, phi in pps/psi, W in lbm/s; the others are ratios.
"""
_FIRST_SENSOR = 5
_COLUMNS = _FIRST_SENSOR + len(SENSORS)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Engines 1 to n. `engines[i]` has shape (cycles of engine i+1, 21): row c-1 is cycle c."""

    engines: tuple[npt.NDArray[np.float64], ...]

    @property
    def lives(self) -> tuple[int, ...]:
        """Cycles of each engine until its failure."""
        return tuple(len(values) for values in self.engines)


def device_name(engine: int) -> str:
    """Name of the engine with index `engine` (from 0) within its tenant."""
    return f"engine-{engine + 1:03d}"


def load_fleet(path: Path = TRAIN, engines: int = ENGINES) -> Fleet:
    """The first `engines` engines of a C-MAPSS file; SettingsError where it is unusable."""
    try:
        with gzip.open(path, "rt", encoding="ascii") as file:
            table = np.loadtxt(file, dtype=np.float64, ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise SettingsError(
            f"The sample data {path} cannot be read ({error}): take it from the repository again."
        ) from error
    if table.shape[1] != _COLUMNS or int(table[-1, 0]) < engines:
        raise SettingsError(f"The sample data {path} is no C-MAPSS table of {engines} engines.")
    return Fleet(
        tuple(table[table[:, 0] == number, _FIRST_SENSOR:] for number in range(1, engines + 1))
    )
