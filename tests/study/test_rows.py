"""Rows cut every column alike, know neutral from unknown, and have one filter."""

import tracemalloc

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.core import BadInput
from moodlens.study.rows import DEV, NEUTRAL, UNKNOWN, Rows

EMOTIONS = ("happy", "sad")


def _frame(**columns):
    return pl.DataFrame(
        {
            "text": ["a", "b", "c", "d", "e", "f"],
            "emotion": ["happy", "sad", None, None, None, "angry"],
            "kind": ["plain", "plain", "neutral", "unlabelled", "negation", "plain"],
            "split": ["train", "val", "test", "train", "held_out", "test"],
            "group": ["g", "g", "h", "i", "j", "k"],
        }
        | columns
    )


def test_neutral_and_unknown_are_different_things():
    rows = Rows.from_frame(_frame(), EMOTIONS)
    assert rows.label.tolist() == [0, 1, NEUTRAL, UNKNOWN, UNKNOWN, UNKNOWN]
    assert rows.kind.tolist() == ["plain", "plain", "neutral", "unlabelled", "negation", "unlabelled"]
    assert rows.where().tolist() == [0, 1, 2]
    assert rows.plain.tolist() == [True] * 3 + [False] * 3
    assert rows.labelled().tolist() == [0, 1]


def test_one_filter_by_split_and_kind():
    rows = Rows.from_frame(_frame(), EMOTIONS)
    assert rows.where(*DEV).tolist() == [0, 1]
    assert rows.where(*DEV, kinds=None).tolist() == [0, 1, 3]
    assert rows.where("held_out", kinds=("negation",)).tolist() == [4]
    assert rows.labelled("test").tolist() == []


def test_an_index_a_mask_and_a_slice_cut_every_column():
    rows = Rows.from_frame(_frame(), EMOTIONS)
    for cut in (rows[np.array([1, 2])], rows[np.arange(6) % 4 > 0][:2], rows[1:3]):
        assert len(cut) == 2
        assert cut.texts.tolist() == ["b", "c"]
        assert cut.split.tolist() == ["val", "test"]
        assert cut.group.tolist() == [0, 1]
        assert cut.emotions == EMOTIONS


def test_what_is_not_given_follows_from_the_labels():
    rows = Rows.of([0, NEUTRAL, UNKNOWN], emotions=EMOTIONS)
    assert rows.kind.tolist() == ["plain", "neutral", "unlabelled"]
    assert rows.group.tolist() == [0, 1, 2]
    assert rows.split.tolist() == ["train"] * 3
    assert Rows.of([UNKNOWN], emotions=EMOTIONS, kind="plain").kind.tolist() == ["unlabelled"]
    assert Rows.of([UNKNOWN], emotions=EMOTIONS, kind="mixed").kind.tolist() == ["mixed"]


def test_columns_that_do_not_fit_are_one_line():
    with pytest.raises(BadInput, match="there are 2 labels"):
        Rows.of([0, 1], emotions=EMOTIONS, group=[1])
    with pytest.raises(BadInput, match="labels run from 0 to 2, for 2 emotions"):
        Rows.of([0, 2], emotions=EMOTIONS)
    with pytest.raises(BadInput, match="labels run from -3"):
        Rows.of([-3], emotions=EMOTIONS)


def test_a_concept_that_is_not_known_is_empty():
    assert Rows.from_frame(_frame(), EMOTIONS).concept.tolist() == [""] * 6
    rows = Rows.from_frame(_frame(concept=["play", None, None, None, "grief", ""]), EMOTIONS)
    assert rows.concept.tolist() == ["play", "", "", "", "grief", ""]
    assert rows[[4, 0]].concept.tolist() == ["grief", "play"]
    assert Rows.of([0], emotions=EMOTIONS).concept.tolist() == [""]


def test_copies_of_a_text_share_a_code_whatever_its_case_and_order():
    rows = Rows.from_frame(_frame(text=["A b", "b a!", "c", "d", "C.", "e"]), EMOTIONS)
    assert rows.copy[0] == rows.copy[1]
    assert rows.copy[2] == rows.copy[4]
    assert len(np.unique(rows.copy)) == 4
    assert len(np.unique(Rows.of([0, 1], emotions=EMOTIONS).copy)) == 2


@given(st.lists(st.text(max_size=4), max_size=30))
def test_texts_have_numbers_in_the_order_of_the_alphabet(texts):
    codes = Rows.of([0] * len(texts), emotions=EMOTIONS, group=texts).group
    assert codes.dtype == np.int64
    assert [sorted(set(texts))[code] for code in codes] == texts


def test_one_long_text_takes_its_own_room_alone():
    """An array of texts has room for the longest in each row: 1 GB here."""
    n = 800
    frame = _frame(
        kind=["plain"] * n,
        emotion=["happy", "sad"] * (n // 2),
        group=["g" * 10**5, *(f"g{i}" for i in range(1, n))],
        split=["train"] * n,
        text=["la " * 10**5, *(f"song {i}" for i in range(1, n))],
    )
    tracemalloc.start()
    rows = Rows.from_frame(frame, ("happy", "sad"))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(rows.copy)) == len(set(rows.group)) == n
    assert most < 2**28
