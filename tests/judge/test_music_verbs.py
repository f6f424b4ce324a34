"""The music verbs from end to end, on a tiny random MusicGen: steer, judge."""

import re
import shutil

import numpy as np
import pytest

from helpers.clips import put_clip

pytest.importorskip("librosa", reason="needs the extra moodlens[audio]")
from helpers.music_verbs import files
from moodlens.core import BadInput, read_json, read_table
from moodlens.judge.results import judge_run
from moodlens.steer.directions import save_directions


def test_steer_judge_and_listen(moodlens, run, study, small, tmp_path):
    results = read_json(run / "results.json")
    assert {(row["method"], row["coefficient"]) for row in results["rows"]} == {
        ("difference_in_means", 2),
        ("prompt_editing", None),
    }
    random = [row for row in results["controls"] if row["method"] == "random"]
    # At 2, as the only coefficient that was asked for.
    assert {(row["coefficient"], row["n_directions"]) for row in random} == {(2, 2)}
    assert not any(row["moved"] for row in results["rows"])
    assert any("too few random directions" in line for line in results["statements"])
    again = moodlens("steer", study, *small, "--no-judge")
    assert (again["made"], again["n_clips"]) == (0, 2 * (1 + 3 + 2 + 2))
    assert read_json(run / "results.json") == results  # the same clips
    assert "reach" not in again  # nothing is judged
    assert moodlens("judge", run)["rows"] == results["rows"]
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    renamed = moodlens("judge", copy, "--set", "judge.methods=[prompt_editing]", "--set", "readout=acoustic")
    assert {row["method"] for row in renamed["rows"] if row["confirmatory"]} == {"prompt_editing"}
    assert any("named after the clips were made" in line for line in renamed["statements"])
    test = moodlens("listen", run, "--out", tmp_path / "test", "--coefficient", 2)
    assert test["trials"] > 0
    assert (tmp_path / "test" / "listen.html").is_file()


def test_what_the_grid_can_reach_is_told_before_the_first_clip(call, capsys, run, study, small, tmp_path):
    capsys.readouterr()
    assert call("steer", study, *small) == 0
    told = capsys.readouterr().out
    head = "confirmatory table: 2 rows (difference_in_means) at coefficient 2, 2 prompts, 2 random directions"
    assert told.startswith(head)
    assert "least q: 1, 1 if every row moves; there is nothing to compare with" in told
    assert told.index("least q") < told.index("clips")
    assert "confirmatory, read by acoustic, q over 0 rows:" in told
    assert "exploratory, no claims" in told


def test_a_path_to_the_checkpoint_is_written_as_one_likes(
    moodlens, run, small, study, checkpoint, monkeypatch
):
    monkeypatch.chdir(checkpoint.parent)
    options = ["./checkpoint" if option == checkpoint else option for option in small]
    assert moodlens("steer", study, *options, "--no-judge")["made"] == 0


def test_other_clips_make_old_results_void_and_are_told(moodlens, run, study, small, tmp_path):
    """And what --set, --method none and --control none change."""
    out = tmp_path / "steer"
    shutil.copytree(run, out)
    options = [*small[: small.index("--method")], "--method", "none", "--control", "none"]
    options += [
        "--set",
        "steer.emotions=[calm]",
        "--set",
        "neutral_words=[audio]",
        "--no-judge",
        "--out",
        out,
    ]
    made = moodlens("steer", study, *options)
    assert made["clips"] == {"none": 2, "prompt_editing": 2, "neutral_editing": 2}
    assert made["made"] == 2
    assert made["notes"][-1].startswith("12 clips of other settings are in ")
    assert not (out / "results.json").exists()
    assert not (out / "scores.parquet").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--coefficient", -1], "share no positive coefficient (-1 and -1)"),
        (["--coefficient", 2, "--control-coefficient", 1], "share no positive coefficient (2 and 1)"),
        (["--clap", "no/such-clap"], "CLAP no/such-clap: cannot load"),
        (["--no-acoustics"], "add CLAP"),
        (["--seconds", 0.3], "acoustics need clips of 0.5 s or more, not 0.3"),
        (["--seconds", 601], "seconds: should be less than or equal to 600"),
        (["--set", "judge.coefficient=3"], "judge.coefficient: 3 is not among the positive ones"),
        (
            ["--set", "judge.readout=clap_logit"],
            "clap_logit is not among what the clips are scored with: acoustic",
        ),
        (["--set", "judge.readout=acustic", "--scorer", "musicnn"], "scored with: musicnn, acoustic"),
        (["--set", "judge.methods=[nosuch]"], "unknown judge.methods: nosuch; known: sae_family"),
        (["--set", "secnds=3"], "unknown setting 'secnds'; did you mean 'seconds'"),
        (["--emotion", "angry"], "angry not among happy, sad, calm, energetic"),
        (["--method", "magic"], "unknown methods: magic"),
        (["--device", "tpu9"], "device tpu9: cannot be used here"),
        (["--model", "no/such-model"], "generator no/such-model: cannot load"),
        (["--prompts", "none.txt"], "none.txt: cannot read"),
    ],
)
def test_what_is_wrong_is_said_before_the_first_clip(refused, run, study, small, options, message):
    changed = {options[0]} | ({"--set"} if options[0] == "--set" else set())
    pairs = list(zip(small[::2], small[1::2], strict=True))
    shared = [part for pair in pairs if pair[0] not in changed for part in pair]
    before = files(study)
    assert message in refused("steer", study, *shared, *options)
    assert files(study) == before


def test_a_wrong_name_leaves_the_results_as_they_are(refused, run):
    before = files(run)
    assert "unknown judge.methods: nosuch; known: sae_family" in refused(
        "judge", run, "--set", "methods=[nosuch]"
    )
    assert "made at: 2" in refused("judge", run, "--set", "coefficient=3")
    assert "scored with: acoustic" in refused("judge", run, "--set", "readout=clap")
    assert files(run) == before


def test_two_runs_in_one_folder_and_a_folder_of_which_nothing_comes(refused, run, study, small, tmp_path):
    from filelock import FileLock

    with FileLock(run / ".lock"):
        assert "another run is at work in it" in refused("steer", study, *small)
        assert "another run is at work in it" in refused("judge", run)
    options = list(small)
    options[options.index("--coefficient") + 1] = "1e30"
    line = refused(
        "steer", study, *options, "--out", tmp_path / "new", "--method", "linear_probe", "--no-judge"
    )
    assert "clip of 'instrumental music', difference_in_means/happy at coefficient 1e+30" in line
    assert "smaller coefficient" in line
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        ".lock",
        "clips",
        "progress.json",
    ]  # plain clips
    assert "cannot load" in refused(
        "steer", study, "--model", "no/such", "--out", tmp_path / "other", "--no-judge"
    )
    assert not (tmp_path / "other").exists()


def test_labels_of_ones_own_need_clap(refused, directions, small, tmp_path):
    """Acoustics alone have no hypotheses about them: nothing could be judged once the clips are there."""
    from dataclasses import replace

    names = dict(zip(directions.emotions, ("wistful", "bold", "tender", "wild"), strict=True))
    items = tuple(replace(d, emotion=names.get(d.emotion or "")) for d in directions if d.method != "mixture")
    own = replace(directions, items=items, emotions=tuple(names.values()))
    save_directions(own, tmp_path / "directions")
    line = refused(
        "steer", tmp_path / "directions", "--out", tmp_path / "out", *small[: small.index("--emotion")]
    )
    assert "nothing is stated about wistful, bold, tender, wild" in line
    assert "add CLAP" in line
    assert not (tmp_path / "out").exists()


def test_out_is_no_input_and_no_file(refused, run, study, small, tmp_path):
    before = files(study)
    assert "is what is read" in refused("steer", study, "--out", study, *small)
    (tmp_path / "file").write_text("mine")
    assert "is a file" in refused("steer", study, "--out", tmp_path / "file" / "below", *small)
    for place in (run, run / "clips"):
        assert "is what is read" in refused("listen", run, "--out", place, "--coefficient", 2)
    assert "--emotion" in refused("judge", run, "--emotion", "happy")
    assert "--out" in refused("judge", run, "--out", tmp_path / "x.csv")
    assert files(study) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_of_sounds_is_scored_into_a_table(moodlens, refused, tmp_path):
    sounds = tmp_path / "so[u]nds"
    for name, hz in (("one [1]", 220), ("zwei ü", 880)):
        put_clip(sounds, name, 0.1 * np.sin(2 * np.pi * hz * np.arange(16000) / 16000), 16000)
    (sounds / "run.json").write_text('{"of": "another program"}')
    (sounds / "notes.txt").write_text("not a sound")
    scored = moodlens("judge", sounds, "--out", tmp_path / "t.parquet")
    assert [row["file"] for row in scored["clips"]] == ["one [1].wav", "zwei ü.wav"]
    assert read_table(tmp_path / "t.parquet").height == 2
    assert "written as .csv or .parquet" in refused(
        "judge", tmp_path / "nothing", "--out", tmp_path / "t.json"
    )
    assert "no such folder" in refused("judge", tmp_path / "nothing")
    assert "is a file" in refused("judge", sounds / "one [1].wav")
    assert "there are some in" in refused("judge", tmp_path)


def test_a_run_that_is_not_whole_says_what_ends_it(refused, run, tmp_path):
    out = tmp_path / "steer"
    shutil.copytree(run, out)
    (out / "run.json").unlink()
    for verb in (["judge", out], ["listen", out, "--out", tmp_path / "test"]):
        assert "not finished; run the same steer again" in refused(*verb)
    (out / "shard.json").write_text("{}")
    assert "is a shard of a run; put all shards together first: moodlens merge" in refused("judge", out)


def test_help_gives_examples_that_the_verb_takes(call, capsys):
    from moodlens.settings.judge import ResultSettings
    from moodlens.settings.steer import read_steer_settings

    said = {}
    for verb in ("steer", "judge", "rank"):
        capsys.readouterr()
        assert call(verb, "--help") == 0
        said[verb] = " ".join(capsys.readouterr().out.split())
    examples = {verb: re.search(r"setting, e\.g\. ([\w.]+=\w+)", said[verb]) for verb in ("steer", "judge")}
    assert read_steer_settings(None, [examples["steer"][1]]) != read_steer_settings(None)
    assert ResultSettings().changed([examples["judge"][1]]) != ResultSettings()
    assert "Texts that are steered: a file with one prompt a line." in said["steer"]
    assert "MusicGen: of tokens; Stable Audio: of noise" in said["rank"]


def test_a_run_whose_clips_are_gone(refused, run, tmp_path):
    out = tmp_path / "steer"
    shutil.copytree(run, out)
    shutil.rmtree(out / "clips")
    assert "missing, or not as the run wrote it; run the same steering again" in refused("judge", out)


@pytest.mark.parametrize("value", ["[]", '"text"', "{", "{}", '{"version": 1, "clips": 3}'])
def test_a_damaged_run_says_how_to_make_it_anew(refused, run, tmp_path, value):
    out = tmp_path / "steer"
    shutil.copytree(run, out)
    (out / "run.json").write_text(value)
    for verb in (["judge", out], ["listen", out, "--out", tmp_path / "test"]):
        line = refused(*verb)
        assert str(out / "run.json") in line
        assert f"moodlens steer DIR --out {out}" in line


def test_what_cannot_be_judged_leaves_scores_and_results_as_they_were(run, tmp_path):
    out = tmp_path / "steer"
    shutil.copytree(run, out)
    before = files(out)
    with pytest.raises(BadInput, match="no score has a column for every emotion"):
        judge_run(out, [lambda clip: {"peak_level": float(clip.mono.max())}])
    assert files(out) == before


def test_a_clip_that_is_not_as_it_was_written_is_not_scored(refused, run, tmp_path):
    out = tmp_path / "steer"
    shutil.copytree(run, out)
    wav = sorted((out / "clips").glob("*.wav"))[3]
    data = wav.read_bytes()
    for spoiled in (data[: len(data) // 2], data[:-4] + b"\0\0\0\0", b""):
        wav.write_bytes(spoiled)
        assert str(wav) in refused("judge", out)
    wav.write_bytes(data)
    wav.with_suffix(".json").write_text("[1, 2]")
    assert str(wav) in refused("judge", out)
