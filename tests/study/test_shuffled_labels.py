"""The control of shuffled labels: emotions move between what every permutation test exchanges, and nowhere else."""

from collections import Counter

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from moodlens.pipeline.stages.texts import shuffle_labels
from moodlens.prompts.splits import group_remarks


def _frame(rows):
    schema = dict.fromkeys(["text", "emotion", "concept", "group", "split"], pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_labels_of_a_group_of_several_emotions_stay_in_it():
    mixed = [(f"text {i}", "happy" if i % 3 else "sad", None, "annotator", "train") for i in range(30)]
    whole = [(f"word {i}", "calm", "rest", f"g{i}", "train") for i in range(6)]
    frame = _frame([*mixed, *whole, ("nothing", None, None, "g9", "train")])
    dealt = shuffle_labels(frame, seed=0)
    of = {group: Counter(part["emotion"]) for (group,), part in dealt.group_by("group")}
    assert of["annotator"] == {"happy": 20, "sad": 10}
    assert dealt["emotion"][:30].to_list() != frame["emotion"][:30].to_list()
    assert dealt["emotion"][30:].equals(frame["emotion"][30:])
    assert dealt["concept"].equals(frame["concept"])


def test_copies_of_a_text_get_one_label():
    rows = [
        (f"Text {i % 4}{'!' * (i // 4)}", ("happy", "sad")[i % 4 > 1], None, "ann", "train")
        for i in range(40)
    ]
    for seed in range(8):
        dealt = shuffle_labels(_frame(rows), seed=seed)
        texts = dealt.group_by(pl.col("text").str.strip_chars("!")).agg(pl.col("emotion").n_unique())
        assert texts["emotion"].to_list() == [1] * 4
        assert Counter(dealt["emotion"]) == {"happy": 20, "sad": 20}


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.sampled_from(["train", "test"])), max_size=40
    )
)
def test_each_split_keeps_its_groups_of_each_emotion_with_their_concepts(groups):
    rows = [
        (f"text {i} {take}", emotion, f"{emotion}{concept}", f"g{i}", split)
        for i, (emotion, concept, split) in enumerate(groups)
        for take in range(2)
    ]
    frame, dealt = _frame(rows), shuffle_labels(_frame(rows), seed=1)
    names = ["emotion", "concept", "split"]
    assert sorted(dealt.select(names).rows()) == sorted(frame.select(names).rows())
    assert dealt.select("text", "group", "split").equals(frame.select("text", "group", "split"))
    assert dealt.group_by("group").agg(pl.col("emotion").n_unique())["emotion"].max() in (1, None)


def test_groups_of_several_emotions_are_counted_and_near_slips_named():
    rows = [(f"t{i}", "sad" if i else "happy", None, "ann", "train") for i in range(12)]
    rows += [
        ("a", "sad", None, "bob", "train"),
        ("b", "calm", None, "bob", "train"),
        ("c", "calm", None, "cy", "test"),
    ]
    (line,) = group_remarks(_frame(rows))
    assert line.startswith("2 of 3 groups hold several emotions (1 of them at least 90% one")
    assert group_remarks(_frame(rows[-1:])) == []
