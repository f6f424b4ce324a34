"""Killed at any moment, out of room, damaged: a study ends with the same result, or says what is wrong in one line."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from moodlens.core import BadInput
from moodlens.pipeline.opened import stage_states
from moodlens.pipeline.run import run
from moodlens.settings.study import read_study

TINY = {
    "seeds": 1,
    "core": {"members": 3, "d_sae": 16, "bootstraps": 1, "epochs": 3},
    "prompts": {"generate": 200},
    "encoder": {"shard_rows": 40, "dtype": "float32"},
    "sae": {"d_sae": 32, "k": 4, "epochs": 5},
}
HARMLESS = ('"seconds"', '"began"', '"mtime_ns"')
"""Lines of a stage's record on which nothing depends."""


@pytest.fixture
def tiny(tmp_path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def numbers(folder: Path) -> dict[str, bytes]:
    found = {}
    for pattern in ("embeddings/*", "sae/*/*.safetensors", "sae/*/history.jsonl", "core.json", "*.parquet"):
        found |= {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob(pattern)}
    return found


def test_every_flipped_bit_that_matters_is_seen(small_study, tmp_path):
    folder = Path(shutil.copytree(small_study, tmp_path / "copy"))
    assert all(each.state == "done" for each in stage_states(folder, deep=True).values())
    draw, seen = random.Random(0), 0
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    for _ in range(100):
        path = draw.choice(files)
        whole, place, bit = path.read_bytes(), draw.randrange(path.stat().st_size), draw.randrange(8)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            caught = any(each.state != "done" for each in stage_states(folder, deep=True).values())
        except BadInput:
            caught = True
        path.write_bytes(whole)
        line = whole[: whole.find(b"\n", place) % (len(whole) + 1)].splitlines()[-1].decode(errors="replace")
        before = whole[:place]
        in_inputs = path.parent.name == ".stages" and b'"inputs"' in before
        harmless = any(name in line for name in HARMLESS) or in_inputs
        in_yaml = path.name == "study.yaml"
        assert caught or harmless or in_yaml, f"{path.relative_to(folder)}: byte {place}, bit {bit}: {line}"
        seen += caught
    assert seen > 70
    assert all(each.state == "done" for each in stage_states(folder, deep=True).values())


def test_a_record_that_cannot_be_read_is_damage_and_is_made_anew(small_study, small_settings, tmp_path):
    folder = Path(shutil.copytree(small_study, tmp_path / "copy"))
    (folder / ".stages" / "report.json").write_text("{")
    found = stage_states(folder)["report"]
    assert (found.state, dict(found.faults)) == ("damaged", {".stages/report.json": "not readable"})
    run(read_study(small_settings), folder)
    assert stage_states(folder, deep=True)["report"].state == "done"


RUN = """
import sys
from pathlib import Path
import torch, polars
import moodlens.sae.training, moodlens.embed.encoder, moodlens.pipeline.stages
from moodlens.pipeline.run import run
from moodlens.settings.study import read_study
print("ready", flush=True)
run(read_study(Path(sys.argv[1])), Path(sys.argv[2]), until="train")
"""


def processor_seconds(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="counts processor seconds by /proc")
def test_a_study_that_is_killed_again_and_again_ends_as_if_it_had_not_been(tiny, tmp_path):
    run(read_study(tiny), tmp_path / "straight", until="train")
    folder, draw, kills = tmp_path / "killed", random.Random(1), 0
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", RUN, str(tiny), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        limit = processor_seconds(child.pid) + draw.uniform(0.2, 2.5)
        while child.poll() is None and processor_seconds(child.pid) < limit:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert kills > 0
    run(read_study(tiny), folder, until="train")
    assert numbers(folder) == numbers(tmp_path / "straight")
    assert not list(folder.rglob("*.tmp"))


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_with_room_the_study_goes_on(tiny, tmp_path):
    command = [sys.executable, "-c", "from moodlens.cli import main; main()", "train", str(tiny), "--out"]
    folder = tmp_path / "study"
    run(read_study(tiny), folder, until="prompts")

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))  # a shard of 40 rows has 61,440 bytes

    ended = subprocess.run([*command, str(folder)], preexec_fn=small, capture_output=True, text=True, check=False)  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "cannot write" in ended.stderr
    assert not list(folder.rglob("*.tmp"))
    run(read_study(tiny), folder, until="embed")
    run(read_study(tiny), tmp_path / "straight", until="embed")
    assert numbers(folder) == numbers(tmp_path / "straight")


def test_what_a_killed_run_was_writing_is_removed_and_what_others_write_is_not(tmp_path):
    from moodlens.pipeline import transaction

    for name in (".a.json.1.tmp", "sae/main/.b.2.tmp", ".work/train/.c.3.tmp", "steer/.d.4.tmp", "e.tmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    transaction.clean(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tmp")}
    assert left == {".work/train/.c.3.tmp", "steer/.d.4.tmp", "e.tmp"}
