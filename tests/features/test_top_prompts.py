"""The texts shown for a feature are its strongest, one of every strength, and what it misses."""

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.features.top_prompts import top_prompts


@pytest.fixture
def rows():
    activation = np.r_[np.zeros(30), np.arange(1, 51)].astype(np.float32)
    labels = np.r_[np.repeat([0, 1, -1], 10), np.zeros(50, int)]
    return activation, [f"text {i}" for i in range(80)], labels


def test_top_and_deciles(rows):
    shown = top_prompts(*rows, 0, seed=0, n=3)
    assert [p["text"] for p in shown["top"]] == ["text 79", "text 78", "text 77"]
    assert (shown["n_rows"], shown["n_active"]) == (80, 50)
    assert [d["decile"] for d in shown["deciles"]] == list(range(10, 0, -1))
    assert all(d["n_active"] == 5 and d["low"] <= d["activation"] <= d["high"] for d in shown["deciles"])
    assert shown["deciles"][-1]["low"] == 1


def test_misses_are_silent_rows_of_the_emotion_strongest_evidence_first(rows):
    shown = top_prompts(*rows, 0, seed=0, n=4, strength=np.arange(80.0))
    assert (shown["n_emotion"], shown["n_missed"]) == (60, 10)
    assert [p["row"] for p in shown["misses"]] == [9, 8, 7, 6]
    drawn = top_prompts(*rows, 0, seed=0, n=4)["misses"]
    assert all(p["row"] < 10 and p["activation"] == 0 for p in drawn)
    assert top_prompts(*rows, None, seed=0)["misses"] == []


def test_equal_seeds_draw_equally_and_ties_keep_their_order(rows):
    activation, texts, labels = rows
    assert top_prompts(*rows, 0, seed=4) == top_prompts(*rows, 0, seed=4)
    flat = top_prompts((activation > 0).astype(float), texts, labels, 0, seed=0, n=2)
    assert [p["row"] for p in flat["top"]] == [30, 31]


def test_few_firings_give_few_deciles_and_none_gives_none(rows):
    activation, texts, labels = rows
    few = top_prompts(np.where(activation > 47, activation, 0), texts, labels, 0, seed=0)
    assert [d["n_active"] for d in few["deciles"]] == [1, 1, 1]
    silent = top_prompts(np.zeros(80), texts, labels, 0, seed=0)
    assert silent["top"] == silent["deciles"] == []


def test_lengths_must_agree(rows):
    with pytest.raises(BadInput, match="79 texts"):
        top_prompts(rows[0], rows[1][1:], rows[2], 0, seed=0)
