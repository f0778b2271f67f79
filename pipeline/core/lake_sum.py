"""One number that tells whether two tables hold the same rows, in whatever order.

The sum, modulo 2⁶⁴, of a 64-bit hash of each row: a row that is missing, doubled or changed
changes it, and sums of parts add up to the sum of the whole. So what a claim promised can be
compared with whatever files hold its rows now. It is made against mistakes, not against an
adversary: the mixing is splitmix64's (Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014), texts go through BLAKE2b.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.core.lake_columns import Dataset
from pipeline.core.lake_kernel import mix_in, mix_words_in, total

Hashes = npt.NDArray[np.uint64]
MODULUS: Final = 2**64

_POSITION: Final = ("kafka_partition", "kafka_offset")

SUMMED: Final = {
    Dataset.TELEMETRY: (
        *("device_id", "metric", "time", "value"),
        *("source_partition", "source_offset"),
    ),
    Dataset.EVENTS: _POSITION,
    Dataset.DELIVERIES: _POSITION,
    Dataset.QUARANTINE: _POSITION,
}
"""Columns that go in: those which say what a row is, and which no evolution touches."""

_NULL: Final = 0x9E3779B97F4A7C15


def row_sum(dataset: Dataset, table: pa.Table) -> int:
    """The sum of a table of the dataset, 0 to 2⁶⁴ - 1; 0 of an empty one."""
    return column_sum(table.select(list(SUMMED[dataset])))


def column_sum(table: pa.Table) -> int:
    """The sum over all columns of a table, in their order."""
    if not table.num_rows:
        return 0
    rows = np.zeros(table.num_rows, dtype=np.uint64)
    for number, column in enumerate(table.columns):
        # Each column is mixed with its place, so values that change columns change the sum.
        place = np.uint64(number * 0xD1B54A32D192ED03 % MODULUS)
        start = 0
        for chunk in _chunks(column):
            part = rows[start : start + len(chunk)]
            start += len(chunk)
            if isinstance(chunk, pa.DictionaryArray):
                mix_words_in(part, *_of_dictionary(chunk), place)
            else:
                mix_in(part, _of_numbers(chunk), place)
    return int(total(rows))


def _chunks(column: pa.ChunkedArray) -> list[pa.Array]:
    if pa.types.is_string(column.type):
        column = column.dictionary_encode()
    chunks: list[pa.Array] = column.chunks
    return chunks


def _of_numbers(chunk: pa.Array) -> Hashes:
    if pa.types.is_floating(chunk.type):
        values = np.asarray(chunk.cast(pa.float64()), dtype=np.float64) + 0.0  # one zero
        nan = np.isnan(values)
        if nan.any():
            values[nan] = np.nan  # and one NaN
        return values.view(np.uint64)
    if pa.types.is_timestamp(chunk.type):
        chunk = chunk.view(pa.int64())
    numbers: Hashes = np.asarray(chunk.cast(pa.int64()), dtype=np.int64).view(np.uint64)
    return numbers


def _of_dictionary(chunk: pa.DictionaryArray) -> tuple[npt.NDArray[np.int32], Hashes]:
    """Codes, and the hash of each word; that of null comes last."""
    of_word = [
        int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        for word in chunk.dictionary.to_pylist()
    ]
    words = np.array([*of_word, _NULL], dtype=np.uint64)
    codes = chunk.indices.fill_null(len(of_word)) if chunk.null_count else chunk.indices
    return np.asarray(codes.cast(pa.int32()), dtype=np.int32), words
