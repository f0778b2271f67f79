"""All that runs in a fault run: the parts, the proxy, the second target, the workers."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

import redis.asyncio as redis
from aiokafka.errors import KafkaError

from infra.local import outside, ports
from infra.local.stack import Stack
from infra.local.tryton import DATABASE, Tryton
from pipeline.core.identity import EVER
from pipeline.core.registry import DeviceRecord
from pipeline.ops import identity, topics
from pipeline.ops.identity_import import When
from pipeline.settings import Settings, SettingsError
from pipeline.state.registry import COLUMNS
from pipeline.topology import topics as all_topics
from pipeline.wire import kafka
from tests.crash.group import Group
from tests.faults.plan import REQUEST_S, SETTLE_S, WORKERS
from tests.faults.proxy import Proxy
from tests.sandbox.box import Box, sandbox
from tests.waiting import until

ERP: Final = "tryton"
OTHER: Final = "webhook"
SINKS: Final = (ERP, OTHER)
HOST: Final = "erp.test"
"""A name that only exists in our workers (site/sitecustomize.py); .test is RFC 2606's."""
DEVICES: Final = 24
CUSTOMERS: Final = 6
PARTITIONS: Final = 4
BAD_VAT: Final = "FI1234567"
FRESH: Final = Path(".local/fresh-erp")
"""An ERP's folder as it is before its first event, one per way of making it: half a minute saved
in every later run."""
REPLAY_S: Final = 60.0
_SITE: Final = Path(__file__).with_name("site")


class Devices:
    """The device registry of the run, on disk and in the identity map."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = {f"faults/device-{n:02}": _device(n) for n in range(DEVICES)}
        self._save(self._rows)

    @property
    def names(self) -> list[str]:
        """All devices."""
        return list(self._rows)

    async def poison(self, device: str) -> None:
        """Give the device to a customer with a malformed VAT number, on an asset of theirs."""
        row = self._rows[device]
        bad = replace(
            row,
            asset_id=f"{row.asset_id}-X",
            customer_id=f"{row.customer_id}-X",
            customer_name=f"{row.customer_name}, mistyped",
            customer_tax_id=BAD_VAT,
        )
        self._save(self._rows | {device: bad})
        await self.bring_in()

    async def mend(self) -> None:
        """Give every device back, for what happened meanwhile too."""
        self._save(self._rows)
        await self.bring_in()

    async def bring_in(self) -> None:
        """What the file says, as though it had been so since ever."""
        when = When(now_ms=identity.now_ms(), who="faults", at_ms=EVER, past=True)

        async def imported() -> bool:
            try:
                done = await identity.import_file(Settings(), self.path, when)
            except (KafkaError, SettingsError):
                return False  # another fault goes on
            return not done.wrong

        await until(imported, "the devices did not come into the identity map")

    def _save(self, rows: Mapping[str, DeviceRecord]) -> None:
        part = self.path.with_suffix(".part")
        with part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for row in rows.values():
                fields = [getattr(row, name) for name in COLUMNS[:-1]]
                writer.writerow([*fields, "true" if row.active else "false"])
        part.replace(self.path)


def _device(number: int) -> DeviceRecord:
    customer = number % CUSTOMERS
    return DeviceRecord(
        device_id=f"faults/device-{number:02}",
        asset_id=f"FAULT-{number:02}",
        asset_name=f"Pump {number:02}",
        customer_id=f"C-FAULT-{customer}",
        customer_name=f"Customer {customer} of the fault suite",
        customer_tax_id="",
        active=True,
    )


@dataclass(slots=True)
class World:
    """What a run disturbs. Made by `World.up`, ended by the exit stack it was given."""

    stack: Stack
    settings: Settings
    """As everybody but the ERP's workers sees it: straight to the parts."""
    proxy: Proxy
    box: Box
    devices: Devices
    erp: Group
    other: Group
    dns_flag: Path

    @classmethod
    async def up(cls, root: Path, say: Callable[[str], None], leave: AsyncExitStack) -> World:
        """Start everything in a new folder. StackError where a part does not come up."""
        (root / "log").mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(_fresh_erp, root)
        stack = Stack(root, say=say, only={"kafka", "redis", ERP})
        env = await asyncio.to_thread(stack.start)
        leave.push_async_callback(asyncio.to_thread, stack.stop)
        box = await leave.enter_async_context(sandbox())
        routes = stack.root / "routes.yaml"
        routes.write_text(
            f"version: 1\nroutes:\n  - when: {{}}\n    sinks: [{', '.join(SINKS)}]\n",
            encoding="utf-8",
        )
        devices = Devices(stack.root / "devices.csv")
        checkout = str(Path.cwd())
        env |= box.env | {
            "FIELDLINE_PARTITIONS": str(PARTITIONS),
            "FIELDLINE_ROUTES_FILE": str(routes),
            "FIELDLINE_DEVICES_FILE": str(devices.path),
            "FIELDLINE_DELIVERY_REQUEST_S": str(REQUEST_S),
            "FIELDLINE_DELIVERY_SETTLE_S": str(SETTLE_S),
            "PYTHONPATH": checkout,
            "NO_PROXY": "*",
        }
        os.environ.update(env)
        settings = Settings()
        [erp_at] = outside.addresses(env["TRYTON_URL"])
        [own] = ports.choose(["proxy"], {}).values()
        proxy = Proxy(erp_at, port=own)
        await proxy.start()
        leave.push_async_callback(proxy.stop)
        flag = devices.path.with_name("dns-is-broken")
        spoilt = env | {
            "TRYTON_URL": f"http://{HOST}:{proxy.port}/{DATABASE}",
            "FAULTS_HOST": HOST,
            "FAULTS_DNS_FLAG": str(flag),
            "PYTHONPATH": os.pathsep.join((str(_SITE), checkout)),
        }
        erp, other = (
            Group(f"deliver-{sink}", root, of, say) for sink, of in ((ERP, spoilt), (OTHER, env))
        )
        leave.push_async_callback(asyncio.to_thread, erp.end)
        leave.push_async_callback(asyncio.to_thread, other.end)
        await _make_topics(settings)
        await devices.bring_in()
        for number in range(WORKERS):
            await asyncio.to_thread(erp.join, number)
        await asyncio.to_thread(other.join, 0)
        return cls(stack, settings, proxy, box, devices, erp, other, flag)

    async def empty_redis(self) -> None:
        """FLUSHALL: the whole ledger is gone."""
        async with redis.from_url(self.settings.redis_url.get_secret_value()) as client:
            await client.flushall()

    async def replay(self, event_ids: list[str]) -> tuple[int, str]:
        """`fieldline dlq replay` as an operator types it; its exit code and what it said."""
        fieldline = str(Path(sys.executable).with_name("fieldline"))
        argv = (fieldline, "dlq", "replay", *event_ids, "--sink", ERP, "--no-wait")
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(REPLAY_S):
                said, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            said, _ = await process.communicate()
        return process.returncode or 0, said.decode(errors="replace")


def _fresh_erp(root: Path) -> None:
    """Put a fresh ERP where the stack will find one."""
    folder = root / "parts" / ERP
    folder.parent.mkdir(parents=True, exist_ok=True)
    made_by = b"".join(path.read_bytes() for path in Path("infra/local").glob("tryton*.py"))
    name = hashlib.sha256(made_by + version("trytond").encode()).hexdigest()[:16]
    fresh = FRESH / name
    if not fresh.exists():
        Tryton(port=1, folder=folder, log_dir=root / "log").prepare()
        FRESH.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FRESH) as aside, suppress(OSError):
            # OSError: another run was faster.
            shutil.copytree(folder, Path(aside) / name).rename(fresh)
        return
    shutil.copytree(fresh, folder)


async def _make_topics(settings: Settings) -> None:
    admin = kafka.admin(settings)
    try:
        await admin.start()
        await topics.create(admin, all_topics(SINKS), settings)
    finally:
        await admin.close()
