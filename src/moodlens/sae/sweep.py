"""The Pareto front of a sweep, and the rule that chooses."""

import numpy as np
import polars as pl

from moodlens.core import BadInput
from moodlens.settings.sae import grid as grid

# The roadmap's bars.
MAX_MSE = 0.01  # per element, raw units
MIN_EXPLAINED_VARIANCE = 0.8  # held out
ACTIVE_BAND = (0.01, 0.03)  # share of features active: 50-200 of 6,144
MAX_DEAD = 0.10
CLOSE = 0.02  # explained variances this near to each other count as equal


def pareto(frame: pl.DataFrame) -> np.ndarray:
    """``(rows,) bool``: no other row has at least its ``explained_variance`` with at most its ``l0`` and beats it in one."""
    ev = frame["explained_variance"].to_numpy()
    l0 = frame["l0"].to_numpy()
    as_good = (ev[:, None] >= ev) & (l0[:, None] <= l0)
    better = (ev[:, None] > ev) | (l0[:, None] < l0)
    return np.logical_not((as_good & better).any(0))


def choose(frame: pl.DataFrame) -> tuple[int, str]:
    """The roadmap's rule: reconstruct well, then be sparse enough, then have few dead features, then be selective.

    Each criterion keeps the rows that meet it; where none does, it keeps those that come nearest. Of what is left the
    row with most ``dev_selective`` features (train and validation rows only) wins, then the higher explained variance.

    Returns:
        ``(row index, reason in words)``.

    Raises:
        BadInput: the frame is empty.
    """
    if frame.height == 0:
        raise BadInput("sweep: no SAE was trained, so there is none to choose")
    left = frame.with_row_index("row")
    reasons = []

    good = left.filter((pl.col("mse") < MAX_MSE) & (pl.col("explained_variance") >= MIN_EXPLAINED_VARIANCE))
    if good.height:
        left = good
        reasons.append(
            f"{left.height} reconstruct (MSE < {MAX_MSE}, explained variance >= {MIN_EXPLAINED_VARIANCE})"
        )
    else:
        top = left["explained_variance"].max()
        left = left.filter(pl.col("explained_variance") >= float(top) - CLOSE)  # type: ignore[arg-type]
        reasons.append(f"none reconstructs well enough; {left.height} within {CLOSE} of the best ({top:.3f})")

    low, high = ACTIVE_BAND
    share = pl.col("active_share")
    distance = pl.max_horizontal(low - share, share - high, 0.0)
    nearest = left.select(distance.min()).item()
    left = left.filter(distance <= nearest + 1e-12)
    band = f"{low:.0%}-{high:.0%} of features active"
    reasons.append(f"{left.height} with {band}" if nearest == 0 else f"none with {band}; the nearest kept")

    few = left.filter(pl.col("dead_share") < MAX_DEAD)
    if few.height:
        left = few
        reasons.append(f"{left.height} with under {MAX_DEAD:.0%} dead")
    else:
        left = left.filter(pl.col("dead_share") == pl.col("dead_share").min())
        reasons.append(f"none with under {MAX_DEAD:.0%} dead; the lowest kept")

    left = left.sort(
        ["dev_selective", "explained_variance", "row"], descending=[True, True, False], nulls_last=True
    )
    if left.height > 1:
        reasons.append("the one with most selective features on train and validation rows")
    return int(left["row"][0]), "; ".join(reasons)
