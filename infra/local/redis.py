"""Redis (or Valkey, where that is what there is): the ledger, written through to disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import redis

from infra.local import tools
from infra.local.files import secret, write_private
from infra.local.part import Command
from infra.local.ports import LOOPBACK

PROBE_S = 2.0

SETTINGS = """\
bind {host}
port {port}
requirepass {password}
dir {data}
daemonize no
# The ledger's in-flight row must be on disk before a byte leaves for a target: every write is
# synced before its answer.
appendonly yes
appendfsync always
save ""
# A ledger never forgets to make room.
maxmemory-policy noeviction
"""


class Redis:
    """The server. Its append-only file, settings and password are under `folder`."""

    name = "redis"

    def __init__(self, *, port: int, folder: Path, log_dir: Path) -> None:
        self.port = port
        self._data = folder / "data"
        self._config = folder / "redis.conf"
        self._secret = folder / "password"
        self._log_dir = log_dir

    def needs(self) -> tuple[str, ...]:
        """Programs it cannot do without."""
        return (tools.REDIS,)

    def prepare(self) -> None:
        """Settings (0600, for the password is in them) and data folder."""
        self._data.mkdir(parents=True, exist_ok=True)
        write_private(
            self._config,
            SETTINGS.format(
                host=LOOPBACK, port=self.port, data=self._data, password=secret(self._secret)
            ),
        )

    def command(self) -> Command:
        """In the foreground; the password is in the file, not among the arguments."""
        return Command(argv=(tools.path(tools.REDIS), str(self._config)), cwd=self._data)

    def ready(self) -> bool:
        """Whether it answers PING after our password, with its data loaded."""
        client = redis.Redis.from_url(
            self._url(), socket_connect_timeout=PROBE_S, socket_timeout=PROBE_S
        )
        try:
            return client.ping() is True
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()

    def after_start(self) -> None:
        """Nothing."""

    def settings(self) -> Mapping[str, str]:
        """REDIS_URL, with the password."""
        return {"REDIS_URL": self._url()}

    def _url(self) -> str:
        return f"redis://:{secret(self._secret)}@{LOOPBACK}:{self.port}/0"
