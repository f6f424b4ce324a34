"""What docs/steering.md promises: its code runs, its counts are the plan's."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from helpers.clips import put_clip
from helpers.tiny_clap import save_tiny_clap
from moodlens.settings.steer import read_steer_settings
from moodlens.steer.build import prompt_differences
from moodlens.steer.run import plan, run_steer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "steering.md").read_text(encoding="utf-8")
SCORES = (ROOT / "docs" / "scores.md").read_text(encoding="utf-8")
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


def test_the_small_start_of_the_readme_is_as_small_as_it_says(tiny):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    clips, hours, command = re.search(
        r"one coefficient, (\d+) clips in (\d+) hours:\n`moodlens steer DIR (.*?)`", readme
    ).groups()
    assert command == "--emotion happy --coefficient 1 --seed 0 --control random --n-random 5"
    settings = read_steer_settings(
        STUDY,
        ["directions.n_random=5"],
        emotions=("happy",),
        coefficients=(1.0,),
        seeds=(0,),
        controls=("random",),
    )
    methods = tuple(
        m for m in settings.methods if m != "prompt_difference"
    )  # one more direction for each prompt
    n = len(plan(settings.model_copy(update={"methods": methods}), tiny.directions(settings.directions)))
    n += len(settings.prompts)
    assert n == int(clips)
    assert round(n * 78 / 3600) == int(hours)


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
    assert len(blocks) == 3
    for block in blocks:
        code = block.replace("facebook/musicgen-small", str(checkpoint)).replace("seconds=8", "seconds=0.2")
        exec(compile(code.replace("layers=[12]", "layers=[1]"), "docs/steering.md", "exec"), {})
    assert (tmp_path / "runs" / "t5-listening" / "listen.html").is_file()
    settings = read_steer_settings(
        "studies/steer-musicgen.yaml", prompts=("instrumental music",), emotions=("happy",), seeds=(0,)
    )
    assert run_steer("runs/t5", "runs/t5-steered", settings).made == 0


@pytest.mark.slow
def test_the_code_of_the_page_on_scores_runs(tiny, directions, musicgen, tmp_path, monkeypatch):
    pytest.importorskip("librosa", reason="needs the extra moodlens[audio]")
    save_tiny_clap(tmp_path / "clap")
    monkeypatch.chdir(tmp_path)
    time = np.arange(8000) / 8000
    for place in ("happy", "sad", "clips/a"):
        put_clip(tmp_path, place, 0.1 * np.sin(2 * np.pi * 440 * time), 8000)
    blocks = re.findall(r"```python\n(.*?)```", SCORES, re.S)
    assert len(blocks) == 2
    names = {"musicgen": musicgen, "sae": tiny.dictionary.sae, "directions": directions}
    for block in blocks:
        code = block.replace("laion/clap-htsat-unfused", "clap").replace("seconds=2", "seconds=0.2")
        exec(compile(code, "docs/scores.md", "exec"), names)
    assert names["frame"].height == 1
    assert names["table"].height == tiny.dictionary.sae.d_sae


def test_every_trap_of_the_page_has_a_test():
    tests = (ROOT / "tests" / "steer" / "test_steer_traps.py").read_text()
    listed = re.findall(r"^\d+\. ", PAGE[PAGE.index("## Traps") :], re.M)
    assert (
        len(listed) == len(re.findall(r"^def test_trap_", tests, re.M)) + 1
    )  # the last, of schedules, is in test_steer_site.py
