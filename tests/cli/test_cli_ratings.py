"""Tables of rated texts from the command line to the report: ratings alone, and beside labels."""

import json
import re

import numpy as np
import polars as pl
import pytest
import yaml

from moodlens.core.files import read_json
from moodlens.prompts import generate
from moodlens.study.records.ratings import RATINGS, Ratings
from moodlens.study.records.selection import SELECTION

PLACES = {"celebration": (8, 6), "grief": (2, 4), "sleep": (7, 2), "aggression": (3, 8)}
"""What people would rate texts of each concept: valence, arousal."""
SMALL = {
    "seeds": 1,
    "core": {"members": 4, "d_sae": 96, "bootstraps": 0},
    "sae": {"d_sae": 128, "k": 6, "epochs": 5, "batch_size": 64, "learning_rate": 3e-3},
    "features": {"n_permutations": 1000, "n_shuffles": 5},
    "validation": {"phase0": {"n_permutations": 50, "n_shuffles": 2}},
}


def _texts():
    """Prompts about four things, each word and scene rated near where its thing lies."""
    frame = generate(5000, seed=3, special=0, neutral_share=0, twin_share=0)
    frame = frame.filter(pl.col("concept").is_in(list(PLACES))).select("text", "emotion", "concept", "group")
    rng = np.random.default_rng(0)
    words = {group: rng.normal(size=2) for group in frame["group"].unique(maintain_order=True)}
    places = np.array([PLACES[c] + words[g] for c, g in frame.select("concept", "group").rows()])
    return frame.with_columns(V=pl.Series(places[:, 0].round(2)), ARO=pl.Series(places[:, 1].round(2)))


def _settings(folder, **changes):
    table = {"path": str(folder / "rated.csv"), "text_column": "text", "group_column": "group"}
    table |= {"valence_column": "valence", "arousal_column": "arousal"} | changes.pop("table", {})
    values = (
        {"name": "rated", "emotions": [], "prompts": {"generate": 0, "tables": [table]}} | SMALL | changes
    )
    path = folder / "rated.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The features of a study of labels and ratings, and of its folder's next life without labels."""
    from moodlens.pipeline.run import run
    from moodlens.settings.study import read_study

    folder = tmp_path_factory.mktemp("rated")
    _texts().write_csv(folder / "rated.csv")
    labels = {"emotions": ["happy", "sad", "calm", "energetic"], "table": {"emotion_column": "emotion"}}
    path = _settings(folder, **labels)
    study = run(read_study(path), folder / "study", until="features")
    study = run(read_study(path), folder / "study", until="ratings")
    beside = study.table(SELECTION), study.table(RATINGS), study.read(Ratings)
    return run(read_study(_settings(folder)), folder / "study").path, beside


@pytest.fixture(scope="module")
def rated(both):
    """The folder of a study of ratings alone, in which there was one with labels."""
    return both[0]


def test_ratings_alone_run_to_a_report_that_says_what_was_left_out(cli, rated):
    status, out, err = cli("run", rated.parent / "rated.yaml", "--out", rated)
    assert (status, err) == (0, "")
    assert "left out of the decision, because this study cannot be asked:" in out
    for name in ("selectivity", "concepts", "interpretability", "causality"):
        assert f"- {name}: no text has a label" in out
    assert re.search(r"features that go with ratings: valence high \d+, valence low \d+, arousal high", out)
    report = (rated / "report.md").read_text()
    assert "Left out, because this study cannot be asked: selectivity: no text has a label" in report
    assert "## Valence and arousal as people rate them" in report
    for title in ("Emotion features", "Causality", "Names and what they cover", "Phase 0"):
        assert f"## {title}" not in report
    assert "Not measured" not in report
    assert "nan" not in report.lower().replace("finance", "")
    assert (rated / "figures" / "ratings.png").is_file()
    assert "rated (V)" in report
    assert "rated (ARO)" in report


def test_features_of_both_ends_are_found_and_chance_and_untrained_ones_are_not(rated):
    record = read_json(rated / "ratings.json")
    per = record["claims"]["per_pole"]
    assert min(per.values()) >= 2
    assert record["shuffled"]["p95"] <= 1
    assert max(claims["n_rated"] for claims in record["consensus"].values()) <= 2
    assert record["alone"]["untrained-rows"]["n_rated"] > 10  # what the consensus is for
    found = pl.read_parquet(rated / "ratings.parquet").filter("rated_feature")
    high = found.filter(pl.col("pole") == "high")
    assert (high["rating"] > high["rating_silent"]).all()
    low = found.filter(pl.col("pole") == "low")
    assert (low["rating"] < low["rating_silent"]).all()
    assert record["scales"]["valence"]["dense"] > 0.5
    assert found["feature"].max() < read_json(rated / "core.json")["claimable"]


def test_verbs_on_ratings_alone_say_what_there_is(cli, rated):
    for verb in (
        "features",
        "probe",
        "concepts",
        "names",
        "causal",
        "pairs",
        "metrics",
        "untrained",
        "agreement",
    ):
        assert cli(verb, rated) == (0, "no text of this study has a label, so this is not asked\n", "")
        assert json.loads(cli(verb, rated, "--json")[1]) == {"asked": False}
    value = json.loads(cli("ratings", rated, "--json")[1])
    assert value["asked"]
    assert value["claims"]["n_rated"] == len(value["features"]) > 0
    assert "dense reading" in cli("ratings", rated)[1]
    stable = json.loads(cli("stability", rated, "--json")[1])
    assert stable["n_claimed"] == len({row["feature"] for row in value["features"]})
    for verb, more in (("inspect", ()), ("explore", ("--export", rated.parent / "page.html")), ("steer", ())):
        status, out, err = cli(verb, rated, *more)
        assert (status, out) == (2, "")
        assert err.count("\n") == 1
        assert "no text of this study has a label" in err or "MusicGen" in err
    assert cli("verify", rated)[0] == 0


def test_labels_and_ratings_in_one_table(both):
    selected, table, record = both[1]
    assert record.asked
    held = table.filter("rated_feature")
    found = {(row["feature"], row["scale"]): row["pole"] for row in held.iter_rows(named=True)}
    sad = selected.filter(pl.col("emotion_feature") & (pl.col("emotion") == "sad"))["feature"].to_list()
    poles = [found[feature, "valence"] for feature in sad if (feature, "valence") in found]
    assert len(poles) >= 2
    assert set(poles) == {"low"}


def test_nothing_of_the_labels_stays_behind(rated):
    left = {path.name for path in rated.iterdir()}
    assert left.isdisjoint(
        {"selection.parquet", "selection.json", "families.json", "phase0.json", "features.parquet"}
    )


@pytest.mark.parametrize(
    ("cell", "says"),
    [("loud", "'loud' is no number"), ("inf", "'inf' is no number"), ("-", "ratings must differ")],
)
def test_hostile_ratings_are_one_line_and_leave_nothing(cli, tmp_path, cell, says):
    rows = [(f"text {letter}", "5") for letter in "abcdefghijklmnopqrstuvwxyz"] + [("last", cell)]
    pl.DataFrame(rows, schema=["text", "valence"], orient="row").write_csv(tmp_path / "rated.csv")
    path = _settings(tmp_path, table={"arousal_column": None, "group_column": None})
    status, out, err = cli("run", path, "--out", tmp_path / "study")
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "study").exists()
