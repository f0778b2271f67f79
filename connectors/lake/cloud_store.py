"""The lake in Google Cloud Storage or Azure Blob Storage, through fsspec's own file systems.

Both refuse a name that is taken where they are asked to: gcsfs sends ifGenerationMatch=0 (Cloud
Storage, "Request preconditions"), adlfs If-None-Match: * (Azure Storage, "Conditional headers"),
and both raise FileExistsError then. Credentials are the cloud's own chain: for Google
GOOGLE_APPLICATION_CREDENTIALS or the machine's account, for Azure AZURE_STORAGE_CONNECTION_STRING
or AZURE_STORAGE_ACCOUNT_NAME with a key or a managed identity.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import fsspec
from aiohttp import ClientError

from connectors.lake.base import (
    Content,
    Created,
    Deleted,
    Exists,
    Missing,
    Names,
    Object,
    Objects,
    Unavailable,
)
from connectors.lake.config import LakeConfig
from connectors.lake.threaded_store import ThreadedStore
from pipeline.settings import SettingsError

_T = TypeVar("_T")

PAGE: Final = 1_000
"""Names in one listing, as in S3."""
CALLS: Final = 16
"""Calls at once. A call that was given up goes on in its thread for as long as the cloud's client
tries again, and while a cloud is away these must not take the threads that others wait for."""

_EXTRAS: Final[Mapping[str, tuple[str, str, str]]] = {
    "gs": ("gcs", "gcsfs.retry", "HttpError"),
    "abfs": ("azure", "azure.core.exceptions", "AzureError"),
}
"""Scheme → our extra that installs its file system, and the error that it raises."""
SCHEMES: Final = tuple(_EXTRAS)


class CloudStore(ThreadedStore):
    """An ObjectStore over a bucket or container; `config.url` is gs://bucket or abfs://container.

    Its calls run in threads: neither file system belongs to one event loop. SettingsError where
    the extra that speaks to this cloud is not installed.
    """

    def __init__(self, config: LakeConfig) -> None:
        scheme = urlsplit(config.url).scheme
        extra, module, error = _EXTRAS[scheme]
        try:
            self._errors = (
                *(OSError, TimeoutError, ValueError, ClientError),
                getattr(importlib.import_module(module), error),
            )
            self._fs: Any = fsspec.filesystem(
                scheme, use_listings_cache=False, skip_instance_cache=True
            )
        except ImportError as missing:
            raise SettingsError(
                f"A lake at {scheme}:// needs one more package: "
                f"install it with pip install 'fieldline[{extra}]'."
            ) from missing
        self._config = config
        self._threads = ThreadPoolExecutor(CALLS, thread_name_prefix="lake")
        self._root = self._fs._strip_protocol(config.url)  # noqa: SLF001 - fsspec's way for paths

    def __repr__(self) -> str:
        return f"CloudStore({self._config.url})"

    async def close(self) -> None:
        """Begin no call any more. Sessions end with the process: fsspec closes them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, function: Callable[..., _T], *arguments: object) -> _T | Unavailable:
        try:
            async with asyncio.timeout(self._config.call_s):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, function, *arguments)
        except self._errors as error:
            return Unavailable(
                reason=f"{self!r} does not answer as it should ({type(error).__name__}): "
                "it is tried again; check LAKE_URL and the cloud's credentials."
            )

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _put_new(self, key: str, data: bytes) -> Created | Exists:
        try:
            self._fs.pipe_file(self._path(key), data, mode="create")
        except FileExistsError:
            return Exists()
        return Created()

    def _read(self, key: str, size: int | None) -> Content | Missing:
        path = self._path(key)
        try:
            whole = int(self._fs.info(path)["size"])
            start = None if size is None or size >= whole else whole - size
            return Content(data=self._fs.cat_file(path, start=start), size=whole)
        except FileNotFoundError:
            return Missing()

    def _list_after(self, prefix: str, after: str) -> Names:
        try:
            found = self._fs.find(self._path(prefix.rstrip("/")))
        except FileNotFoundError:
            found = []
        cut = len(self._root) + 1
        names = sorted(name for path in found if (name := path[cut:]) > after)
        return Names(names=tuple(names[:PAGE]), more=len(names) > PAGE)

    def _delete(self, key: str) -> Deleted:
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(key))
        return Deleted()

    def _objects(self, prefix: str, after: str) -> Objects:
        folder = self._path(prefix.rpartition("/")[0])
        try:
            found = self._fs.find(folder, detail=True)
        except FileNotFoundError:
            found = {}
        cut = len(self._root) + 1
        objects = (
            Object(
                key=path[cut:],
                size=int(told["size"]),
                # As gcsfs and adlfs call it.
                changed_ms=int((told.get("mtime") or told["last_modified"]).timestamp() * 1000),
            )
            for path, told in found.items()
            if path[cut:].startswith(prefix) and path[cut:] > after
        )
        return Objects(objects=tuple(sorted(objects, key=lambda one: one.key)), more=False)
