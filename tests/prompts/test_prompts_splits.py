"""Splits: whole groups, each emotion in its share, held-out rows where they are."""

from collections import Counter
from itertools import product

import polars as pl
import pytest
from hypothesis import given as given_
from hypothesis import strategies as st

from moodlens.core import BadInput
from moodlens.prompts import assign_splits, generate
from moodlens.prompts.splits import split_remarks

DEALT = ("train", "val", "test")


def table(groups: list[tuple[str | None, int, str]]) -> pl.DataFrame:
    """Rows of (emotion, size, split) groups, interleaved."""
    rows = [
        {"id": f"{number}-{row}", "emotion": emotion, "split": split, "group": f"group {number}"}
        for number, (emotion, size, split) in enumerate(groups)
        for row in range(size)
    ]
    rows.sort(key=lambda row: row["id"][::-1])
    return pl.DataFrame(rows, schema=dict.fromkeys(("id", "emotion", "split", "group"), pl.String))


EMOTION = st.sampled_from(["happy", "sad", "calm", None])
GROUPS = st.lists(
    st.tuples(EMOTION, st.integers(1, 9), st.sampled_from(["", "", "", "held_out"])), max_size=40
)
ENOUGH: list[tuple[str | None, int, str]] = [
    (emotion, size, "") for emotion in ("happy", "sad", "calm") for size in (1, 2, 3)
]


@given_(GROUPS, st.integers(0, 2**31))
def test_groups_never_straddle_and_given_splits_stay(groups, seed):
    frame = table(ENOUGH + groups)
    dealt = assign_splits(frame, seed=seed)
    assert dealt.drop("split").equals(frame.drop("split"))
    assert set(dealt["split"]) <= {*DEALT, "held_out"}
    assert dealt.group_by("group").agg(pl.col("split").n_unique())["split"].max() == 1
    assert (dealt["split"] == "held_out").equals(frame["split"] == "held_out")
    for emotion in ("happy", "sad", "calm"):
        assert set(DEALT) <= set(dealt.filter(pl.col("emotion") == emotion)["split"])


@given_(st.integers(0, 2**31))
def test_equal_seeds_deal_alike_whatever_the_order_of_rows(seed):
    frame = table(ENOUGH * 4)
    dealt = assign_splits(frame, seed=seed)
    again = assign_splits(frame.reverse(), seed=seed).reverse()
    assert dealt.equals(again)


def test_other_seeds_deal_otherwise():
    frame = table(ENOUGH * 10)
    assert not assign_splits(frame, seed=0).equals(assign_splits(frame, seed=1))


@given_(
    st.lists(st.integers(1, 12), min_size=30, max_size=80),
    st.sampled_from([(0.6, 0.2, 0.2), (0.5, 0.15, 0.35), (0.8, 0.1, 0.1)]),
    st.integers(0, 2**31),
)
def test_every_emotion_gets_its_shares_as_closely_as_groups_allow(sizes, fractions, seed):
    frame = table([(emotion, size, "") for emotion in ("happy", "sad", None) for size in sizes])
    dealt = assign_splits(frame, fractions=fractions, seed=seed)
    for emotion in ("happy", "sad", None):
        rows = dealt.filter(pl.col("emotion").eq_missing(pl.lit(emotion)))
        found = Counter(rows["split"])
        for split, fraction in zip(DEALT, fractions, strict=True):
            assert abs(found[split] - fraction * rows.height) <= max(sizes)


def test_generated_prompts_keep_their_shares():
    dealt = assign_splits(generate(6000, seed=0), fractions=(0.5, 0.15, 0.35), seed=0)
    rows = dealt.filter((pl.col("kind") == "plain") & (pl.col("split") != "held_out"))
    counts = rows.group_by("emotion", "split").len()
    for split, fraction in zip(DEALT, (0.5, 0.15, 0.35), strict=True):
        for n in counts.filter(pl.col("split") == split)["len"]:
            assert n == pytest.approx(855 * fraction, abs=0.02 * 855)


def test_rows_without_a_group_stand_for_themselves():
    frame = table(ENOUGH).with_columns(group=pl.lit(None, dtype=pl.String))
    dealt = assign_splits(frame, seed=0)
    assert dealt["group"].to_list() == [f"row/{name}" for name in frame["id"]]
    assert set(dealt["split"]) == set(DEALT)


def test_a_given_split_draws_the_rest_of_its_group():
    frame = table(ENOUGH).with_columns(
        split=pl.when(pl.col("id") == "2-0").then(pl.lit("val")).otherwise(pl.lit(""))
    )
    frame = pl.concat([frame, table([("happy", 2, ""), ("happy", 2, "")]).with_columns(group=pl.lit("new"))])
    dealt = assign_splits(frame, seed=0)
    assert set(dealt.filter(pl.col("group") == "group 2")["split"]) == {"val"}


@pytest.mark.parametrize("fractions", [(0.5, 0.5, 0.0), (0.5, 0.2, 0.2), (0.7, 0.3), (1.2, -0.1, -0.1)])
def test_shares_that_do_not_add_up_are_refused(fractions):
    with pytest.raises(BadInput, match="three positive shares that add up to 1"):
        assign_splits(table(ENOUGH), fractions=fractions, seed=0)


def test_too_few_groups_are_named():
    with pytest.raises(
        BadInput, match="'sad' has 2 groups; train, val and test need at least one group each"
    ):
        assign_splits(table([*ENOUGH[:3], ("sad", 5, ""), ("sad", 5, "")]), seed=0)


def given(rows: list[tuple[str, str]], n: int = 10) -> pl.DataFrame:
    """``n`` rows of their own for each (emotion, split)."""
    return table([(emotion, 1, split) for emotion, split in rows for _ in range(n)])


def test_a_group_in_two_given_splits_is_named():
    frame = table([*ENOUGH, ("sad", 2, "train"), ("sad", 2, "train")])
    frame = frame.with_columns(
        split=pl.when(pl.col("id").is_in(["9-1", "10-1"])).then(pl.lit("test")).otherwise(pl.col("split"))
    )
    says = r"group 'group 10' has rows in train and in test \(2 such groups\), such as '10-0' and '10-1'; a group, and so"
    with pytest.raises(BadInput, match=says):
        assign_splits(frame, seed=0)


@pytest.mark.parametrize(
    ("absent", "share"), [(("val",), 0.2 / 0.8), (("test",), 0.2 / 0.8), (("val", "test"), 0.4)]
)
def test_a_split_that_no_row_has_is_dealt_out_of_train(absent, share):
    splits = [split for split in (*DEALT, "held_out") if split not in absent]
    frame = given([(emotion, split) for emotion in ("happy", "sad") for split in splits], n=20)
    dealt = assign_splits(frame, fractions=(0.6, 0.2, 0.2), seed=0)
    for emotion in ("happy", "sad"):
        counts = Counter(dealt.filter(pl.col("emotion") == emotion)["split"])
        assert sum(counts[split] for split in absent) == 20 * share
        assert all(counts[split] == 20 for split in splits if split != "train")
    (line,) = split_remarks(frame["split"], dealt)
    assert line.startswith(f"no row was in {' or '.join(sorted(absent))}, so train gave ")
    assert "of its 40 rows to" in line


def test_unlabelled_rows_do_not_hide_that_a_split_is_absent():
    frame = given(
        [("happy", "train"), ("sad", "train"), ("happy", "test"), ("sad", "test"), (None, "val"), (None, "")]
    )
    dealt = assign_splits(frame, seed=0)
    assert set(dealt.filter(pl.col("split") == "val")["emotion"]) == {"happy", "sad", None}


def test_given_splits_stay_where_the_rest_can_be_dealt():
    frame = given([(e, split) for e in ("happy", "sad") for split in ("train", "test", "")])
    dealt = assign_splits(frame, seed=0)
    assert split_remarks(frame["split"], dealt) == []
    assert dealt.filter(frame["split"] != "")["split"].equals(frame.filter(pl.col("split") != "")["split"])
    assert set(dealt.filter(pl.col("emotion") == "sad")["split"]) == set(DEALT)


def test_one_row_without_a_split_is_enough_beside_given_ones():
    frame = given([(e, split) for e in ("happy", "sad") for split in DEALT], n=2)
    frame = pl.concat(
        [frame, table([("happy", 1, "")]).with_columns(group=pl.lit("last"), id=pl.lit("last"))]
    )
    assert assign_splits(frame, seed=0)["split"][-1] in DEALT


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("sad", "train"), ("sad", "test")], ["no text of sad is in val"]),
        ([("sad", "val")], ["no text of sad is in train or test"]),
        ([("sad", "test"), ("sad", "")], ["no text of sad is in "]),
        ([("sad", "train"), ("sad", "")], ["no text of sad is in "]),
        ([("sad", "train"), ("sad", "test"), ("sad", "")], []),
    ],
)
def test_an_emotion_that_a_given_split_lacks_is_told(rows, says):
    frame = given([("happy", split) for split in DEALT] + rows, n=1)
    dealt = assign_splits(frame, seed=0)
    assert dealt.filter(frame["split"] != "")["split"].equals(frame.filter(pl.col("split") != "")["split"])
    remarks = split_remarks(frame["split"], dealt)
    assert len(remarks) == len(says)
    assert all(remark.startswith(said) for remark, said in zip(remarks, says, strict=True))


@pytest.mark.parametrize(
    ("splits", "says"),
    [
        (("val", "test"), "no labelled row is in train; mark some"),
        (("test",), "no labelled row is in train; mark some"),
        (("held_out",), "'happy' has 0 groups; train, val and test need at least one group each"),
    ],
)
def test_no_row_to_train_on_is_refused(splits, says):
    with pytest.raises(BadInput, match=f"splits: {says}") as caught:
        assign_splits(given([(e, split) for e in ("happy", "sad") for split in splits]), seed=0)
    assert "\n" not in str(caught.value)


@given_(st.lists(st.sets(st.sampled_from("abc"), min_size=1), min_size=3, max_size=7), st.integers(0, 99))
def test_groups_of_several_emotions_are_dealt_wherever_they_can_be(groups, seed):
    rows = [(f"{i}{emotion}", emotion, f"g{i}") for i, of in enumerate(groups) for emotion in sorted(of)]
    frame = pl.DataFrame(rows, schema=["id", "emotion", "group"], orient="row").with_columns(split=pl.lit(""))
    present = set(frame["emotion"])
    can = any(
        all(
            present == {e for of, at in zip(groups, places, strict=True) if at == split for e in of}
            for split in range(3)
        )
        for places in product(range(3), repeat=len(groups))
    )
    try:
        dealt = assign_splits(frame, seed=seed)
    except BadInput:
        assert not can
    else:
        assert all(set(dealt.filter(pl.col("split") == split)["emotion"]) == present for split in DEALT)


def test_big_unlabelled_groups_leave_the_neutral_rows_in_proportion():
    rows = [(f"p{i}", ("happy", "sad")[i % 2], "plain", f"g{i // 4}") for i in range(400)]
    rows += [(f"n{i}", None, "neutral", f"n{i}") for i in range(200)]
    rows += [(f"u{i}", None, "unlabelled", "author") for i in range(300)]
    frame = pl.DataFrame(rows, schema=["id", "emotion", "kind", "group"], orient="row")
    dealt = assign_splits(frame.with_columns(split=pl.lit("")), fractions=(0.6, 0.2, 0.2), seed=0)
    neutral = dealt.filter(pl.col("kind") == "neutral").group_by("split").len()
    assert dict(neutral.iter_rows()) == {"train": 120, "val": 40, "test": 40}
    assert dealt.filter(pl.col("kind") == "unlabelled")["split"].unique().to_list() == ["train"]


def conceptual(groups: list[tuple[str, str | None, int]]) -> pl.DataFrame:
    """Rows of (emotion, concept, size) groups."""
    rows = [
        (f"{number}-{row}", emotion, concept, f"group {number}", "")
        for number, (emotion, concept, size) in enumerate(groups)
        for row in range(size)
    ]
    schema = dict.fromkeys(("id", "emotion", "concept", "group", "split"), pl.String)
    return pl.DataFrame(rows, schema=schema, orient="row")


@given_(
    st.lists(st.tuples(st.integers(6, 12), st.integers(1, 5)), min_size=2, max_size=5),
    st.integers(0, 2**31),
)
def test_every_split_holds_every_concept_that_has_the_groups(concepts, seed):
    # The groups of one concept come one after another, and an emotion has any number of concepts.
    groups = [
        (emotion, f"{emotion}/{c}", size)
        for emotion, own in (("happy", concepts), ("sad", concepts[:1]))
        for c, (n_groups, size) in enumerate(own)
        for _ in range(n_groups)
    ]
    frame = conceptual(groups)
    dealt = assign_splits(frame, seed=seed)
    assert dealt.drop("split").equals(frame.drop("split"))
    for _, rows in dealt.group_by("concept"):
        assert set(rows["split"]) == set(DEALT)


@given_(st.integers(0, 2**31))
def test_concepts_are_dealt_by_groups_and_emotions_by_rows(seed):
    sizes = [20, *[1] * 19]
    frame = conceptual([("happy", c, size) for c in "ab" for size in sizes] + [("sad", "c", 2)] * 30)
    dealt = assign_splits(frame, fractions=(0.6, 0.1, 0.3), seed=seed)
    happy = dealt.filter(pl.col("emotion") == "happy")
    assert Counter(happy["split"])["test"] == pytest.approx(0.3 * happy.height, abs=4)
    for concept in "ab":
        groups = happy.filter(pl.col("concept") == concept).unique("group")
        assert Counter(groups["split"])["test"] >= 3


def test_concepts_that_few_groups_have_stop_nothing():
    few = [("happy", "rare", 3), ("happy", None, 2), ("sad", "rarer", 1), ("sad", None, 1)]
    frame = conceptual(few + [(emotion, None, 2) for emotion in ("happy", "sad") for _ in range(6)])
    dealt = assign_splits(frame, seed=0)
    for emotion in ("happy", "sad"):
        assert set(dealt.filter(pl.col("emotion") == emotion)["split"]) == set(DEALT)


def test_without_known_concepts_splits_are_as_without_the_column():
    frame = table(ENOUGH * 4)
    with_column = frame.with_columns(concept=pl.lit(None, pl.String))
    assert assign_splits(with_column, seed=3)["split"].equals(assign_splits(frame, seed=3)["split"])
