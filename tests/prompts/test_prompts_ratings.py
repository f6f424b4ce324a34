"""Ratings in users' tables: which column, which cells, and one line for what is no rating."""

import numpy as np
import polars as pl
import pytest

from helpers.tables import write
from moodlens.core import BadInput
from moodlens.pipeline.stages.texts import shuffle_labels, shuffle_ratings
from moodlens.prompts import COLUMNS, read_prompts
from moodlens.prompts.ratings import rating_column
from moodlens.settings.base import validate
from moodlens.settings.study import Settings, Table
from moodlens.study.rows import Rows

N = 30


def _rows(ratings=None, n=N):
    return [
        (f"tune {'abcdefghijklmnopqrstuvwxyz'[i % 26]}{'x' * (i // 26)}", r)
        for i, r in enumerate(ratings or range(n))
    ]


def _read(path, column="valence", **more):
    return read_prompts(Table(path=str(path), text_column="caption", valence_column=column, **more))


def test_ratings_stand_beside_the_columns_of_generated_prompts(tmp_path):
    cells = [*map(str, range(N - 4)), "", " N/A ", "-1.5e0", " 7 "]
    path = write(tmp_path / "mine.csv", _rows(cells), ("caption", "rated"))
    frame, report = _read(path, "rated")
    assert tuple(frame.columns) == (*COLUMNS, "valence")
    assert frame["valence"].dtype == pl.Float64
    assert frame["valence"][-4:].to_list() == [None, None, -1.5, 7.0]
    assert set(frame["kind"]) == {"unlabelled"}
    assert report.n_rated == {"rated": N - 2}
    assert "28 rated (rated)" in report.line
    rows = Rows.from_frame(frame.with_columns(split=pl.lit("train")), ())
    assert np.isnan(rows.valence[-4:]).tolist() == [True, True, False, False]
    assert np.isnan(rows.arousal).all()
    assert len(rows.rated("valence", "train")) == N - 2
    assert rows[:3].valence.tolist() == [0.0, 1.0, 2.0]


def test_a_text_rated_by_several_people_has_one_rating(tmp_path):
    rows = [*_rows(), ("Tune A", 6), ("tune a!", ""), ("tune b", 1)]
    frame, report = _read(write(tmp_path / "mine.csv", rows, ("caption", "valence")))
    assert frame["valence"][0] == 3.0
    assert frame["valence"][-3:].to_list() == [3.0, 3.0, 1.0]
    assert (report.n_rated, report.n_averaged) == ({"valence": N + 2}, 2)
    assert "2 ratings averaged with others of the same text" in report.line


@pytest.mark.parametrize("name", ["V.Mean.Sum", "Valence", "VAL", "valence_mean"])
def test_the_name_of_the_scale_stands_for_those_of_published_norms(tmp_path, name):
    path = write(tmp_path / "mine.csv", _rows(), ("caption", name))
    assert _read(path)[1].n_rated == {name if name != "Valence" else "valence": N}


def test_of_several_names_of_published_norms_the_own_one_is_meant_or_none(tmp_path):
    rows = [(text, value, 9 - i) for i, (text, value) in enumerate(_rows())]
    path = write(tmp_path / "mine.csv", rows, ("caption", "valence", "VAL"))
    assert rating_column(path, "valence", "valence") == "valence"
    path = write(tmp_path / "two.csv", rows, ("caption", "V.Mean.Sum", "VAL"))
    with pytest.raises(
        BadInput, match=r"'VAL' and 'V.Mean.Sum' may each hold valence; name one by valence_column"
    ):
        rating_column(path, "valence", "Valence")
    assert rating_column(path, "valence", "VAL") == "VAL"


def test_another_name_stands_for_itself_alone(tmp_path):
    path = write(tmp_path / "mine.csv", _rows(), ("caption", "V.Mean.Sum"))
    with pytest.raises(BadInput, match="has no column 'pleasantness'"):
        _read(path, "pleasantness")


@pytest.mark.parametrize(
    ("ratings", "says"),
    [
        ([*range(N - 1), "high"], "row 30: column 'valence': 'high' is no number"),
        ([*range(N - 1), "inf"], "row 30: column 'valence': 'inf' is no number"),
        ([*range(N - 1), "5,5"], "row 30: column 'valence': '5,5' is no number"),
        ([*range(N - 1), "4_5"], "row 30: column 'valence': '4_5' is no number"),
        ([*range(N - 1), "1e999"], "row 30: column 'valence': '1e999' is no number"),
        ([5] * N, "column 'valence' is 5 wherever there is a rating; ratings must differ"),
        ([*range(2), *[""] * (N - 2)], "column 'valence': 2 texts have a rating; 20 or more are needed"),
        ([1, 2], "column 'valence': 2 texts have a rating; 20 or more are needed"),
        ([""] * N, "column 'valence': 0 texts have a rating; 20 or more are needed"),
    ],
)
def test_what_is_no_rating_is_one_line(tmp_path, ratings, says):
    path = write(tmp_path / "mine.csv", _rows(ratings), ("caption", "valence"))
    with pytest.raises(BadInput) as caught:
        _read(path)
    assert str(caught.value) == f"{path}: {says}"


RATED = {"path": "a.csv", "text_column": "text", "valence_column": "valence"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"prompts": {"generate": 0, "tables": [RATED]}}, "set emotions: [] to study the ratings alone"),
        ({"emotions": []}, "leaves nothing to look for"),
        ({"emotions": [], "prompts": {"tables": [RATED]}}, "emotions: [] is for ratings alone"),
        (
            {"emotions": [], "prompts": {"generate": 0, "tables": [RATED]}, "transfer": [{"path": "b.csv", "text_column": "t"}]},
            "no label to judge transfer tables by",
        ),
        ({"transfer": [RATED]}, "name ratings in prompts.tables"),
        ({"prompts": {"tables": [RATED | {"segments": True}]}}, "segments: true is for texts without ratings"),
    ],
)  # fmt: skip
def test_settings_that_leave_nothing_to_judge_are_refused(values, says):
    with pytest.raises(BadInput) as caught:
        validate(Settings, values, "study")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ratings_alone_and_beside_labels_are_settings():
    assert (
        validate(Settings, {"emotions": [], "prompts": {"generate": 0, "tables": [RATED]}}, "study").emotions
        == ()
    )
    assert len(validate(Settings, {"prompts": {"tables": [RATED]}}, "study").emotions) == 4


def test_the_control_deals_ratings_among_groups_of_a_split():
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(40), 3)
    frame = pl.DataFrame(
        {
            "text": [f"{i} text" for i in range(120)],
            "group": group.astype(str),
            "split": np.array(["train", "test"])[group % 2],
            "emotion": [None] * 120,
            "concept": [None] * 120,
            "valence": rng.normal(size=40)[group],
            "arousal": [None, *rng.normal(size=119)],
        },
        schema_overrides={"emotion": pl.String, "concept": pl.String},
    )
    dealt = shuffle_ratings(shuffle_labels(frame, seed=0), seed=0)
    assert dealt.drop("valence", "arousal").equals(frame.drop("valence", "arousal"))
    for split in ("train", "test"):
        first, second = (some.filter(pl.col("split") == split) for some in (frame, dealt))
        assert sorted(first["valence"]) == sorted(second["valence"])
        assert np.abs(np.corrcoef(first["valence"], second["valence"])[0, 1]) < 0.7
    # One rating a word: it moves with all its rows. Several in a group: they stay in it.
    assert (dealt.group_by("group").agg(pl.col("valence").n_unique())["valence"] == 1).all()
    inside = (
        frame.join(dealt, on="text", suffix="_new")
        .group_by("group")
        .agg(pl.col("arousal", "arousal_new").sort())
    )
    assert inside["arousal"].to_list() == inside["arousal_new"].to_list()
    assert dealt["arousal"][0] is None
