"""A real ERP for the local stack: Tryton 8 on SQLite, with projects, on loopback.

Tryton's own server command serves it. That is werkzeug's threaded server: one thread and
one connection per request (HTTP/1.0). It was kept after measuring: about 60 one-order and
400 batched creates a second on one core, nearly all of it spent in Tryton's own code, so
that another WSGI server would only add a dependency. Its line per request is turned off by
the logging configuration.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx

from infra.local.part import Command, StackError

DATABASE = "erp"
USER = "fieldline"
MODULES = ("party", "company", "currency", "project", "product", "sale_opportunity")
CHECKOUT = Path(__file__).resolve().parents[2]
_BUILD_DEADLINE_S = 300.0
_PROBE_TIMEOUT_S = 2.0

_CONFIGURATION = """\
[web]
listen = 127.0.0.1:{port}
root =
[database]
uri = sqlite://
path = {path}
"""
_LOGGING = """\
[loggers]
keys = root,requests
[handlers]
keys = stderr
[formatters]
keys = line
[logger_root]
level = WARNING
handlers = stderr
[logger_requests]
level = WARNING
handlers =
qualname = werkzeug
[handler_stderr]
class = StreamHandler
formatter = line
args = (sys.stderr,)
[formatter_line]
format = %(asctime)s %(levelname)s %(name)s %(message)s
"""


def _private(path: Path, text: str) -> None:
    """Write a file that only we may read, whole or not at all."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


class Tryton:
    """Tryton as one part of the stack; everything it keeps is in `folder`."""

    name = "tryton"

    def __init__(self, *, port: int, folder: Path, log_dir: Path) -> None:
        self.port = port
        self._folder = folder.absolute()
        self._log = log_dir.absolute() / "tryton-prepare.log"
        self._database = self._folder / "db" / f"{DATABASE}.sqlite"
        self._passwords = (self._folder / "admin.password", self._folder / "fieldline.password")

    def prepare(self) -> None:
        """Configuration, passwords and, once, the database (about ten seconds)."""
        self._database.parent.mkdir(parents=True, exist_ok=True)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        missing = [path for path in self._passwords if not path.exists()]
        for path in missing:
            _private(path, secrets.token_urlsafe(24))
        _private(self._folder / "logging.conf", _LOGGING)
        self._configure(self._folder / "trytond.conf", self._database.parent)
        if not self._database.exists():
            self._build()
        elif missing:
            self._setup(self._folder / "trytond.conf")

    def command(self) -> Command:
        """Tryton's server; `-d` loads the database before it starts to listen."""
        return Command(
            argv=(
                self._program("trytond"),
                *("-c", str(self._folder / "trytond.conf")),
                *("--logconf", str(self._folder / "logging.conf")),
                *("-d", DATABASE),
            )
        )

    def ready(self) -> bool:
        """Whether it serves our database."""
        call = {"id": 1, "method": "common.db.list", "params": []}
        try:
            reply = httpx.post(
                f"http://127.0.0.1:{self.port}/rpc/",
                json=call,
                timeout=_PROBE_TIMEOUT_S,
                trust_env=False,
            )
            return DATABASE in reply.json()["result"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False

    def after_start(self) -> None:
        """Nothing: company and user are made with the database, before it counts as made."""

    def settings(self) -> Mapping[str, str]:
        """Address, user and password for the connector."""
        return {
            "TRYTON_URL": f"http://127.0.0.1:{self.port}/{DATABASE}",
            "TRYTON_USER": USER,
            "TRYTON_PASSWORD": self._passwords[1].read_text(encoding="utf-8").strip(),
            # On loopback an answer comes soon or never: what a crash left in flight is then
            # looked up, and believed missing, within seconds instead of a minute.
            "FIELDLINE_DELIVERY_REQUEST_S": "5",
            "FIELDLINE_DELIVERY_SETTLE_S": "6",
        }

    def _configure(self, path: Path, databases: Path) -> None:
        _private(path, _CONFIGURATION.format(port=self.port, path=databases))

    def _build(self) -> None:
        """Make the database aside and rename it last: a half-made one never counts."""
        for left in self._folder.glob("building-*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix="building-", dir=self._folder) as name:
            aside = Path(name)
            made = aside / self._database.name
            made.touch(mode=0o600)
            conf = aside / "trytond.conf"
            self._configure(conf, aside)
            admin = (self._program("trytond-admin"), "-c", str(conf), "-d", DATABASE)
            self._run((*admin, "--all", "--email", "admin@example.com", "-l", "en"))
            self._run((*admin, "-u", *MODULES, "--activate-dependencies"))
            self._setup(conf)
            if (wal := made.with_name(made.name + "-wal")).exists() and wal.stat().st_size:
                raise StackError(
                    f"Tryton's new database was not closed properly: start again (see {self._log})."
                )
            made.replace(self._database)

    def _setup(self, conf: Path) -> None:
        """Currency, company and user, in a process of its own (Tryton's pool is global)."""
        argv = (sys.executable, "-m", "infra.local.tryton_setup", DATABASE)
        self._run((*argv, *map(str, self._passwords)), {"TRYTOND_CONFIG": str(conf)})

    def _run(self, argv: tuple[str, ...], env: Mapping[str, str] | None = None) -> None:
        full = {**os.environ, "TRYTONPASSFILE": str(self._passwords[0]), **(env or {})}
        with self._log.open("ab") as log:
            try:
                subprocess.run(
                    argv,
                    env=full,
                    cwd=CHECKOUT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=_BUILD_DEADLINE_S,
                    check=True,
                )
            except (subprocess.SubprocessError, OSError) as error:
                raise StackError(
                    f"Tryton's database could not be made: read {self._log}, mend it, start again."
                ) from error

    @staticmethod
    def _program(name: str) -> str:
        program = Path(sys.executable).parent / name
        if not program.exists():
            raise StackError(f"{name} is not installed: install the extra fieldline[sandboxes].")
        return str(program)
