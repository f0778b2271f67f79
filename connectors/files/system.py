"""The file batch as the registry knows it."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from connectors.answers import transport_rows
from connectors.base import Effect
from connectors.files.answers import NAME, ROWS
from connectors.files.config import FilesSettings
from connectors.files.mapping import ROW
from connectors.files.protocol import FilesConnector
from connectors.files.sftp import SftpTransport
from connectors.system import CallSpec, MapSpec, System, reads

_BEFORE = "nothing: only a manifest counts, so it is written again"


def _mounts(settings: FilesSettings) -> Mapping[str, httpx.AsyncBaseTransport]:
    return {"sftp://": SftpTransport(settings)} if settings.is_sftp else {}


SYSTEM = System(
    name=NAME,
    title="File batch (SFTP, S3)",
    settings=FilesSettings,
    make=FilesConnector,
    objects={
        "row": MapSpec(
            canonical="ServiceOrder",
            fields=ROW,
            owner="the reader of the files, once it has read them",
            conflict="files are never changed; rows of one device are ordered by `version`",
        )
    },
    calls=(
        CallSpec(
            step="mark",
            request="PUT keys/{key}.json",
            effect=Effect.KEYED_WRITE,
            key="the event's id, as the name of the file",
            once="a plain value by name; If-None-Match: * tells whether the key is new",
            unknown=_BEFORE,
        ),
        CallSpec(
            step="data",
            request="PUT data/{day}/{name}-{sum}",
            effect=Effect.KEYED_WRITE,
            key="a digest of the batch's keys and of its rows, as the name of the file",
            once="same name, same bytes",
            unknown=_BEFORE,
        ),
        CallSpec(
            step="manifest",
            request="PUT manifests/{day}/{name}.json",
            effect=Effect.WRITE,
            key="a digest of the batch's keys, as the name of the file; the keys in it",
            once="If-None-Match: *; keys whose mark names a written manifest are not sent again",
            unknown="each key is looked up: its mark, then the manifest that it names",
        ),
        reads("look_up", "GET keys/{key}.json, GET manifests/{day}/{name}.json"),
        reads(
            "look_for_record", "GET keys/{key of the raise}.json, GET manifests/{day}/{name}.json"
        ),
        reads("check", "HEAD the folder or bucket"),
    ),
    answers=(*ROWS, *transport_rows(NAME)),
    unsure=(
        "Whether an SFTP server's rename is atomic: OpenSSH's is (link and unlink, or rename(2)).",
        "Codes above 8 are told by few SFTP servers; most say FX_FAILURE.",
    ),
    mounts=_mounts,
)
