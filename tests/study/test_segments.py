"""Long unlabelled texts become one row a sentence."""

import polars as pl
import pytest

from moodlens.core import BadInput
from moodlens.pipeline.run import run
from moodlens.pipeline.stages.texts import split_into_segments
from moodlens.settings.base import validate
from moodlens.settings.study import Settings

LONG = (
    "A piano plays a slow tune in a large hall. The strings enter in the second verse. It sounds like rain."
)


def study(path, **table) -> Settings:
    texts = {"path": str(path), "text_column": "caption", **table}
    return validate(Settings, {"prompts": {"generate": 400, "tables": [texts]}}, "study")


def prompts(folder, settings: Settings) -> pl.DataFrame:
    return run(settings, folder / "study", until="prompts").prompts


@pytest.fixture
def captions(tmp_path):
    path = tmp_path / "captions.csv"
    rows = {"caption": [f"{LONG} Take {i}, short." for i in range(40)] + ["soft piano"], "author": ["a"] * 41}
    pl.DataFrame(rows).write_csv(path)
    return path


def test_sentences_are_rows_of_their_text(captions, tmp_path):
    frame = prompts(tmp_path, study(captions, segments=True)).filter(pl.col("kind") == "unlabelled")
    first = frame.filter(pl.col("group") == "captions-1")
    assert first["id"].to_list() == ["captions-1/1", "captions-1/2", "captions-1/3", "captions-1/4"]
    assert " ".join(first["text"]) == f"{LONG} Take 0, short."
    assert frame.filter(pl.col("group") == "captions-41")["id"].to_list() == ["captions-41"]
    assert frame.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
    assert frame["id"].is_unique().all()


def test_a_given_group_stays(captions, tmp_path):
    frame = prompts(tmp_path, study(captions, segments=True, group_column="author"))
    own = frame.filter(pl.col("source") == "captions.csv")
    assert own.height == 4 * 40 + 1
    assert own["group"].unique().to_list() == ["a"]
    assert own["split"].n_unique() == 1


def test_without_the_setting_texts_stay_whole(captions, tmp_path):
    frame = prompts(tmp_path, study(captions)).filter(pl.col("source") == "captions.csv")
    assert frame.height == 41


def test_other_columns_are_repeated():
    frame = pl.DataFrame({"id": ["x"], "text": [LONG], "group": [""], "split": ["val"], "source": ["a.csv"]})
    split = split_into_segments(frame)
    assert split["split"].to_list() == ["val"] * 3
    assert split["group"].to_list() == ["x"] * 3
    assert split.columns == frame.columns


def test_labelled_texts_are_not_cut(captions):
    with pytest.raises(BadInput, match=r"prompts\.tables\.0: segments: true is for unlabelled texts"):
        study(captions, segments=True, emotion_column="mood")
