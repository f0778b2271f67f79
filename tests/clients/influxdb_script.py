"""InfluxData's own client: writes points of all kinds; says what it was told."""

from __future__ import annotations

import json
import sys

from influxdb_client import (
    InfluxDBClient,
    Point,
    WritePrecision,
)
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.write_api import SYNCHRONOUS

given = json.load(sys.stdin)
said: dict[str, object] = {}
with InfluxDBClient(
    url=given["url"], token=given["token"], org=given["org"], enable_gzip=given["gzip"]
) as client:
    said["ping"] = client.ping()
    write = client.write_api(write_options=SYNCHRONOUS)
    for _ in range(2):
        write.write(
            bucket=given["bucket"],
            record=[
                Point("machine one")
                .tag("device", "acme/truck 1,a=b")
                .field("coolant, c", 80.5)
                .field("note", 'says "hi", = \\ there')
                .field("count", 7)
                .field("open", True)  # noqa: FBT003 - the client's own
                .time(1795257000000 + n, WritePrecision.MS)
                for n in range(3)
            ],
            write_precision=WritePrecision.MS,
        )
    for name, change in (("type", {"count": "seven"}), ("token", {})):
        try:
            if name == "token":
                with InfluxDBClient(url=given["url"], token="no", org=given["org"]) as other:
                    other.write_api(write_options=SYNCHRONOUS).write(
                        bucket=given["bucket"], record="m f=1 1"
                    )
            point = Point("machine one").tag("device", "x")
            for field, value in change.items():
                point = point.field(field, value)
            write.write(bucket=given["bucket"], record=point)
        except InfluxDBError as error:
            said[name] = [error.response.status, error.message]
print(json.dumps(said))  # noqa: T201 - it is what the test reads
