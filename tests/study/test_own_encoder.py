"""A study through a function that gives rows and no tokens: what needs words does without, the rest is as ever."""

import numpy as np
import pytest

import moodlens
from moodlens.core import BadInput
from moodlens.embed import plugins
from moodlens.pipeline.opened import OpenStudy
from moodlens.pipeline.run import run
from moodlens.settings.base import validate
from moodlens.settings.study import Settings
from moodlens.study.records.embed import Embeddings
from moodlens.study.records.names import WORDS

QUICK = {
    "encoder": {"id": "words"},
    "core": {"members": 0},
    "seeds": 1,
    "prompts": {"generate": 1000},
    "sae": {"d_sae": 96, "k": 6, "epochs": 20, "batch_size": 64, "learning_rate": 3e-3},
    "features": {"n_permutations": 500, "n_shuffles": 2, "q": 0.3, "min_selectivity": 1.3},
}


def rows(texts: list[str]) -> np.ndarray:
    """What a user's own model gives: here the bundled one, of whose tokens nothing is told."""
    return moodlens.get_encoder("minilm", dtype="float32").encode(texts)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> OpenStudy:
    plugins._OWN.pop("words", None)
    moodlens.add_encoder("words", rows, revision="1")
    settings = validate(Settings, QUICK, "study")
    return run(settings, tmp_path_factory.mktemp("own") / "study", until="names")


@pytest.mark.slow
def test_rows_are_those_of_the_function(study):
    np.testing.assert_allclose(study.x[:5], rows(study.rows.texts[:5].tolist()), atol=1e-6)
    assert study.encoder_info.encoder == "words"
    record = study.read(Embeddings).texts
    assert record is not None
    assert (record.counts, record.n_cut) == ("characters", 0)


@pytest.mark.slow
def test_names_stand_on_texts_and_no_word_carries_a_score(study):
    assert not study.table(WORDS).height
    claimed = study.features.filter("emotion_feature")
    assert claimed.height
    assert (claimed["name"] != "").any()


@pytest.mark.slow
def test_new_texts_are_scored_sentence_by_sentence(study):
    scored = study.score(["a happy, bright song. It is loud.", "grief and rain"])
    families = scored.select("^family_.*$")
    assert any(families[name].is_finite().all() for name in families.columns)
    assert scored["words"].to_list() == ["", ""]


@pytest.mark.slow
def test_another_revision_is_not_the_studys(study):
    plugins._OWN.pop("words")
    moodlens.add_encoder("words", rows, revision="2")
    with pytest.raises(BadInput, match="made with revision '1', but words now has '2'"):
        study.score(["a song"])
