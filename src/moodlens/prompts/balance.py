"""How much a factor tells of the emotion: near nothing, if the table is counterbalanced."""

from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput

if TYPE_CHECKING:
    import polars as pl

FACTORS = ("instrument", "genre", "intensity", "style")


def factor_information(
    frame: "pl.DataFrame",
    *,
    factors: tuple[str, ...] = FACTORS,
    n_permutations: int = 200,
    seed: int = 0,
) -> dict[str, float]:
    """Mutual information of every factor with the emotion, beside what shuffled emotions give.

    The plug-in estimate is biased upwards by about ``(rows of table - 1)(columns - 1) / (2 n ln 2)`` bits
    (Miller 1955), so a value says something only beside its null.

    Args:
        frame: prompts; rows without an emotion are left out, a missing factor counts as a value of its own.
        factors: columns to judge; those the frame lacks or that hold one value only are left out.
        n_permutations: shuffles of the emotions behind the null.
        seed: of the shuffles.

    Returns:
        ``{factor: bits, factor_null_mean: bits, factor_null_p95: bits}`` for every factor.

    Raises:
        BadInput: fewer than two emotions.
    """
    import polars as pl

    rows = frame.filter(pl.col("emotion").is_not_null())
    _, labels = np.unique(rows["emotion"].to_numpy().astype(str), return_inverse=True)
    if len(labels) == 0 or labels.max() == 0:
        raise BadInput("factor information: needs rows of at least two emotions")
    rng = np.random.default_rng(seed)
    found: dict[str, float] = {}
    for factor in factors:
        if factor not in rows.columns:
            continue
        values = rows[factor].fill_null("").to_numpy().astype(str)
        _, codes = np.unique(values, return_inverse=True)
        if codes.max() == 0:
            continue
        null = [mutual_information(codes, rng.permutation(labels)) for _ in range(n_permutations)]
        found[factor] = mutual_information(codes, labels)
        found[f"{factor}_null_mean"] = float(np.mean(null))
        found[f"{factor}_null_p95"] = float(np.quantile(null, 0.95))
    return found


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Plug-in mutual information in bits of two (n,) arrays of codes >= 0."""
    width = int(b.max()) + 1
    joint = np.bincount(a * width + b, minlength=(int(a.max()) + 1) * width).reshape(-1, width) / len(a)
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    present = joint > 0
    # Rounding can leave an exact zero at -1e-17.
    return max(0.0, float(np.sum(joint[present] * np.log2(joint[present] / outer[present]))))
