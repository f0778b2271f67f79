"""A real Tryton for tests: its database is made once and copied, its people act past us."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import httpx

from infra.local import tryton, tryton_setup
from infra.local.tryton import Tryton
from tests.integration.redis_server import free_port

DEADLINE_S = 60.0
CACHE = Path(__file__).resolve().parents[1] / ".local" / "tests"


def prepared(folder: Path) -> Tryton:
    """A Tryton whose database is a copy of the one kept for these versions; not yet running."""
    kept = CACHE / f"tryton-{_digest()}"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix="tryton-", dir=kept.parent))
        Tryton(port=1, folder=aside / "data", log_dir=aside / "log").prepare()
        try:
            (aside / "data").rename(kept)
        except OSError:  # another run was faster
            assert kept.exists()
        shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(kept, folder / "data")
    made = Tryton(port=free_port(), folder=folder / "data", log_dir=folder / "log")
    made.prepare()
    return made


@contextmanager
def running(folder: Path) -> Iterator[Tryton]:
    """A Tryton of its own that serves, for the length of the block."""
    made = prepared(folder)
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(made.command().argv, stdout=out, stderr=out)
        try:
            until = time.monotonic() + DEADLINE_S
            while not made.ready():
                assert process.poll() is None, (folder / "out").read_text()
                assert time.monotonic() < until, "Tryton did not answer in time"
            made.after_start()
            yield made
        finally:
            process.terminate()
            process.wait(DEADLINE_S)


class Administrator:
    """Does at Tryton what a person with all rights would, past the connector."""

    def __init__(self, part: Tryton) -> None:
        self._password = (
            Path(part.command().argv[2]).with_name("admin.password").read_text().strip()
        )
        self._url = part.settings()["TRYTON_URL"] + "/rpc/"
        self._client = httpx.Client(trust_env=False, timeout=DEADLINE_S)
        self._context: dict[str, Any] = {}
        companies = self.call("company.company", "search", [])
        values = {"companies": [["add", companies]], "company": companies[0]}
        self.call("res.user", "write", [1], values)
        self._context = {"company": companies[0]}

    def call(self, model: str, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        """A method of a model; fails where Tryton does."""
        return self._call(f"model.{model}.{method}", [*params, self._context])

    def _call(self, method: str, params: list[Any]) -> Any:  # noqa: ANN401 - JSON
        call = {"id": 1, "method": method, "params": params}
        reply = self._client.post(self._url, json=call)
        if reply.status_code == httpx.codes.UNAUTHORIZED:  # no session yet, or it is over
            self._log_in()
            reply = self._client.post(self._url, json=call)
        answer = reply.json()
        assert "error" not in answer, answer
        return answer["result"]

    def _log_in(self) -> None:
        self._client.headers.pop("authorization", None)
        parameters = ["admin", {"password": self._password}]
        call = {"id": 1, "method": "common.db.login", "params": parameters}
        own, session, *_ = self._client.post(self._url, json=call).json()["result"]
        plain = f"admin:{own}:{session}".encode()
        self._client.headers["authorization"] = f"Session {base64.b64encode(plain).decode()}"

    def clear(self) -> None:
        """Delete what the connector has made."""
        for model, domain in (
            ("project.work", [["type", "=", "task"]]),
            ("project.work", []),
            ("sale.opportunity", []),
            ("product.product", []),
            ("product.template", []),
            ("party.party", [["code", "!=", "COMPANY"]]),
        ):
            if ids := self.call(model, "search", domain):
                if model == "sale.opportunity":
                    self.call(model, "cancel", ids)
                self.call(model, "delete", ids)

    def close(self) -> None:
        """No connection stays."""
        self._client.close()


def _digest() -> str:
    """Changes with Tryton's versions, and with how we set it up."""
    versions = sorted(
        f"{d.name}={d.version}" for d in distributions() if d.name.startswith("trytond")
    )
    sources = [Path(str(m.__file__)).read_text(encoding="utf-8") for m in (tryton, tryton_setup)]
    return hashlib.sha256("\n".join([*versions, *sources]).encode()).hexdigest()[:16]
