"""AUROC with intervals from resampling groups: the resampled areas come from one sort and one matrix product."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from moodlens.stats.resample import bootstrap_weights, dense_codes

_ROWS_AT_ONCE = 4_000_000  # entries of (resamples, rows) held in memory


@dataclass(frozen=True)
class Resampled:
    """One AUROC and its resamples; NaN where there are no positives or no negatives."""

    value: float
    drawn: np.ndarray
    """(b,)"""

    def to_json(self) -> dict[str, Any]:
        """``{"value", "ci": [low, high]}``, the middle 95 % of the resamples; None where there is nothing."""
        if not np.isfinite(self.value):
            return {"value": None, "ci": None}
        drawn = self.drawn[np.isfinite(self.drawn)]
        ci = [float(v) for v in np.quantile(drawn, (0.025, 0.975))] if len(drawn) else None
        return {"value": float(self.value), "ci": ci}


class GroupResamples:
    """Resamples of whole groups that many scores share, so that their means can be resampled too."""

    def __init__(self, groups: np.ndarray, n: int, seed: int):
        """groups: ``(rows,)``; n: resamples."""
        self.group, self.n_groups = dense_codes(groups)
        self.weights = bootstrap_weights(groups, n, seed)

    def auroc(self, scores: np.ndarray, own: np.ndarray) -> Resampled:
        """AUROC of ``scores (rows,)`` for ``own (rows,)`` bool, ties counting one half."""
        order = np.argsort(scores, kind="stable")
        tie = np.concatenate([[0], np.cumsum(np.diff(scores[order]) != 0)])
        positive = own[order].astype(np.float64)
        value = _areas(np.ones((1, len(own))), tie, positive)[0]
        step = max(1, _ROWS_AT_ONCE // max(len(own), 1))
        drawn = [
            _areas(self.weights[start : start + step][:, self.group[order]].astype(np.float64), tie, positive)
            for start in range(0, len(self.weights), step)
        ]
        return Resampled(float(value), np.concatenate(drawn))


def _areas(weights: np.ndarray, tie: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Weighted AUROC for every row of ``weights (b, n)``; rows in order of score, ``tie`` numbers equal scores."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(tie) != 0]))
    above = np.add.reduceat(weights * positive, starts, axis=1)
    below = np.add.reduceat(weights * (1 - positive), starts, axis=1)
    beaten = np.cumsum(below, axis=1) - below / 2  # negatives below, and half of those that tie
    pairs = above.sum(axis=1) * below.sum(axis=1)
    won = (above * beaten).sum(axis=1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def mean_of(parts: list[Resampled]) -> Resampled:
    """Mean over those that have a value; NaN if none has."""
    parts = [one for one in parts if np.isfinite(one.value)]
    if not parts:
        return Resampled(np.nan, np.zeros(0))
    return Resampled(
        float(np.mean([one.value for one in parts])), np.mean([one.drawn for one in parts], axis=0)
    )


def areas_json(parts: dict[str, Resampled]) -> dict[str, Any]:
    """``{emotion: {"value", "ci"}, ..., "mean": {...}}``."""
    return {name: one.to_json() for name, one in parts.items()} | {
        "mean": mean_of(list(parts.values())).to_json()
    }
