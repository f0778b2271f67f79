"""Quix Streams' own file sink: lists of readings as JSON → Parquet files in a local folder.

Start: python -m tests.bench.peers.quix_lake

As fast as its manual allows: 1,000 readings a message and `expand` make fewest messages, a
checkpoint (and so a file for each partition) comes every COMMIT_MESSAGES, the folder is local.
Its rows stay in order of arrival and have seven columns; the lake's are sorted and have twelve.
"""

from __future__ import annotations

import os

from quixstreams import Application  # type: ignore[import-not-found] # the peers' own
from quixstreams.sinks.community.file.formats import (  # type: ignore[import-not-found]
    ParquetFormat,
)
from quixstreams.sinks.community.file.local import (  # type: ignore[import-not-found]
    LocalFileSink,
)


def main() -> None:
    """Run until SIGTERM."""
    # Its sink takes a folder below the one it is in, without a minus in its name.
    os.chdir(os.environ["BENCH_FOLDER"])
    app = Application(
        broker_address=os.environ["BENCH_BOOTSTRAP"],
        consumer_group=os.environ["BENCH_NAME"],
        auto_offset_reset="earliest",
        processing_guarantee="at-least-once",
        commit_every=int(os.environ["BENCH_COMMIT_MESSAGES"]),
        commit_interval=3_600,
    )
    source = app.topic(
        os.environ["BENCH_SOURCE"], key_deserializer="bytes", value_deserializer="json"
    )
    readings = app.dataframe(source).apply(lambda message: message, expand=True)
    readings.sink(LocalFileSink(directory="rows", format=ParquetFormat(compression="zstd")))
    app.run()


if __name__ == "__main__":
    main()
