"""Compiled loops work wherever the package lies and whoever runs it, and are kept where that is possible."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import moodlens
from moodlens.core import compiled

PACKAGE = Path(moodlens.__file__).parent
LOOP = """
import sys, numpy as np
from moodlens.core.compiled import compiled, keeps_kernels
@compiled
def total(values):
    sum_ = 0.0
    for v in values:
        sum_ += v
    return sum_
assert total(np.ones(5)) == 5
print(keeps_kernels())
"""


@pytest.fixture
def installation(tmp_path):
    """A copy of the package in a folder with a space, and an environment without a home that finds it."""
    site = tmp_path / "site packages"
    shutil.copytree(
        PACKAGE / "core", site / "moodlens" / "core", ignore=shutil.ignore_patterns("__pycache__")
    )
    (site / "moodlens" / "__init__.py").touch()
    loop = site / "moodlens" / "loop.py"
    loop.write_text(LOOP)
    env = {name: value for name, value in os.environ.items() if name not in ("HOME", "NUMBA_CACHE_DIR")}
    (tmp_path / "tmp").mkdir()
    env |= {
        "PYTHONPATH": str(site),
        "TMPDIR": str(tmp_path / "tmp"),
        "XDG_CACHE_HOME": "/proc/nowhere",  # where not even root may write
        "HOME": "/proc/nowhere",
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def run(**more: str) -> tuple[str, str]:
        out = subprocess.run(
            [sys.executable, "-m", "moodlens.loop"], env=env | more, capture_output=True, text=True
        )
        assert out.returncode == 0, out.stderr
        return out.stdout.strip(), out.stderr

    return site / "moodlens", tmp_path / "tmp", run


def read_only(package: Path) -> None:
    """Nothing can be written beside the sources, not even by root: a file stands where the folder would."""
    for folder in (package, package / "core"):
        (folder / "__pycache__").write_text("")


def kept(folder: Path) -> list[str]:
    return sorted(path.name.partition(".")[0] for path in folder.rglob("*.nbi"))


def test_code_is_kept_beside_the_source(installation):
    package, tmp, run = installation
    assert run() == ("True", "")
    assert kept(package) == ["loop"]
    assert kept(tmp) == []


def test_a_read_only_installation_without_a_home_keeps_it_with_temporary_files(installation):
    package, tmp, run = installation
    read_only(package)
    assert run() == ("True", "")
    assert kept(package) == []
    assert kept(tmp) == ["loop"]
    (folder,) = tmp.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb*")}
    assert run() == ("True", "")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb*")} == before, "compiled once"


@pytest.mark.parametrize("tmp", ["/proc/nowhere", None])
def test_where_nothing_can_be_written_it_is_compiled_anew(installation, tmp):
    package, folder, run = installation
    read_only(package)
    user = os.getuid()
    if tmp is None:  # the folder of this name is open to others, who could put their code there
        (folder / f"moodlens-{user}").mkdir()
        (folder / f"moodlens-{user}").chmod(0o777)
    code = "import tempfile; tempfile.tempdir = '/proc/nowhere'" if tmp else ""
    (package / "loop.py").write_text(code + LOOP)
    assert run() == ("False", "")
    assert kept(package.parent.parent) == []


def test_numbas_own_setting_goes_first(installation, tmp_path):
    package, tmp, run = installation
    assert run(NUMBA_CACHE_DIR=str(tmp_path / "mine, with spaces")) == ("True", "")
    assert kept(tmp_path / "mine, with spaces") == ["loop"]
    assert kept(package) == kept(tmp) == []


def test_files_cut_off_by_a_crash_are_made_anew(installation):
    package, _, run = installation
    run()
    for path in package.rglob("*.nb*"):
        path.write_bytes(path.read_bytes()[:3])
    assert run() == ("True", "")
    index = next(package.rglob("*.nbi"))
    assert index.stat().st_size > 3


def test_a_full_disk_is_no_reason_to_stop(monkeypatch, tmp_path):
    from numba.core import config
    from numba.core.caching import IndexDataCacheFile

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(IndexDataCacheFile, "save", full)

    @compiled.compiled
    def double(x):
        return 2 * x

    assert double(4) == 8
