"""Train, val and test: whole groups, each emotion in proportion."""

import random
from collections import Counter
from typing import TYPE_CHECKING

from moodlens.core import BadInput

if TYPE_CHECKING:
    import polars as pl

DEALT = ("train", "val", "test")
HELD_OUT = "held_out"
SPLITS = (*DEALT, HELD_OUT)
_RESTARTS = 50

Stratum = tuple[str | None, str | None]
"""What is dealt in proportion: the rows of one emotion; those without one by kind (neutral, unlabelled)."""


def assign_splits(
    frame: "pl.DataFrame", *, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), seed: int
) -> "pl.DataFrame":
    """Deal the rows whose ``split`` is empty to train, val and test.

    Groups stay whole, and each emotion (and the neutral and the unlabelled rows) is dealt in the wanted shares as
    closely as whole groups allow: the largest group first, each to the split that lacks most. Rows without a group
    get one of their own. Rows that have a split keep it, and draw the other rows of their group with them.

    Args:
        frame: prompts; needs ``id``, ``emotion``, ``split`` and ``group``; ``kind`` if it has one.
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
    fixed = _given(frame)
    # A few big groups of unlabelled texts must not push the neutral prompts out of a split.
    kind = pl.col("kind") if "kind" in frame.columns else pl.lit(None, pl.String)
    sizes: dict[str, Counter[Stratum]] = {}
    for name, emotion, other in frame.select("group", "emotion", kind.alias("kind")).iter_rows():
        if name not in fixed:
            sizes.setdefault(name, Counter())[emotion, other if emotion is None else None] += 1
    place = fixed | _deal(sizes, fractions, seed)
    split = pl.Series([place[name] for name in frame["group"]], dtype=pl.String)
    return frame.with_columns(split=pl.when(pl.col("split") == "").then(split).otherwise(pl.col("split")))


def _given(frame: "pl.DataFrame") -> dict[str, str]:
    """Group -> the split that some of its rows already have."""
    import polars as pl

    pairs = frame.filter(pl.col("split") != "").select("group", "split").unique(maintain_order=True)
    found: dict[str, str] = {}
    for group, split in pairs.iter_rows():
        if found.setdefault(group, split) != split:
            raise BadInput(
                f"splits: group {group!r} has rows in {found[group]} and in {split}; a group must not straddle splits"
            )
    return found


def _deal(
    sizes: dict[str, "Counter[Stratum]"], fractions: tuple[float, float, float], seed: int
) -> dict[str, str]:
    """Group -> split. ``sizes``: rows of every group per emotion (None: without one)."""
    total: Counter[Stratum] = Counter()
    n_groups: Counter[Stratum] = Counter()
    for counts in sizes.values():
        total.update(counts)
        n_groups.update(counts.keys())
    for (emotion, _), count in n_groups.items():
        if emotion is not None and count < len(DEALT):
            raise BadInput(
                f"splits: {emotion!r} has {count} group{'s' if count > 1 else ''}; train, val and test need at least one "
                "group each, so give 3 or more (texts of one group are never split)"
            )
    goals = [{emotion: share * rows for emotion, rows in total.items()} for share in fractions]
    needed = [emotion for emotion in total if emotion[0] is not None]
    for restart in range(_RESTARTS):
        order = sorted(sizes)
        random.Random(f"{seed}/{restart}").shuffle(order)
        order.sort(key=lambda name: -sum(sizes[name].values()))
        place = _greedy(order, sizes, goals, n_groups)
        have = {(place[name], emotion) for name in order for emotion in sizes[name]}
        if all((split, emotion) in have for split in DEALT for emotion in needed):
            return place
    raise BadInput("splits: the groups cannot be dealt so that train, val and test each hold every emotion")


def _greedy(
    order: list[str],
    sizes: dict[str, "Counter[Stratum]"],
    goals: list[dict[Stratum, float]],
    n_groups: "Counter[Stratum]",
) -> dict[str, str]:
    lacking = [dict(goal) for goal in goals]
    empty = {emotion: set(range(len(DEALT))) for emotion in n_groups}
    left = Counter(n_groups)
    place: dict[str, str] = {}
    for name in order:
        counts = sizes[name]
        allowed = set(range(len(DEALT)))
        for emotion in counts:
            # The last groups of an emotion belong to the splits that have none of it yet.
            if emotion[0] is not None and empty[emotion] and left[emotion] <= len(empty[emotion]):
                allowed = allowed & empty[emotion] or allowed
        # Adding s rows of an emotion changes the squared error by s (s - 2 lacking).
        best = max(sorted(allowed), key=lambda split: sum(n * lacking[split][e] for e, n in counts.items()))
        for emotion, n in counts.items():
            lacking[best][emotion] -= n
            empty[emotion].discard(best)
            left[emotion] -= 1
        place[name] = DEALT[best]
    return place
