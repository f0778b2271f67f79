import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[2]
LOCK = (CHECKOUT / "requirements.lock").read_text()
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
BUILD = (CHECKOUT / "infra/local/build.in").read_text()

PINS = [
    (canonicalize_name(name), version)
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\\n]+)", LOCK, re.MULTILINE)
]


def pins_of(name: str) -> list[str]:
    return [version for pinned, version in PINS if pinned == canonicalize_name(name)]


def test_everything_the_project_needs_is_pinned_to_a_version_it_allows() -> None:
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    for extra in PROJECT["project"]["optional-dependencies"].values():
        wanted += extra
    wanted += [line for line in BUILD.splitlines() if not line.startswith("#")]
    for one in map(Requirement, wanted):
        pins = pins_of(one.name)
        assert pins, f"{one.name} is not locked: run make lock"
        for pin in pins:  # more than one where a version of Python needs its own
            assert one.specifier.contains(pin), f"{one} is locked at {pin}: run make lock"


def test_every_pin_has_hashes_and_no_address_is_written_down() -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", LOCK.strip())
    assert len(blocks) == len(PINS)
    assert all("--hash=sha256:" in block for block in blocks)
    assert not re.search(r"://|--index-url|--extra-index-url|--find-links|@ ", LOCK)


def test_the_makefile_installs_the_uv_that_is_locked() -> None:
    assert f"UV := uv=={pins_of('uv')[0]}\n" in (CHECKOUT / "Makefile").read_text()
