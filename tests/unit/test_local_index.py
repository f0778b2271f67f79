import os
import subprocess
import sys
import zipfile
from pathlib import Path

from infra.local.index import pip_options, uv_arguments, uv_environment

LISTING = """\
:env:.find-links='/opt/wheels'
:env:.index-url='https://user:pw@mirror.example/simple'
global.cert='/etc/ca.pem'
global.extra-index-url='\\nhttps://a.example/simple\\nhttps://b.example/simple'
global.index-url='https://weaker.example/simple'
global.trusted-host='mirror.example'
install.find-links='/weaker'
list.format='columns'
a warning that is no option
"""


def test_what_pip_uses_is_handed_to_uv() -> None:
    assert uv_environment(pip_options(LISTING), {}) == {
        "UV_DEFAULT_INDEX": "https://user:pw@mirror.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/opt/wheels",
        "UV_INSECURE_HOST": "mirror.example",
        "SSL_CERT_FILE": "/etc/ca.pem",
    }


def test_a_machine_where_pip_has_no_settings_hands_over_nothing() -> None:
    assert uv_environment(pip_options(""), {}) == {}


def test_what_is_already_said_to_uv_wins() -> None:
    added = uv_environment({"index-url": "https://pip"}, {"UV_DEFAULT_INDEX": "https://uv"})
    assert added == {}


def test_no_index_is_handed_over_as_an_argument() -> None:
    assert uv_arguments({"no-index": "true"}, ["pip", "sync"]) == ["pip", "sync", "--no-index"]
    assert uv_arguments({"no-index": "0"}, ["pip", "sync"]) == ["pip", "sync"]


def test_uv_finds_a_package_that_only_pip_was_told_of(tmp_path: Path) -> None:
    name = "fieldline_test_only"
    with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        info = f"{name}-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    wanted = tmp_path / "wanted.in"
    wanted.write_text(f"{name}\n")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "UV_"))}
    environment |= {"PIP_FIND_LINKS": str(tmp_path), "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "infra.local.index", "pip", "compile", "--quiet", str(wanted)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert "fieldline-test-only==1.0" in done.stdout, done.stderr
