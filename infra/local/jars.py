"""The jars of the Java parts: fetched once with Maven, whole or not at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from infra.local import tools
from infra.local.files import tail
from infra.local.part import StackError

POM = Path(__file__).with_name("pom.xml")
HOME = Path(__file__).resolve().parents[2] / ".local" / "jars"
"""One place for every stack of this checkout, whatever its folder."""
MVN_LIMIT_S = 900


def folder(profile: str, home: Path = HOME) -> Path:
    """Where the jars of a profile of this very pom.xml are, or will be."""
    return home / f"{profile}-{hashlib.sha256(POM.read_bytes()).hexdigest()[:16]}"


def present(profile: str, home: Path = HOME) -> bool:
    """Whether they are there. The folder appears by one rename, so it is always whole."""
    return folder(profile, home).is_dir()


def classpath(profile: str, home: Path = HOME) -> str:
    """Java's class path of a profile."""
    return f"{folder(profile, home)}/*"


def ensure(profile: str, home: Path = HOME) -> None:
    """Fetch the jars of a profile unless they are there.

    One at a time, also between processes: Maven's own store is not made for two at once.
    StackError with Maven's last lines where they cannot be had.
    """
    if present(profile, home):
        return
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not present(profile, home):
            _fetch(profile, home)


def _fetch(profile: str, home: Path) -> None:
    mvn, log = tools.path(tools.MVN), home / f"{profile}.log"
    part = home / f".{profile}.part"  # we hold the lock: whatever is there is a dead run's
    shutil.rmtree(part, ignore_errors=True)
    argv = [mvn, "-q", "-B", "-f", str(POM), "-P", profile, "dependency:copy-dependencies"]
    try:
        with log.open("wb") as output:
            done = subprocess.run(
                [*argv, f"-DoutputDirectory={part}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "MAVEN_OPTS": os.environ.get("MAVEN_OPTS", "-Xmx256m")},
                timeout=MVN_LIMIT_S,
                check=False,
            )
    except subprocess.TimeoutExpired as error:
        raise StackError(
            f"Maven did not bring the jars of {profile} within {MVN_LIMIT_S} s: check its way to "
            f"the repository ({log}) and start again."
        ) from error
    if done.returncode != 0 or not any(part.glob("*.jar")):
        raise StackError(
            f"Maven cannot bring the jars of {profile}: mend what {log} says ({tail(log)})."
        )
    part.rename(folder(profile, home))
