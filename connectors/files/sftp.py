"""SFTP behind httpx's own seam: a transport that executes GET, HEAD and PUT on files.

| request | does |
|---|---|
| GET | the file's bytes; 404 where it is not there |
| HEAD | 200 where there is a file or folder, 404 where not |
| PUT | writes staging/RANDOM.part, flushes it to disk, then renames: never half a file |
| PUT, If-None-Match: * | the same, but never over a file: 412 |

A refusal is a response with the status code's name in `x-sftp-status`, the server's words as
its text. Trouble of the connection is told exactly: ConnectError where nothing can have been
renamed, ReadError where the rename had been sent. The host key is checked against known_hosts;
nothing of the user's own SSH configuration, keys or agent is used.

Renames: SSH_FXP_RENAME refuses to overwrite (draft-ietf-secsh-filexfer-02, 6.5);
posix-rename@openssh.com overwrites at once (OpenSSH, PROTOCOL, 4.3). Where a server lacks the
latter, the old file is removed first.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Final
from urllib.parse import urlsplit

import asyncssh
import httpx
from asyncssh import constants

from connectors.files.answers import HOST_KEY, LOGIN, STATUS
from connectors.files.config import FilesSettings, keys_of

FILE_MAX: Final = 8 * 1024 * 1024
"""Largest file that is read, bytes."""
KEEPALIVE_S: Final = 15.0
_HOME = "/~/"
_NAMES: Mapping[int, str] = {
    code: name
    for name, code in vars(constants).items()
    if name.startswith("FX_") and not name.endswith("_END")
}
_NOT_THERE = (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath)
_LOST = (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection)


class SftpTransport(httpx.AsyncBaseTransport):
    """One SSH connection, made when needed and made again after a loss."""

    def __init__(self, settings: FilesSettings) -> None:
        self._settings = settings
        parts = urlsplit(settings.url)
        self._host, self._port = parts.hostname or "", parts.port or 22
        self._root = _path(httpx.URL(settings.base()))
        self._connection: asyncssh.SSHClientConnection | None = None
        self._client: asyncssh.SFTPClient | None = None
        self._lock = asyncio.Lock()
        self._folders: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request; raises httpx.TransportError and nothing else."""
        try:
            client = await self._session()
        except asyncssh.PermissionDenied:
            return _answer(httpx.codes.UNAUTHORIZED, LOGIN, "the server refuses user and key")
        except (asyncssh.HostKeyNotVerifiable, ValueError):  # or known_hosts has no sound line
            return _answer(httpx.codes.UNAUTHORIZED, HOST_KEY, "the server's key is not known")
        except (asyncssh.Error, OSError, EOFError) as error:
            raise httpx.ConnectError(type(error).__name__, request=request) from error
        path = _path(request.url)
        try:
            if request.method == "PUT":
                return await self._put(client, path, request)
            return await self._read(client, path, request)
        except (httpx.TransportError, asyncio.CancelledError):
            # A server answers one request after the other (OpenSSH's does): what waits too long
            # would hold up all that come after it.
            self._forget(client)
            raise

    async def aclose(self) -> None:
        """End the connection."""
        if self._client is not None:
            self._forget(self._client)

    # -- requests

    async def _read(
        self, client: asyncssh.SFTPClient, path: str, request: httpx.Request
    ) -> httpx.Response:
        try:
            if request.method == "HEAD":
                await client.stat(path)
                return httpx.Response(httpx.codes.OK)
            async with client.open(path, "rb") as file:
                data = await file.read(FILE_MAX + 1)
        except asyncssh.SFTPError as error:
            return _refusal(error, request)
        except (asyncssh.Error, OSError, EOFError) as error:
            raise httpx.ReadError(type(error).__name__, request=request) from error
        if len(data) > FILE_MAX:
            raise httpx.RemoteProtocolError(f"the file has more than {FILE_MAX} bytes")
        return httpx.Response(httpx.codes.OK, content=data)

    async def _put(
        self, client: asyncssh.SFTPClient, path: str, request: httpx.Request
    ) -> httpx.Response:
        part = f"{self._root}/staging/{secrets.token_hex(16)}.part"
        try:
            await self._make_folders(client, part)
            await self._make_folders(client, path)
            async with client.open(part, "wb") as file:
                await file.write(request.content)
                with suppress(asyncssh.SFTPOpUnsupported):  # then it decides when it is on disk
                    await file.fsync()
        except _LOST as error:
            raise httpx.ConnectError(type(error).__name__, request=request) from error
        except asyncssh.SFTPError as error:
            self._folders.clear()
            return _refusal(error, request)
        except (asyncssh.Error, OSError, EOFError) as error:
            raise httpx.ConnectError(type(error).__name__, request=request) from error
        try:
            if request.headers.get("if-none-match") == "*":
                await client.rename(part, path)
            else:
                await self._replace(client, part, path)
        except asyncssh.SFTPError as error:
            refused = _refusal(error, request)  # or raises: then it may have been renamed
            self._folders.clear()
            return await self._not_renamed(client, part, path, request, refused)
        except (asyncssh.Error, OSError, EOFError) as error:
            raise httpx.ReadError(type(error).__name__, request=request) from error
        written = hashlib.sha256(request.content).hexdigest()
        return httpx.Response(httpx.codes.CREATED, headers={"etag": f'"{written}"'})

    async def _replace(self, client: asyncssh.SFTPClient, part: str, path: str) -> None:
        try:
            await client.posix_rename(part, path)
        except asyncssh.SFTPOpUnsupported:
            with suppress(*_NOT_THERE):
                await client.remove(path)
            await client.rename(part, path)

    async def _not_renamed(
        self,
        client: asyncssh.SFTPClient,
        part: str,
        path: str,
        request: httpx.Request,
        refused: httpx.Response,
    ) -> httpx.Response:
        """412 where there is a file; OpenSSH says no more than FX_FAILURE then."""
        # What the rename said stands; the part is rubbish, and no reader's business.
        with suppress(asyncssh.Error, OSError, EOFError):
            if request.headers.get("if-none-match") == "*" and await client.exists(path):
                refused = httpx.Response(httpx.codes.PRECONDITION_FAILED)
            await client.remove(part)
        return refused

    async def _make_folders(self, client: asyncssh.SFTPClient, path: str) -> None:
        """Those between the root and a file; a server's word that one is there is not asked for."""
        below = path.removeprefix(f"{self._root}/").split("/")[:-1]
        folder = self._root
        for name in below:
            folder = f"{folder}/{name}"
            if folder not in self._folders:
                try:
                    await client.mkdir(folder)
                except _LOST:
                    raise
                except asyncssh.SFTPError:
                    pass  # it is there, or opening the file will say what is wrong
                self._folders.add(folder)

    # -- the connection

    async def _session(self) -> asyncssh.SFTPClient:
        async with self._lock:
            if self._client is None:
                told = self._settings
                connection = await asyncssh.connect(
                    self._host,
                    self._port,
                    username=told.username,
                    password=told.password.get_secret_value() if told.password else None,
                    client_keys=keys_of(told),
                    known_hosts=str(told.known_hosts),
                    agent_path=None,
                    config=None,
                    connect_timeout=told.timeout_s,
                    login_timeout=told.timeout_s,
                    keepalive_interval=KEEPALIVE_S,
                )
                with ExitStack() as undo:  # or each try would leave a connection behind
                    undo.callback(connection.abort)
                    self._client = await connection.start_sftp_client()
                    undo.pop_all()
                self._connection = connection
            return self._client

    def _forget(self, client: asyncssh.SFTPClient) -> None:
        if self._client is client and self._connection is not None:
            self._connection.abort()
            self._client = self._connection = None
            self._folders.clear()


def _path(url: httpx.URL) -> str:
    path = url.path.rstrip("/")
    return path.removeprefix(_HOME) if path.startswith(_HOME) else path


def _refusal(error: asyncssh.SFTPError, request: httpx.Request) -> httpx.Response:
    if isinstance(error, _LOST):
        raise httpx.ReadError(type(error).__name__, request=request) from error
    status = httpx.codes.NOT_FOUND if isinstance(error, _NOT_THERE) else 500
    return _answer(status, _NAMES.get(error.code, f"FX_{error.code}"), error.reason)


def _answer(status: int, name: str, words: str) -> httpx.Response:
    return httpx.Response(status, headers={STATUS: name}, text=words)
