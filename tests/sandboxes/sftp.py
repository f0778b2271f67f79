"""A real SSH server with a folder that a reader watches: the far end of the file batch.

asyncssh's own SFTP server on real files, OpenSSH's extensions included, with the knobs of the
HTTP sandboxes between: a read is 'GET path', the opening of a part 'WRITE path', a rename onto
a name 'PUT path' with the file's text as its body. Statuses stand for status codes of SFTP
(`CODES`); one that none stands for is told as it is, which no draft knows. `html` and `truncate`
break the protocol: the connection ends.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncssh

from tests.sandboxes.files_reader import Reader
from tests.sandboxes.journal import Journal
from tests.sandboxes.knobs import Fault, Knobs
from tests.waiting import blocking_until

USER = "fieldline"
PASSWORD = "password-of-the-file-drop"
FOLDER = "drop"
START_S = 20.0
CODES = {
    400: asyncssh.FX_INVALID_PARAMETER,
    401: asyncssh.FX_PERMISSION_DENIED,
    403: asyncssh.FX_PERMISSION_DENIED,
    404: asyncssh.FX_NO_SUCH_FILE,
    500: asyncssh.FX_FAILURE,
    503: asyncssh.FX_FAILURE,
}
logging.getLogger("asyncssh").setLevel(logging.CRITICAL)


class Told(asyncssh.SFTPError):
    """A status code as it is: asyncssh makes those of later drafts FX_FAILURE."""

    def encode(self, version: int) -> bytes:
        """The packet's end."""
        kept, self.code = self.code, 4
        try:
            rest: bytes = super().encode(version)[4:]
        finally:
            self.code = kept
        return self.code.to_bytes(4, "big") + rest


class SftpDrop:
    """One server and its folder (tests/sandboxes/box.py FarEnd)."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "files"
        (self.root / FOLDER).mkdir(parents=True)
        self.known_hosts = home / "known_hosts"
        self.plain = False
        self.url = ""
        self.knobs = Knobs()
        self.requests = 0
        self.logins = 0
        self.own_journal = Journal()
        self.reader = Reader(self.own_journal)
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        self.connections: set[asyncssh.SSHServerConnection] = set()

    def stop(self) -> None:
        """End serving; from any thread."""
        self._loop.call_soon_threadsafe(self._stop.set)

    def journal(self) -> list[dict[str, Any]]:
        """What the reader has done, in order."""
        return self.own_journal.as_json()

    def stats(self) -> dict[str, Any]:
        """Counts."""
        return {
            "requests": self.requests,
            "logins": self.logins,
            "manifests": self.reader.manifests,
            "limited": 0,
            "max_at_once": 0,
            "times": [],
            "faults_used": [fault.used for fault in self.knobs.faults],
        }

    def faults(self, *faults: dict[str, Any]) -> None:
        """These and no others."""
        self.knobs.set_faults(faults)

    def errors(self, *errors: dict[str, Any]) -> None:
        """These and no others; `code` is a name (FX_…)."""
        self.knobs.set_errors(errors)

    def limit(self, requests: int, window_s: float) -> None:
        """A file server has none."""
        del requests, window_s

    def expire(self) -> None:
        """It has no sessions but connections."""

    def clear(self) -> None:
        """Forget what was read; the files stay."""
        self.knobs, self.own_journal = Knobs(), Journal()
        self.reader = Reader(self.own_journal)

    def files(self, below: str = "") -> dict[str, bytes]:
        """Every file below a folder of the drop, by path."""
        top = self.root / FOLDER
        return {
            str(path.relative_to(top)): path.read_bytes()
            for path in sorted((top / below).rglob("*"))
            if path.is_file()
        }

    async def serve(self) -> None:
        """Until `stop` is called."""
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[key],
            server_factory=lambda: Door(self),
            sftp_factory=lambda channel: Files(channel, self),
            allow_scp=False,
        )
        port = server.sockets[0].getsockname()[1]
        public = key.export_public_key().decode().strip()
        self.known_hosts.write_text(f"[127.0.0.1]:{port} {public}\n", encoding="ascii")
        self.url = f"sftp://127.0.0.1:{port}/{FOLDER}"
        await self._stop.wait()
        server.close()
        for connection in tuple(self.connections):
            connection.abort()
        await server.wait_closed()


class Door(asyncssh.SSHServer):
    """Who may come in: one user, by password or key."""

    def __init__(self, far: SftpDrop) -> None:
        self._far = far
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """A connection."""
        self._connection = conn
        self._far.connections.add(conn)
        self._far.logins += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """And its end."""
        del exc
        if self._connection is not None:
            self._far.connections.discard(self._connection)

    def password_auth_supported(self) -> bool:
        """It is."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """The one there is."""
        return (username, password) == (USER, PASSWORD)

    def public_key_auth_supported(self) -> bool:
        """It is."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """The one there is."""
        return username == USER and key.public_data == self._far.client_key.public_data


class Files(asyncssh.SFTPServer):
    """The folder, with knobs before and after what is done in it."""

    def __init__(self, channel: Any, far: SftpDrop) -> None:  # noqa: ANN401 - asyncssh's
        super().__init__(channel, chroot=str(far.root).encode())
        self._far = far

    async def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        """For reading, or to write a part ('WRITE path')."""
        await self._before("WRITE" if pflags & asyncssh.FXF_WRITE else "GET", path, b"")
        return super().open(path, pflags, attrs)

    async def stat(self, path: bytes) -> Any:  # noqa: ANN401 - asyncssh's
        """Is it there?"""
        await self._before("HEAD", path, b"")
        return super().stat(path)

    async def rename(self, oldpath: bytes, newpath: bytes) -> None:
        """A name appears, where there was none."""
        await self._appear(oldpath, newpath, super().rename)

    async def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        """A name appears, over what was there; `plain` servers cannot do that."""
        if self._far.plain:
            raise asyncssh.SFTPOpUnsupported("no posix-rename@openssh.com here")
        await self._appear(oldpath, newpath, super().posix_rename)

    async def _appear(self, old: bytes, new: bytes, do: Any) -> None:  # noqa: ANN401 - a method
        far, content = self._far, self._bytes(old)
        fault = await self._before("PUT", new, content)
        name = new.decode().removeprefix(f"/{FOLDER}/")
        if name.startswith("data/") and (code := far.knobs.error(content.decode("latin-1"))):
            raise Told(getattr(asyncssh, code), f"refused with {code}, as told")
        do(old, new)
        if name.startswith("manifests/"):
            far.reader.take(content, read=lambda path: (far.root / FOLDER / path).read_bytes())
        if fault is not None and fault.mode in {"drop_after", "truncate"}:
            self._drop()

    def _bytes(self, path: bytes) -> bytes:
        return Path(self.map_path(path).decode()).read_bytes()

    async def _before(self, method: str, path: bytes, content: bytes) -> Fault | None:
        far = self._far
        far.requests += 1
        fault = far.knobs.fault(method, path.decode(), content.decode("latin-1"))
        if fault is None:
            return None
        await asyncio.sleep(fault.delay_s)
        if fault.mode == "hang":
            await asyncio.Event().wait()
        if fault.mode in {"drop_before", "html"}:
            self._drop()
        if fault.mode == "echo":
            said = f"cannot: {method} {path!r} {content!r}"
            raise Told(CODES.get(fault.status, asyncssh.FX_FAILURE), said)
        if fault.mode == "answer" and fault.status:
            raise Told(CODES.get(fault.status, fault.status), fault.body_text)
        return fault

    def _drop(self) -> None:
        self.connection.abort()
        raise asyncssh.SFTPConnectionLost("the connection is gone")


@contextmanager
def served() -> Iterator[SftpDrop]:
    """A server in a thread, for the length of the block."""
    with tempfile.TemporaryDirectory() as home:
        far = SftpDrop(Path(home))
        thread = threading.Thread(target=lambda: asyncio.run(far.serve()), name="sftp", daemon=True)
        thread.start()
        try:
            blocking_until(lambda: bool(far.url), within_s=START_S)
            yield far
        finally:
            far.stop()
            thread.join(START_S)
