"""A worker's name resolution breaks on request, in both ways that Python resolves names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.faults.proxy import LOOPBACK

SITE = Path("tests/faults/site").absolute()
HOST = "erp.test"
ASK = """
import asyncio, socket, sys, uvloop
def told(error): return "gaierror" if isinstance(error, socket.gaierror) else repr(error)
try: print(socket.getaddrinfo(sys.argv[1], 80, type=socket.SOCK_STREAM)[0][4][0])
except OSError as error: print(told(error))
async def main():
    # As anyio, and so httpx, asks: by the running loop, with bytes.
    found = await asyncio.get_running_loop().getaddrinfo(
        sys.argv[1].encode(), 80, type=socket.SOCK_STREAM)
    return found[0][4][0]
try: print(uvloop.run(main()))
except OSError as error: print(told(error))
"""


def ask(flag: Path, host: str = HOST) -> list[str]:
    env = os.environ | {
        "PYTHONPATH": str(SITE),
        "FAULTS_HOST": HOST,
        "FAULTS_DNS_FLAG": str(flag),
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK, host],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()


def test_a_name_of_our_own_leads_to_loopback_until_its_flag_is_there(tmp_path: Path) -> None:
    flag = tmp_path / "broken"
    assert ask(flag) == [LOOPBACK, LOOPBACK]
    flag.touch()
    assert ask(flag) == ["gaierror", "gaierror"]
    assert ask(flag, "127.0.0.1") == [LOOPBACK, LOOPBACK]
