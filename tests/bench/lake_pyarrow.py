"""pyarrow alone: rows in memory, sorted and written to S3 with the lake's own Parquet settings.

Start: python -m tests.bench.lake_pyarrow MESSAGES ROWS. Settings of S3 come from the
environment. MESSAGES of each partition are made into one Arrow table before the clock starts;
then each ROWS of it are sorted by device, metric and time, and become one file: as many as of
a range of the lake, for more at once sort slower. Writes one JSON
line: rows, seconds, cpu_s, size (bytes), peak_rss_mb.
"""

from __future__ import annotations

import io
import json
import resource
import sys
import time
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
import s3fs

from connectors.lake import mapping
from connectors.lake.config import LakeConfig
from pipeline.core.lake_columns import LAYOUTS, Dataset
from pipeline.settings import Settings
from pipeline.topology import PARTITIONS
from tests.bench.lake_load import arrival_table, play

ORDER = LAYOUTS[Dataset.TELEMETRY].order


def sortable(part: pa.Table) -> pa.Table:
    """The columns to sort by; words as their rank, which sorts several times as fast."""
    columns = []
    for name in ORDER:
        column = part[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            rank = pc.rank(column.dictionary, tiebreaker="dense")
            column = rank.take(column.indices)
        columns.append(column)
    return pa.table(columns, names=ORDER)


def main(arguments: list[str]) -> None:
    """See the module."""
    each, rows = map(int, arguments)
    config = LakeConfig.from_settings(Settings())
    files = s3fs.S3FileSystem(**config.s3fs_arguments())
    # One partition after the other: then a file has what a range of the lake has.
    table = arrival_table([one for p in range(PARTITIONS) for one in islice(play(p), each)])
    keys = [(name, "ascending") for name in ORDER]
    size = 0
    began, cpu = time.perf_counter(), time.process_time()
    for number, start in enumerate(range(0, table.num_rows, rows)):
        part = table.slice(start, rows)
        part = part.take(pc.sort_indices(sortable(part), sort_keys=keys))
        out = io.BytesIO()
        with mapping.writer(
            Dataset.TELEMETRY, part.schema, out, note="", rows=part.num_rows
        ) as file:
            file.write_table(part, row_group_size=mapping.ROW_GROUP_ROWS)
        data = out.getvalue()
        files.pipe_file(f"{config.bucket}/pyarrow/{number}.parquet", data)
        size += len(data)
    answer = {
        "rows": table.num_rows,
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu,
        "size": size,
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024,
    }
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
