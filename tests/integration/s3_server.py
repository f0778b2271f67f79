"""A real S3 server for tests: stopped without warning, frozen, started again."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from infra.local import ports
from infra.local.s3proxy import S3Proxy
from tests.waiting import blocking_until


class Server:
    """S3Proxy on a port and folder of its own; stopped without warning, started again."""

    def __init__(self, folder: Path) -> None:
        port = ports.choose(["s3proxy"], {})["s3proxy"]
        self.part = S3Proxy(port=port, folder=folder, log_dir=folder)
        self._log = folder / "output.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.part.prepare()
        command = self.part.command()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command.argv, cwd=command.cwd, stdout=log, stderr=subprocess.STDOUT
            )
        blocking_until(self._answers, "S3Proxy does not answer")
        self.part.after_start()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()[-2000:]
        return self.part.ready()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self, *, thaw: bool = False) -> None:
        """Stop it from answering while its connections stay open, or let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT if thaw else signal.SIGSTOP)
