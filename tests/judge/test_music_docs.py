"""What docs/steering.md promises: its code runs, its counts are the plan's."""

import re
import shutil
from pathlib import Path

import pytest

from moodlens.settings.steer import read_steer_settings
from moodlens.steer import plan, run_steer
from moodlens.steer.build import prompt_differences

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "steering.md").read_text(encoding="utf-8")
STUDY = ROOT / "studies" / "steer-musicgen.yaml"


@pytest.mark.parametrize(
    ("changes", "hours"),
    [
        ({}, (70, 46)),
        (
            {"seeds": (0, 1), "coefficients": (1.0, 2.0), "controls": ("random", "matched_random_feature")},
            (29, 20),
        ),
        (
            {
                "prompts": ("a tune", "a song"), "seeds": (0, 1), "methods": ("sae_family", "difference_in_means"),
                "coefficients": (1.0,), "controls": ("random",),
            },
            (3, 2),
        ),
    ],
)  # fmt: skip
def test_the_clips_and_hours_of_the_cost_table(directions, musicgen, changes, hours):
    settings = read_steer_settings(STUDY, **changes)
    if "prompt_difference" in settings.methods:
        directions = prompt_differences(
            directions, musicgen, settings.prompts, directions.emotions, settings.edit
        )
    n = len(plan(settings, directions))
    assert (round(n * 78 / 3600), round(n * 51.7 / 3600)) == hours
    assert re.search(rf"\| {n:,} \| {hours[0]} hours \| {hours[1]} hours \|", PAGE)


def test_its_code_runs(study_folder, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(study_folder, tmp_path / "runs" / "t5")
    (tmp_path / "studies").mkdir()
    small = (
        STUDY.read_text()
        .replace("facebook/musicgen-small", str(checkpoint))
        .replace("seconds: 8", "seconds: 0.2")
    )
    (tmp_path / "studies" / STUDY.name).write_text(small)
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(blocks) == 2
    for block in blocks:
        code = block.replace("facebook/musicgen-small", str(checkpoint)).replace("seconds=8", "seconds=0.2")
        exec(compile(code, "docs/steering.md", "exec"), {})
    assert (tmp_path / "runs" / "t5-listening" / "listen.html").is_file()
    settings = read_steer_settings(
        "studies/steer-musicgen.yaml", prompts=("instrumental music",), emotions=("happy",), seeds=(0,)
    )
    assert run_steer("runs/t5", "runs/t5-steered", settings).made == 0


def test_every_trap_of_the_page_has_a_test():
    tests = (ROOT / "tests" / "steer" / "test_steer_traps.py").read_text()
    listed = re.findall(r"^\d+\. ", PAGE[PAGE.index("## Traps") :], re.M)
    assert (
        len(listed) == len(re.findall(r"^def test_trap_", tests, re.M)) + 1
    )  # the last, of schedules, is in test_steer_site.py
