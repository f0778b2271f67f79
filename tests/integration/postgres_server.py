"""A PostgreSQL server for a test: Debian's, in a folder of its own, killed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg

from tests.integration.redis_server import free_port
from tests.waiting import first

USER = "fieldline"
PASSWORD = "password-of-the-dashboards"
DATABASE = "postgres"
_PACKAGE = "postgresql"
_UP_S = 120.0
_APT_S = 600


def programs() -> Path:
    """Folder of initdb and postgres; installed with apt where they are missing and we may."""
    found = _found()
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        for told in (
            ["update", "-q"],
            ["install", "-y", "-q", "--no-install-recommends", _PACKAGE],
        ):
            subprocess.run(["apt-get", *told], env=env, timeout=_APT_S, check=False)
        found = _found()
    assert found, f"PostgreSQL is missing: install it with `sudo apt-get install {_PACKAGE}`."
    return found


def _found() -> Path | None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    on_path = shutil.which("postgres")
    return places[-1].parent if places else Path(on_path).parent if on_path else None


class Postgres:
    """One server on the loopback address. It refuses to run as root, so then it is another's."""

    def __init__(self) -> None:
        self._bin = programs()
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._data = self._home / "data"
        self._as: list[str] = []
        if os.geteuid() == 0:
            who = pwd.getpwnam("postgres" if _known("postgres") else "nobody")
            os.chown(self._home, who.pw_uid, who.pw_gid)
            ids = (f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}")
            self._as = ["setpriv", *ids, "--clear-groups"]
        self._process: subprocess.Popen[bytes] | None = None
        word = self._home / "password"
        word.write_text(PASSWORD)
        word.chmod(0o644)
        self._run(
            *(str(self._bin / "initdb"), "-D", str(self._data), "-U", USER, "-E", "UTF8"),
            *("--locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={word}", "--no-sync"),
        )
        # Not before: making the files takes seconds, in which another may take the port.
        self.port = free_port()

    @property
    def url(self) -> str:
        """For TIMESERIES_URL."""
        return f"postgresql://127.0.0.1:{self.port}/{DATABASE}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = self._spawn()
        up = await first(self._answers, within_s=_UP_S)
        assert up, (self._home / "log").read_text()[-2_000:]
        assert self._process.poll() is None, (self._home / "log").read_text()[-2_000:]

    def _spawn(self) -> subprocess.Popen[bytes]:
        with (self._home / "log").open("ab") as log:
            return subprocess.Popen(
                [
                    *self._as,
                    *(str(self._bin / "postgres"), "-D", str(self._data)),
                    *("-p", str(self.port), "-c", "listen_addresses=127.0.0.1"),
                    *("-c", "unix_socket_directories=", "-c", "fsync=off"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def kill(self) -> None:
        """SIGKILL to the server and, as it does itself then, the end of its children."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    async def fetch(self, sql: str, *given: object) -> list[Any]:
        """Rows."""
        connection = await self._connect()
        try:
            return list(await connection.fetch(sql, *given))
        finally:
            await connection.close()

    async def _answers(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            return True  # it will not come: there is nothing to wait for
        try:
            await (await self._connect()).close()
        except (OSError, asyncpg.PostgresError):
            return False
        return True

    async def _connect(self) -> Any:  # noqa: ANN401 - asyncpg has no types
        return await asyncpg.connect(
            host="127.0.0.1",
            port=self.port,
            user=USER,
            password=PASSWORD,
            database=DATABASE,
            ssl=False,
        )

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            [*self._as, *command], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-2_000:]


def _known(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True
