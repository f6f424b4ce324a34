"""What people install: the wheel holds all that it needs, and the files beside the code say what the code says."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

from moodlens.core.version import __version__

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "name": "tiny",
    "seeds": 1,
    "core": {"members": 0},
    "prompts": {"generate": 200},
    "sae": {"d_sae": 32, "k": 4, "epochs": 2},
    "features": {"n_permutations": 200, "n_shuffles": 2},
    "validation": {
        "phase0": {"n_permutations": 20, "n_shuffles": 2},
        "causal": {"n_bootstrap": 100},
        "pairs": {"n_bootstrap": 100},
        "transfer": {"n_bootstrap": 100},
    },
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder into which the built wheel was installed, and nothing else."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "dist")],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def moodlens(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, from the installed wheel and not from this working copy."""
    code = f"import moodlens, sys; assert moodlens.__file__.startswith({str(site)!r}); from moodlens.cli import main; main()"
    environment = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_a_study_runs_from_the_wheel_alone(installed, tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    done = moodlens(installed, tmp_path, "run", "tiny.yaml", "--out", "study")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "study" / "report.html").stat().st_size > 10_000


def test_the_wheel_holds_every_file_of_the_package(installed):
    def files(folder: Path) -> set[str]:
        return {
            str(p.relative_to(folder))
            for p in folder.rglob("*")
            if p.is_file() and "__pycache__" not in p.parts
        }

    assert files(installed / "moodlens") == files(ROOT / "src" / "moodlens")


def test_the_wheel_has_its_licence_types_and_command(installed):
    (facts,) = installed.glob("moodlens-*.dist-info")
    assert (facts / "licenses" / "LICENSE").is_file()
    assert (installed / "moodlens" / "py.typed").is_file()
    assert "moodlens = moodlens.cli:main" in (facts / "entry_points.txt").read_text()
    loose = [path for path in installed.iterdir() if path.name not in ("moodlens", facts.name)]
    assert loose == []


def test_versions_are_one():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert project["version"] == citation["version"] == __version__
    assert citation["license"] == project["license"]
    # What the format asks of every file.
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_container_copies_what_is_there_and_installs_extras_that_exist():
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE) for name in line.split()
    }
    assert copied == allowed
    for name in copied:
        assert (ROOT / name).exists()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (asked,) = re.findall(r"'\.\[(.*)\]'", text)
    assert set(asked.split(",")) <= extras["optional-dependencies"].keys()
