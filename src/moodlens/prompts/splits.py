"""Train, val and test: whole groups, each emotion in proportion."""

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from moodlens.core import BadInput

if TYPE_CHECKING:
    import polars as pl

DEALT = ("train", "val", "test")
HELD_OUT = "held_out"
_WORDS = {
    "train": "train training trn",
    "val": "val valid validation dev devel development",
    "test": "test testing tst eval evaluation",
    HELD_OUT: "heldout holdout ood",
}
"""Split -> what people call it, whatever the case and what joins the words."""
SPLITS = tuple(_WORDS)
_RESTARTS = 50

_EXTRA = 4
"""Deals after the first good one, to find one in which every split holds every concept that can be there."""

_CONCEPT = 0.4
"""Weight of a group of a concept beside the mean rows of one: measured to keep every emotion within 1 % of its shares
and each concept of the grammar at twenty test groups and more."""

NEARLY_ONE = 0.9
"""Share of one emotion from which on a group of several looks like a slip of the pen."""

Stratum = tuple[str | None, str | None]
"""What is dealt in proportion: (emotion, None); each concept in it, (emotion, concept); rows without an emotion by kind
(neutral, unlabelled), (None, kind)."""


def split_named(word: str) -> str | None:
    """The split that a word of a table means; None if it is no usual name of one."""
    plain = re.sub(r"[\s_-]", "", word.casefold())
    return next((split for split, words in _WORDS.items() if plain in words.split()), None)


def assign_splits(
    frame: "pl.DataFrame", *, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int
) -> "pl.DataFrame":
    """Deal the rows whose ``split`` is empty to train, val and test.

    Groups stay whole, and each emotion, each concept in it, and the neutral and the unlabelled rows are dealt in the
    wanted shares as closely as whole groups allow: the largest group first, each to the split that lacks most. Every
    split gets every emotion, and every concept as far as its groups allow. Rows without a group get one of their own. Rows that have a split keep it, and draw the other rows of their group with them. Where all
    labelled rows have splits and none is in val (or test), it is dealt out of train.

    Args:
        frame: prompts; needs ``id``, ``emotion``, ``split`` and ``group``; ``kind`` and ``concept`` if it has them.
        fractions: shares of train, val and test; positive, adding up to 1.
        seed: decides which groups go where.

    Returns:
        The frame, rows in the same order, with ``split`` and ``group`` filled in.

    Raises:
        BadInput: an emotion has too few groups, or a group has rows in two given splits.
    """
    import polars as pl

    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise BadInput(f"splits: give three positive shares that add up to 1, not {tuple(fractions)}")
    group = (
        pl.when(pl.col("group").fill_null("") == "")
        .then(pl.format("row/{}", "id"))
        .otherwise(pl.col("group"))
    )
    frame = frame.with_columns(group=group, split=pl.col("split").fill_null(""))
    given = _given(frame)
    # A few big groups of unlabelled texts must not push the neutral prompts out of a split.
    other = [
        (pl.col(name) if name in frame.columns else pl.lit(None, pl.String)).alias(name)
        for name in ("kind", "concept")
    ]
    sizes = _sizes(frame.select("group", "emotion", *other).rows())
    shares: dict[str, float] = dict(zip(DEALT, fractions, strict=True))
    if absent := _absent(sizes, given):
        shares = {split: share for split, share in shares.items() if split == "train" or split in absent}
        shares = {split: share / sum(shares.values()) for split, share in shares.items()}
        given = {name: split for name, split in given.items() if split != "train"}
        frame = frame.with_columns(split=pl.col("split").replace("train", ""))
    place = given | _deal(sizes, given, shares, seed)
    split = pl.Series([place[name] for name in frame["group"]], dtype=pl.String)
    dealt = frame.with_columns(split=pl.when(pl.col("split") == "").then(split).otherwise(pl.col("split")))
    labelled = dealt.filter(pl.col("emotion").is_not_null())
    if labelled.height and "train" not in labelled["split"]:
        raise BadInput(
            "splits: no labelled row is in train; mark some of them train, or leave their split empty"
        )
    return dealt


def split_remarks(given: "pl.Series", dealt: "pl.DataFrame") -> list[str]:
    """What is worth knowing of the splits: what train gave to those that had no row, and which emotions one lacks.

    Args:
        given: ``split`` before :func:`assign_splits`.
        dealt: the frame after it.
    """
    import polars as pl

    remarks = []
    was_train = (given == "train").fill_null(False)
    moved = Counter(dealt["split"].filter(was_train & (dealt["split"] != "train")))
    if moved:
        parts = [
            f"{count} of its {was_train.sum()} rows to {split}" for split, count in sorted(moved.items())
        ]
        remarks.append(f"no row was in {' or '.join(sorted(moved))}, so train gave {' and '.join(parts)}")
    held = dealt.filter(pl.col("emotion").is_not_null()).group_by("emotion").agg(pl.col("split").unique())
    for emotion, splits in held.sort("emotion").iter_rows():
        if lacking := [split for split in DEALT if split not in splits]:
            remarks.append(f"no text of {emotion} is in {' or '.join(lacking)}")
    return remarks


def group_remarks(frame: "pl.DataFrame") -> list[str]:
    """How many groups hold several emotions: their labels are exchanged within each group and no further.

    Args:
        frame: needs ``group`` and ``emotion``.
    """
    import polars as pl

    counts = frame.filter(pl.col("emotion").is_not_null()).group_by("group", "emotion").len()
    groups = counts.group_by("group").agg(share=pl.col("len").max() / pl.col("len").sum(), n=pl.len())
    mixed = groups.filter(pl.col("n") > 1)
    if not mixed.height:
        return []
    nearly = int((mixed["share"] >= NEARLY_ONE).sum())
    of_one = (
        f" ({nearly} of them at least {NEARLY_ONE:.0%} one: are their few other labels meant?)"
        if nearly
        else ""
    )
    return [
        f"{mixed.height} of {groups.height} groups hold several emotions{of_one}; within such a group its texts are what "
        "is exchanged and counted, as if they were independent of each other"
    ]


def _sizes(rows: Iterable[tuple[str, str | None, str | None, str | None]]) -> dict[str, dict[Stratum, float]]:
    """Group -> how much of each stratum it is, from (group, emotion, kind, concept) rows.

    An emotion is dealt by rows. A concept is dealt by groups, since groups are what judges it: each counts alike. It
    counts less than the rows of an emotion, whose shares must hold.
    """
    counts: dict[str, Counter[Stratum]] = {}
    concepts: dict[Stratum, Counter[str]] = {}
    for group, emotion, kind, concept in rows:
        counts.setdefault(group, Counter())[emotion, kind if emotion is None else None] += 1
        if emotion is not None and concept:
            concepts.setdefault((emotion, concept), Counter())[group] += 1
    sizes: dict[str, dict[Stratum, float]] = {group: dict(of) for group, of in counts.items()}
    for stratum, of in concepts.items():
        for group in of:
            sizes[group][stratum] = _CONCEPT * of.total() / len(of)
    return sizes


def _given(frame: "pl.DataFrame") -> dict[str, str]:
    """Group -> the split that some of its rows already have."""
    import polars as pl

    rows = frame.filter(pl.col("split") != "").unique(["group", "split"], maintain_order=True)
    parted = rows.filter(pl.col("group").is_duplicated()).sort("group", maintain_order=True)
    if parted.height:
        (group, first, a), (_, second, b) = parted.select("group", "split", "id").head(2).rows()
        n = parted["group"].n_unique()
        more = f" ({n} such groups)" if n > 1 else ""
        raise BadInput(
            f"splits: group {group!r} has rows in {first} and in {second}{more}, such as {a!r} and {b!r}; a group, and so "
            "copies of a text, must not straddle splits"
        )
    return dict(rows.select("group", "split").iter_rows())


def _absent(sizes: Mapping[str, Mapping[Stratum, float]], given: Mapping[str, str]) -> set[str]:
    """Of val and test those that no labelled row is in, if too few groups are left to fill them."""
    labelled = {
        name: [e for e, concept in counts if e is not None and concept is None]
        for name, counts in sizes.items()
    }
    there = {given[name] for name, emotions in labelled.items() if emotions and name in given}
    absent = {"val", "test"} - there
    left = Counter(e for name, emotions in labelled.items() if name not in given for e in emotions)
    every = {e for emotions in labelled.values() for e in emotions}
    if "train" not in there or all(left[e] >= len(absent) for e in every):
        return set()
    return absent


def _deal(
    sizes: Mapping[str, Mapping[Stratum, float]],
    given: Mapping[str, str],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, str]:
    """Group -> split, for the groups that have none. ``sizes``: rows of every group per stratum."""
    total: dict[Stratum, float] = {}
    n_groups: Counter[Stratum] = Counter()
    empty: dict[Stratum, set[str]] = {}
    for name, counts in sizes.items():
        for stratum, rows in counts.items():
            lacking = empty.setdefault(stratum, set(shares))
            if name in given:
                lacking.discard(given[name])
            else:
                total[stratum] = total.get(stratum, 0) + rows
                n_groups[stratum] += 1
    empty = {stratum: lacking for stratum, lacking in empty.items() if stratum[0] is not None}
    for (emotion, concept), lacking in empty.items():
        count = n_groups[emotion, concept]
        if concept is None and len(lacking) == len(shares) > count:
            raise BadInput(
                f"splits: {emotion!r} has {count} group{'' if count == 1 else 's'}; {_listed(shares)} need at least one "
                f"group each, so give {len(shares)} or more (texts of one group are never split)"
            )
    # Where splits were given and too few groups are left to fill the others, they stay without.
    spare = {stratum: max(0, len(lacking) - n_groups[stratum]) for stratum, lacking in empty.items()}
    free = sorted(name for name in sizes if name not in given)
    goals = {
        split: {stratum: share * rows for stratum, rows in total.items()} for split, share in shares.items()
    }
    best: tuple[int, dict[str, str]] | None = None
    for restart in range(_RESTARTS):
        order = list(free)
        random.Random(f"{seed}/{restart}").shuffle(order)
        cover = restart >= _RESTARTS // 2  # shares alone did not do: no split without an emotion comes first
        if not cover:
            order.sort(key=lambda name: -sum(sizes[name].values()))
        place, left = _greedy(order, sizes, goals, n_groups, empty, cover=cover)
        short = [stratum for stratum, splits in left.items() if len(splits) > spare[stratum]]
        if all(concept is not None for _, concept in short) and (best is None or len(short) < best[0]):
            best = len(short), place
        if best is not None and (not best[0] or restart >= _EXTRA):
            return best[1]
    raise BadInput(f"splits: the groups cannot be dealt so that {_listed(shares)} each hold every emotion")


def _listed(splits: Iterable[str]) -> str:
    *first, last = splits
    return f"{', '.join(first)} and {last}"


def _greedy(
    order: Sequence[str],
    sizes: Mapping[str, Mapping[Stratum, float]],
    goals: Mapping[str, Mapping[Stratum, float]],
    n_groups: Counter[Stratum],
    empty: Mapping[Stratum, set[str]],
    *,
    cover: bool,
) -> tuple[dict[str, str], dict[Stratum, set[str]]]:
    """Group -> split, and the splits that lack an emotion or concept all the same.

    With ``cover`` a group goes where it brings most emotions that are not there yet; shares decide among equals.
    """
    splits = list(goals)
    lacking = {split: dict(goal) for split, goal in goals.items()}
    empty = {stratum: set(of) for stratum, of in empty.items()}
    left = Counter(n_groups)
    place: dict[str, str] = {}
    for name in order:
        counts = sizes[name]
        allowed = set(splits)
        for stratum in sorted(counts, key=lambda one: one[1] is not None):  # emotions before concepts
            # The last groups of an emotion or concept belong to the splits that have none of it yet.
            needy = empty.get(stratum)
            if needy and left[stratum] <= len(needy):
                allowed = allowed & needy or allowed
        emotions = [stratum for stratum in counts if stratum[1] is None]
        news = {split: cover * sum(split in empty.get(e, ()) for e in emotions) for split in splits}
        # Adding s rows of an emotion changes the squared error by s (s - 2 lacking).
        gain = {split: sum(n * lacking[split][e] for e, n in counts.items()) for split in splits}
        best = max(
            (split for split in splits if split in allowed), key=lambda split: (news[split], gain[split])
        )
        for stratum, n in counts.items():
            lacking[best][stratum] -= n
            empty.get(stratum, set()).discard(best)
            left[stratum] -= 1
        place[name] = best
    return place, empty
