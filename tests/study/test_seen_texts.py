"""Texts to be judged that the study trained on are counted."""

import polars as pl

from moodlens.pipeline.score import count_seen, trained_keys

PROMPTS = pl.DataFrame(
    {
        "text": ["A flute plays a long and slow tune.", "soft  piano", "The drums enter late in the song."],
        "split": ["train", "val", "test"],
    }
)


def test_a_sentence_or_the_whole_text_counts():
    by_sentence = "A flute plays a long and slow tune. It sounds like a cold rain in the night."
    assert count_seen([by_sentence, "soft piano", "loud piano"], trained_keys(PROMPTS)) == 2


def test_texts_of_the_test_split_are_new():
    assert count_seen(["The drums enter late in the song."], trained_keys(PROMPTS)) == 0
