"""What verbs print to people: nothing is cut without a word, and what is shown is what was judged."""

import json
import shutil

import polars as pl
import pytest

from moodlens.core.files import read_json
from moodlens.pipeline.score_lines import auroc_lines
from moodlens.pipeline.stages import discovery
from moodlens.study.records.sae import Core
from moodlens.study.records.selection import Selection
from moodlens.study.records.transfer import TransferSet


def test_stability_says_what_the_verdict_judges(cli, small_study):
    judged = {c["id"]: c for c in read_json(small_study / "verdict.json")["criteria"]}
    value = json.loads(cli("stability", small_study, "--json")[1])
    assert value["claimed_share"] == pytest.approx(judged["stability"]["value"])
    assert value["claimed_bootstrap_share"] == pytest.approx(judged["bootstrap"]["value"])
    assert value["n_claimed"] == read_json(small_study / "selection.json")["n_emotion_features"]
    assert "claimed_share" in cli("stability", small_study)[1]


def test_stability_alone_says_that_nothing_is_chosen_yet(cli, small_study, tmp_path):
    copy = shutil.copytree(small_study, tmp_path / "copy")
    (copy / ".stages" / "features.json").unlink()
    status, out, _ = cli("stability", copy)
    assert status == 0
    assert out.startswith("claimed features are not chosen yet: moodlens features DIR")


def test_a_table_that_is_cut_says_so_and_where_all_of_it_is(cli, small_study, monkeypatch):
    assert discovery.cut(3, 3, "names.parquet") == []
    assert discovery.cut(3, 9, "names.parquet") == ["3 of 9 are shown; all: names.parquet"]
    whole = cli("names", small_study)[1]
    assert "are shown" not in whole
    assert not whole.startswith("version")
    monkeypatch.setattr(discovery, "SHOWN", 0)
    n = read_json(small_study / "names.json")["n_judged"]
    assert f"0 of {n} are shown; all: names.parquet" in cli("names", small_study)[1]


def test_a_share_of_a_feature_is_not_rounded_to_another(cli, small_study):
    mean = read_json(small_study / "selection.json")["shuffled"]["mean"]
    assert f"under shuffled labels {mean:.4g} on average" in cli("features", small_study)[1]


def test_no_feature_found_says_what_kept_any_from_being_found(cli, small_study):
    found = Selection.read(small_study)
    core = Core.read(small_study)
    assert discovery.why_none(found, core) == []
    none = found.model_copy(update={"n_emotion_features": 0, "n_tested": 64, "q": 0.05})
    assert discovery.why_none(none.model_copy(update={"n_permutations": 9_999}), core) == []
    for n, says in (
        (99, "no fewer than 13 of the 64 features that were tested could hold at q < 0.05"),
        (10, "none of the 64"),
    ):
        (line,) = discovery.why_none(none.model_copy(update={"n_permutations": n}), core)
        assert line.startswith(f"{n} permutations give no p below")
        assert says in line
        assert line.endswith("raise features.n_permutations")
    absent = core.model_copy(update={"remark": "too few"})
    assert discovery.why_none(none.model_copy(update={"core_size": 0, "n_tested": 0}), absent) == ["too few"]


def test_few_rows_say_why_nothing_may_be_claimed(cli, small_settings, tmp_path):
    change = ["--set", "prompts.generate=300", "--set", "core.d_sae=null"]
    status, out, _ = cli("features", small_settings, "--out", tmp_path / "few", *change)
    assert status == 0
    assert "training rows are too few for a stable core" in out
    assert "core.members=0 tests the features of the one SAE all the same" in out
    path = tmp_path / "texts.csv"
    path.write_text("caption,mood\na happy tune,happy\nso sad,sad\na sad song,sad\n")
    status, out, _ = cli(
        "score", tmp_path / "few", path, "--text-column", "caption", "--label-column", "mood"
    )
    assert status == 0
    assert "no family scores, since no emotion feature was found: " in out
    assert out.count("training rows are too few for a stable core") == 1
    assert "nan" not in out
    status, _, err = cli("inspect", tmp_path / "few")
    assert status == 2
    assert f"(moodlens features {tmp_path / 'few'} says why); name one with --feature N" in err


def test_scores_mark_what_is_cut_and_say_once_how_texts_are_read(cli, small_study, tmp_path):
    path = tmp_path / "texts.csv"
    long = "gloomy and sorrowful music that goes on and on for longer than anybody shows"
    pl.DataFrame(
        [(long, "sad"), ("a happy tune", "happy"), ("a joyful song", "happy"), ("so sad", "sad")],
        schema=["caption", "mood"],
        orient="row",
    ).write_csv(path)
    out = cli("score", small_study, path, "--text-column", "caption", "--label-column", "mood")[1]
    assert f"{long[:59]}…" in out
    assert long not in out
    assert out.count("log-mean-exp") == 1
    assert "--group-column" in out


def test_groups_that_are_given_need_no_hint():
    def lines(n_groups):
        result = TransferSet(
            name="t", n=4, n_texts=4, n_groups=n_groups, n_per_emotion={"a": 2, "b": 2}, readings={},
            auroc={"family": {"a": {"value": 0.9, "ci": None}, "b": {"value": 0.9, "ci": None}, "mean": {"value": 0.9, "ci": None}}},
        )  # fmt: skip
        return "\n".join(auroc_lines("t", result, ("a", "b")))

    assert "--group-column" in lines(4)
    assert "--group-column" not in lines(2)


def test_a_study_without_ratings_says_so(cli, small_study):
    assert cli("ratings", small_study)[1] == "no text carries a rating (valence_column, arousal_column)\n"
    assert "go with ratings" not in cli("report", small_study)[1]
    assert "as people rate them" not in (small_study / "report.md").read_text()


def test_a_verb_says_which_later_stages_it_left_outdated_and_how_to_make_them_anew(
    cli, small_study, tmp_path
):
    copy = shutil.copytree(small_study, tmp_path / "copy")
    status, out, err = cli("prompts", copy, "--json")
    assert (status, err) == (0, "")

    status, out, err = cli("prompts", copy, "--set", "seed=7", "--json")
    assert (status, out.count("\n"), err.count("\n")) == (0, 1, 1)
    assert json.loads(out)["seed"] == 7
    assert "outdated now: embed, probe, sweep, train, " in err
    assert err.endswith(f"verdict, report; run: moodlens report {copy}\n")
    # It is said once, by the verb that did it.
    assert cli("prompts", copy, "--json")[2] == ""

    table = tmp_path / "own.csv"
    table.write_text("text,label\n" + "".join(f"song {i},{'happy' if i % 2 else 'sad'}\n" for i in range(40)))
    mine = ("--text-column", "text", "--label-column", "label", "--out", tmp_path / "mine")
    assert cli("embed", table, *mine)[2] == ""
    with table.open("a") as file:
        file.write("another song,happy\n")
    status, _, err = cli("prompts", tmp_path / "mine")
    assert status == 0
    assert err.endswith(f"outdated now: embed; run: moodlens embed {tmp_path / 'mine'}\n")


def test_outdated_stages_that_do_not_need_each_other_are_named_by_a_verb_each(cli, small_study, tmp_path):
    copy = shutil.copytree(small_study, tmp_path / "a copy")
    for later in ("verdict", "report"):
        (copy / ".stages" / f"{later}.json").unlink()
    err = cli("prompts", copy, "--force")[2]
    assert f"moodlens names '{copy}' && moodlens causal '{copy}'" in err
    assert f"moodlens embed '{copy}'" not in err
