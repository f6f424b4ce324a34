import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from helpers.clips import wav_samples
from helpers.steer_study import EMOTIONS, mark_finished, tiny_study
from moodlens.core import BadInput, digest, file_sha256, read_json
from moodlens.settings.steer import DirectionSettings, SteerSettings
from moodlens.steer.build import study_directions
from moodlens.steer.clips import measure_loudness, read_clip
from moodlens.steer.condition import condition_key, run_how
from moodlens.steer.conditioning import Steering
from moodlens.steer.directions import save_directions
from moodlens.steer.musicgen import MusicGen
from moodlens.steer.run import plan, run_directions, run_steer
from moodlens.study.records.steer import ClipFacts, SteerRun

SMALL = SteerSettings(
    prompts=("instrumental music", "a simple melody"),
    emotions=("happy",),
    methods=("sae_family", "difference_in_means"),
    controls=("random",),
    coefficients=(-1.0, 1.0),
    seeds=(0, 1),
    seconds=0.2,
    neutral_words=("recorded",),
    directions=DirectionSettings(n_random=2),
)
# Per prompt and seed: plain, edited twice, 2 methods x 2 coefficients, 2 random directions at +1.
EACH = 1 + 2 + 4 + 2


@pytest.fixture(scope="module")
def few(tiny):
    return tiny.directions(SMALL.directions)


@pytest.fixture(scope="module")
def done(few, musicgen, tmp_path_factory):
    """One uninterrupted run."""
    out = tmp_path_factory.mktemp("steer") / "run"
    return run_steer(few, out, SMALL, model=musicgen)


def hashes(out: Path) -> dict[str, str]:
    """Every file but the clock's; of a clip's facts all but with how many others it was made."""
    files = sorted(path for path in out.rglob("*") if path.is_file() and path.name != "progress.json")
    return {str(path.relative_to(out)): _hash(path) for path in files}


def _hash(path: Path) -> str:
    if path.parent.name == "clips" and path.suffix == ".json":
        return digest({name: value for name, value in read_json(path).items() if name != "batch"})
    return file_sha256(path)


def clips_of(out: Path) -> list[ClipFacts]:
    """The clips of a run, each whole and as it was written."""
    clips = [read_clip(out / "clips", key) for key in SteerRun.read(out).clips]
    assert None not in clips
    return clips


# -- the plan ------------------------------------------------------------------------------------------------------------


def test_the_grid_is_whole_and_balanced(few):
    specs = plan(SMALL, few)
    assert len(specs) == 2 * 2 * EACH
    first = specs[: 2 * EACH]  # an unfinished run has whole seeds of whole prompts
    assert {spec.seed for spec in first} == {0}
    assert {spec.prompt for spec in first[:EACH]} == {"instrumental music"}
    edited = [spec for spec in specs if spec.method == "prompt_editing"]
    assert edited[0].text == "instrumental music, happy"
    assert edited[0].coefficient is None
    (word,) = {spec.text for spec in specs if spec.method == "neutral_editing"} - {
        "a simple melody, recorded"
    }
    assert word == "instrumental music, recorded"
    assert sum(spec.method == "none" for spec in specs) == 4
    assert {spec.coefficient for spec in specs if spec.method == "random"} == {1.0}
    assert len(set(specs)) == len(specs)


def test_all_emotions_by_default_and_zero_is_made_once(few):
    settings = SMALL.model_copy(update={"emotions": (), "coefficients": (0.0, 1.0), "controls": ()})
    specs = plan(settings, few)
    assert {spec.emotion for spec in specs} == {None, *EMOTIONS}
    assert len(specs) == 4 * (1 + 4 + 1 + 2 * 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"emotions": ("angry",)}, "angry not among happy, sad"),
        ({"methods": ("mixture",)}, "no mixture direction"),
    ],
)
def test_what_cannot_be_planned(few, changes, message):
    with pytest.raises(BadInput, match=message):
        plan(SMALL.model_copy(update=changes), few)


def test_an_untrained_dictionary_without_families_is_left_out(few):
    settings = SMALL.model_copy(update={"methods": ("sae_family", "untrained_family")})
    assert {spec.method for spec in plan(settings, few)} == {
        "none", "prompt_editing", "neutral_editing", "sae_family", "random",
    }  # fmt: skip


# -- clips ---------------------------------------------------------------------------------------------------------------


def test_every_clip_has_a_wav_and_its_facts(done, few, musicgen):
    clips, keys = done.folder / "clips", done.keys
    assert len(keys) == done.made == 4 * EACH
    assert done.summary()["clips"] == {
        "none": 4,
        "prompt_editing": 4,
        "neutral_editing": 4,
        "sae_family": 8,
        "difference_in_means": 8,
        "random": 8,
    }
    (clip,) = (
        clip
        for clip in clips_of(done.folder)
        if (clip.direction, clip.coefficient, clip.prompt, clip.seed)
        == ("difference_in_means/happy", -1, "a simple melody", 1)
    )
    again = musicgen.generate(
        clip.prompt,
        seconds=0.2,
        seed=1,
        steering=Steering(few["difference_in_means/happy"].vector, -few.unit),
    )
    np.testing.assert_array_equal(wav_samples(clips / clip.file), again)
    assert clip.amount == pytest.approx(-few.unit)
    # Of the samples as generated, before anything scales them.
    assert clip.loudness == measure_loudness(again, clip.sampling_rate)
    assert clip.how.model == "tiny"
    assert clip.encoder == "musicgen:tiny"
    assert clip.sha256 == file_sha256(clips / clip.file)


def test_plain_clips_are_plain_generate(done, musicgen):
    plain = [clip for clip in clips_of(done.folder) if clip.method == "none"]
    assert len(plain) == 4
    for clip in plain:
        audio = wav_samples(done.folder / "clips" / clip.file)
        np.testing.assert_array_equal(audio, musicgen.generate(clip.prompt, seconds=0.2, seed=clip.seed))


def test_directions_stay_with_the_run(done, few):
    assert [d.hash for d in run_directions(done.folder)] == [d.hash for d in few]


def test_running_again_makes_nothing_and_changes_no_byte(done, few, musicgen):
    before = hashes(done.folder)
    again = run_steer(few, done.folder, SMALL, model=musicgen)
    assert (again.made, again.seconds_per_clip) == (0, None)
    assert hashes(done.folder) == before


def test_a_grown_grid_keeps_what_is_there(done, few, musicgen, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(done.folder, out)
    grown = run_steer(few, out, SMALL.model_copy(update={"seeds": (0, 1, 2)}), model=musicgen)
    assert grown.made == 2 * EACH
    # Another way of steering leaves the plain and edited clips, and makes the steered ones anew.
    renormed = run_steer(few, out, SMALL.model_copy(update={"renorm": True}), model=musicgen)
    assert renormed.made == 4 * (EACH - 3)
    assert len(SteerRun.read(out).clips) == 4 * EACH
    assert renormed.notes[-1].startswith(f"{2 * EACH + 4 * (EACH - 3)} clips of other settings are in ")


def test_all_that_decides_a_clip_is_in_its_name(done, few, musicgen, tmp_path):
    from dataclasses import replace

    steered = 4 * (EACH - 3)
    how = run_how(SMALL, musicgen)

    def keys(directions, how, settings=SMALL):
        return {condition_key(spec, directions, how) for spec in plan(settings, directions)}

    base = keys(few, how)
    assert base == set(done.keys)
    longer = replace(few, unit=2 * few.unit)  # the same vectors, another length for coefficient 1
    assert len(keys(longer, how) - base) == steered
    turned = replace(few, items=tuple(replace(item, vector=-item.vector) for item in few))
    assert len(keys(turned, how) - base) == steered
    for change in (
        {"seconds": 1.0},
        {"guidance": 2.0},
        {"top_k": 3},
        {"temperature": 0.5},
        {"revision": "x"},
        {"dtype": "bfloat16"},
    ):
        assert not keys(few, how.model_copy(update=change)) & base
    # The checkpoint is known by its revision, not by how a path to it is written.
    assert keys(few, how.model_copy(update={"model": "./tiny"})) == base
    for change in ({"renorm": True}, {"null": "opposite"}, {"schedule": ((0.0, 1.0),)}):
        assert (
            len(keys(few, how.model_copy(update=change)) - base) == steered
        )  # plain and edited clips are the same under all of these


def test_a_damaged_clip_is_made_again(done, few, musicgen, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(done.folder, out)
    wav = sorted((out / "clips").glob("*.wav"))[3]
    wav.write_bytes(wav.read_bytes()[:-7])
    assert run_steer(few, out, SMALL, model=musicgen).made == 1
    assert hashes(out) == hashes(done.folder)


def test_progress_and_the_estimate_of_time_left(few, musicgen, tmp_path):
    told, left = [], []

    def progress(what, now, total):
        told.append((what, now, total))
        if (tmp_path / "progress.json").is_file():
            left.append(read_json(tmp_path / "progress.json")["seconds_left"])

    settings = SMALL.model_copy(update={"seeds": (0,), "prompts": ("music",), "batch": 3})
    run_steer(few, tmp_path, settings, progress, model=musicgen)
    assert told == [("clips", n, EACH) for n in (0, 3, 6, EACH)]  # batch by batch
    last = read_json(tmp_path / "progress.json")
    assert last["seconds_left"] == 0
    assert last["done"] == last["total"] == EACH
    assert left[0] > 0


CHILD = """
import sys
from moodlens.steer import MusicGen, run_steer
from moodlens.settings.steer import SteerSettings

source, checkpoint, out, settings = sys.argv[1:]
settings = SteerSettings.model_validate_json(settings)
model = MusicGen.load(checkpoint)


def stop(what, n, total):
    print(n, flush=True)
    if n == 3:
        sys.stdin.read()  # until it is killed


run_steer(source, out, settings, stop, model=model)
"""


def test_a_killed_run_continues_to_the_same_bytes(few, checkpoint, tmp_path):
    """SIGKILL after the first batch in another process, then again from here; compared with a run left alone."""
    save_directions(few, tmp_path / "directions")
    settings = SMALL.model_copy(update={"seeds": (0,), "seconds": 0.5, "batch": 3})
    args = [
        str(tmp_path / "directions"),
        str(checkpoint),
        str(tmp_path / "killed"),
        settings.model_dump_json(),
    ]
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert child.stdout is not None
    with child.stdout:
        assert [int(child.stdout.readline()) for _ in range(2)] == [0, 3]
        os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    there = len(list((tmp_path / "killed" / "clips").glob("*.json")))
    assert there == 3
    assert not (tmp_path / "killed" / "run.json").exists()  # a run is what is whole
    model = MusicGen.load(str(checkpoint))
    assert run_steer(few, tmp_path / "killed", settings, model=model).made == 2 * EACH - there
    whole = settings.model_copy(update={"batch": 16})
    assert run_steer(few, tmp_path / "whole", whole, model=model).made == 2 * EACH
    # A kill may leave the temporary file of a write that never ended; nothing reads those.
    killed = {name: h for name, h in hashes(tmp_path / "killed").items() if not name.endswith(".tmp")}
    expected = hashes(tmp_path / "whole")
    assert killed.pop("run.json") != expected.pop("run.json")  # it says the batch that was asked for
    assert killed == expected


# -- from a study folder -------------------------------------------------------------------------------------------------


def test_a_study_folder_steers(study_folder, few, checkpoint, tmp_path):
    read = study_directions(study_folder, SMALL.directions)
    assert [d.hash for d in read] == [d.hash for d in few]
    assert (read.provenance.encoder, read.unit) == (few.provenance.encoder, few.unit)
    settings = SMALL.model_copy(update={"model": str(checkpoint), "prompts": ("music",), "seeds": (0,)})
    run = run_steer(study_folder, tmp_path / "a", settings)
    assert run.made == EACH
    saved = run_steer(
        tmp_path / "a" / "directions", tmp_path / "b", settings
    )  # saved directions serve as well
    assert saved.keys == run.keys


def test_every_prompt_has_its_own_prompt_difference(few, musicgen, tmp_path):
    settings = SMALL.model_copy(update={"methods": ("prompt_difference",), "controls": (), "seeds": (0,)})
    run = run_steer(few, tmp_path, settings, model=musicgen)
    assert run.clips == {"none": 2, "prompt_editing": 2, "neutral_editing": 2, "prompt_difference": 4}
    made = run_directions(tmp_path).select(method="prompt_difference")
    assert [item.detail["prompt"] for item in made] == list(SMALL.prompts)
    for item, prompt in zip(made, SMALL.prompts, strict=True):
        vector = musicgen.pooled([f"{prompt}, happy"])[0] - musicgen.pooled([prompt])[0]
        np.testing.assert_allclose(item.vector, vector / np.linalg.norm(vector), atol=1e-5)
        assert item.detail["norm"] == pytest.approx(np.linalg.norm(vector), rel=1e-4)
    by_name = {item.name: item.detail["prompt"] for item in made}
    steered = [clip for clip in clips_of(tmp_path) if clip.method == "prompt_difference"]
    assert steered
    assert all(by_name[clip.direction] == clip.prompt for clip in steered)
    assert run_steer(tmp_path / "directions", tmp_path, settings, model=musicgen).made == 0


def test_another_text_encoder_is_refused_before_any_clip(few, checkpoint, tmp_path):
    from helpers.tiny_music import save_tiny_musicgen, tiny_musicgen

    other = save_tiny_musicgen(tmp_path / "other", seed=1)
    with pytest.raises(BadInput, match="directions of another encoder do not steer it"):
        run_steer(few, tmp_path / "out", SMALL.model_copy(update={"model": str(other)}))
    wide = tiny_study(tiny_musicgen(width=48)).directions(SMALL.directions)
    with pytest.raises(BadInput, match="24 wide, the directions are 48 wide"):
        run_steer(wide, tmp_path / "out", SMALL.model_copy(update={"model": str(checkpoint)}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("no-such/model", "HF_HUB_OFFLINE is set"), (".", "no such file")]
)
def test_a_checkpoint_that_is_not_there(few, tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match=message) as caught:
        run_steer(few, tmp_path / "out", SMALL.model_copy(update={"model": name}))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_study(tmp_path):
    with pytest.raises(BadInput, match=r"neither a study folder .* nor saved directions"):
        run_steer(tmp_path, tmp_path / "out", SMALL)
    assert not (tmp_path / "out").exists()


def test_a_study_that_is_not_finished_or_not_as_it_was_left_does_not_steer(study_folder, few, tmp_path):
    """Families of another SAE point anywhere: what is outdated is refused, what is not there yet is said."""
    folder = tmp_path / "study"
    shutil.copytree(study_folder, folder)
    families = (folder / "families.json").read_bytes()
    (folder / "families.json").write_bytes(families.replace(b"0.6", b"0.7"))
    with pytest.raises(BadInput, match=r"families\.json: changed since moodlens features wrote it"):
        study_directions(folder)
    (folder / "families.json").write_bytes(families)
    record = folder / ".stages" / "train.json"
    before = record.read_text()
    record.write_text(before.replace(read_json(record)["key"], "another"))
    with pytest.raises(
        BadInput, match="was made for other settings or an earlier stage; run: moodlens features"
    ):
        study_directions(folder)
    record.write_text(before)
    (folder / ".stages" / "features.json").unlink()  # as far as training: no families yet
    early = study_directions(folder, SMALL.directions)
    assert len(early.notes) == 4
    assert {item.method for item in early} == {item.method for item in few} - {
        "sae_family", "sae_feature", "matched_random_feature",
    }  # fmt: skip
    record.unlink()
    assert study_directions(folder).notes == ("no SAE in this study: no SAE directions",)
    (folder / ".stages" / "embed.json").unlink()
    with pytest.raises(BadInput, match="embed is not there yet; run: moodlens embed"):
        study_directions(folder)
    mark_finished(folder)
    assert [d.hash for d in study_directions(folder, SMALL.directions)] == [d.hash for d in few]


def test_run_json_names_what_was_asked(done):
    run = json.loads((done.folder / "run.json").read_text())
    assert SteerSettings.model_validate(run["settings"]) == SMALL
    assert run["model"]["revision"] == "random"
