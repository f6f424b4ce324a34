"""What docs/steering.md promises: its code runs, its counts are the plan's."""

import re
import shutil
from dataclasses import replace
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
        ({}, (86, 57)),
        ({"coefficients": (1.0,), "controls": ("random", "matched_random_feature")}, (63, 42)),
        (
            {
                "methods": ("sae_family", "difference_in_means"), "coefficients": (1.0,), "controls": ("random",),
            },
            (44, 29),
        ),
        (
            {
                "methods": ("sae_family", "difference_in_means"), "coefficients": (1.0,), "controls": (),
                "emotions": ("happy",), "neutral_words": (),
            },
            (2, 1.4),
        ),
    ],
)  # fmt: skip
def test_the_clips_and_hours_of_the_cost_table(tiny, musicgen, changes, hours):
    settings = read_steer_settings(STUDY, **changes)
    found = tiny.dictionary
    everywhere = replace(found, untrained=(found.families, found.sae.W_dec.detach().numpy()[::-1]))
    directions = replace(tiny, dictionary=everywhere).directions()
    if "prompt_difference" in settings.methods:
        words = settings.neutral_words if "neutral_difference" in settings.controls else ()
        directions = prompt_differences(
            directions, musicgen, settings.prompts, directions.emotions, settings.edit, words
        )
    n = len(plan(settings, directions))
    for seconds, said in zip((78, 51.7), hours, strict=True):
        assert round(n * seconds / 3600, 1 if isinstance(said, float) else 0) == said
    assert f"| {n:,} | {hours[0]} hours | {hours[1]} hours |" in PAGE


def test_the_small_start_of_the_readme_is_as_small_as_it_says(tiny):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    clips, hours, command = re.search(
        r"one coefficient, (\d+) clips in (\d+) hours:\n`moodlens steer DIR (.*?)`", readme
    ).groups()
    methods = "--method sae_family --method difference_in_means"
    assert command == f"--emotion happy --coefficient 1 {methods} --control none --set 'neutral_words=[]'"
    settings = read_steer_settings(
        STUDY,
        ["neutral_words=[]"],
        emotions=("happy",),
        coefficients=(1.0,),
        methods=("sae_family", "difference_in_means"),
        controls=(),
    )
    n = len(plan(settings, tiny.directions(settings.directions)))
    assert n == int(clips)
    assert round(n * 78 / 3600) == int(hours)


def test_its_code_runs(study_folder, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(study_folder, tmp_path / "runs" / "t5")
    (tmp_path / "studies").mkdir()
    small = (
        STUDY.read_text()
        .replace("facebook/musicgen-small", str(checkpoint))
        .replace("seconds: 8", "seconds: 0.2\n  neutral_words: [audio]")
        .replace("n_random: 60", "n_random: 2")
        .replace("n_matched: 20", "n_matched: 2")
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
