"""Which words carry a score: shares are exact, and the words shown are those of unseen texts."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.naming_study import FEATURES, GENRES, study
from moodlens.core import maps
from moodlens.features.names.attribute import Attribution, Spoken, speaker
from moodlens.features.names.judge import name_features
from moodlens.settings.names import NameSettings
from moodlens.study.records.names import WORDS

SETTINGS = NameSettings(n_shuffles=5, q=0.1)


def test_words_marks_and_special_tokens_add_up_to_the_whole_score():
    from moodlens.embed import get_encoder
    from moodlens.embed.tokens import each_tokens

    encoder = get_encoder("minilm", dtype="float32")
    texts = ["A mournful, laid-back waltz.", "grave music"]
    x = encoder.encode(texts)
    mean = np.full(x.shape[1], 0.01, dtype=np.float32)
    spoken = speaker(encoder, mean)(texts)
    assert spoken.word == ("a", "mournful", "laid-back", "waltz", "grave", "music")
    assert spoken.text.tolist() == [0, 0, 0, 0, 1, 1]
    assert [texts[i][a:b].lower() for i, (a, b) in zip(spoken.text, spoken.place, strict=True)] == list(
        spoken.word
    )
    assert spoken.whole == pytest.approx(x - mean, abs=1e-4)
    w = np.random.default_rng(0).standard_normal(x.shape[1])
    block = next(each_tokens(encoder, texts))
    for i in range(2):
        states = block.values[block.of(i)]
        shares = (states - mean) @ w / len(states)
        assert shares.sum() == pytest.approx((x[i] - mean) @ w, abs=1e-4)
        others = np.isin(block.spans[block.of(i)][:, 1] - block.spans[block.of(i)][:, 0], (0,))
        marks = [texts[i][a:b] in (",", ".") for a, b in block.spans[block.of(i)]]
        of_words = spoken.vector[spoken.text == i] @ w
        assert of_words.sum() == pytest.approx(shares[~others & ~np.array(marks)].sum(), abs=1e-4)


@pytest.fixture(scope="module")
def attributed():
    """A study whose texts are read by a made-up encoder: the third to last word carries everything."""
    frame, coded, table = study()
    rng = np.random.default_rng(0)
    W_enc = rng.standard_normal((coded.x.shape[1], coded.codes.shape[1])).astype(np.float32)
    vectors = dict(zip(coded.rows.texts, coded.x, strict=True))
    asked = []

    def speak(texts):
        asked.extend(texts)
        words = [text.replace(",", "").split() for text in texts]
        carrier = [len(spoken) - 3 for spoken in words]
        vector = [
            vectors[text] * (place == last)
            for text, spoken, last in zip(texts, words, carrier, strict=True)
            for place in range(len(spoken))
        ]
        text = np.repeat(np.arange(len(texts)), [len(spoken) for spoken in words])
        place = np.zeros((len(text), 2), dtype=int)
        said = tuple(word for spoken in words for word in spoken)
        whole = np.array([vectors[text] for text in texts], np.float32)
        return Spoken(text, said, np.array(vector, np.float32), place, whole)

    attribution = Attribution(speak, coded.rows.texts, coded.x, np.zeros(coded.x.shape[1]), W_enc)

    def name():
        return name_features(table, coded, frame, SETTINGS, seed=0, attribution=attribution)

    return frame, name(), list(asked), name


def test_the_words_shown_carry_the_score_in_unseen_texts(attributed):
    frame, names, *_ = attributed
    assert list(names.words.columns) == list(WORDS.columns)
    of_play = names.words.filter(names.words["feature"] == FEATURES.index("play"))
    unseen = " ".join(frame.filter(frame["split"] == "test")["text"])
    assert all(word in unseen for word in of_play["word"])
    assert (of_play["share"] <= 1 + 1e-6).all()
    assert of_play["rank"].to_list() == list(range(1, of_play.height + 1))
    assert set(names.words["word"]).isdisjoint({*GENRES, "piece", "number", "a", "the"})
    assert names.summary.attributed
    shown = names.table["fired_by"][FEATURES.index("play")]
    assert shown.split(", ") == of_play["word"].head(5).to_list()
    assert names.table["fired_by"][FEATURES.index("silent")] is None


def test_only_some_texts_are_read_word_by_word(attributed):
    frame, _, asked, _ = attributed
    held_out = set(frame.filter(frame["emotion"].is_null())["text"])
    assert len(set(asked)) < 0.8 * len(frame)
    assert not held_out.issubset(asked)


def test_names_do_not_depend_on_how_much_is_looked_at_together(attributed, monkeypatch):
    _, names, _, name = attributed
    monkeypatch.setattr(maps, "BLOCK", 1)  # a feature, a word, a name at a time
    alone = name()
    # Of the words beside a name, those that differ by rounding alone may stand in another order.
    assert alone.table.drop("name_evidence").equals(names.table.drop("name_evidence"))
    assert alone.words.equals(names.words)
    assert alone.summary == names.summary


def test_names_are_the_same_whatever_else_the_encoder_is_asked(attributed):
    frame, coded, table = study()
    plain = name_features(table, replace(coded), frame, SETTINGS, seed=0)
    assert plain.table["name"].null_count() == attributed[1].table["name"].null_count()
    assert plain.table["fired_by"].null_count() == len(table)
