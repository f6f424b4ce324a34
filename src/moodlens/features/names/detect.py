"""Judging names as arithmetic: every name's reading scored on every judged feature, own names ranked among the others.

See :mod:`moodlens.features.names.judge` for what is asked and why.
"""

from dataclasses import dataclass

import numpy as np

from moodlens.stats.pvalues import benjamini_hochberg, rank_p

N_DECILES = 10
TIED = 6
"""Decimals to which readings, which deviate by about 1, are told apart."""


def auroc_of_readings(reading: np.ndarray, fires: np.ndarray) -> np.ndarray:
    """AUROC of each reading for each feature's firing.

    Args:
        reading: (n, m) how much each text reads like each name.
        fires: (n, j) bool.

    Returns:
        (m, j) float64; NaN for a feature that fires in no text or in all.
    """
    from scipy.stats import rankdata

    n_fires = fires.sum(axis=0).astype(np.float64)
    pairs = n_fires * (len(fires) - n_fires)
    # Readings deviate by about 1: texts whose embeddings are equal but for rounding share a rank.
    ranks = rankdata(np.round(reading, TIED), axis=0) - (len(fires) + 1) / 2
    return (
        np.divide(
            ranks.T @ fires.astype(np.float64),
            pairs,
            out=np.full((reading.shape[1], fires.shape[1]), np.nan),
            where=pairs > 0,
        )
        + 0.5
    )


@dataclass(frozen=True)
class Trial:
    """m names, the first of which need not be judged, on j judged features."""

    everywhere: np.ndarray
    """(m, j) AUROC over all texts."""
    within: np.ndarray
    """(m, j) AUROC among the texts of the judged feature's emotion."""
    name_emotion: np.ndarray
    """(m,) int, of the feature that a name was made for."""
    own: np.ndarray
    """(j,) int, which of the names was made for each judged feature."""

    @property
    def emotion(self) -> np.ndarray:
        """(j,) int, of each judged feature."""
        return self.name_emotion[self.own]


@dataclass(frozen=True)
class Detection:
    """What the controls say about the names; arrays are (j,)."""

    p_all: np.ndarray
    """Share of all names that do at least as well over all texts, the own one included."""
    p_emotion: np.ndarray
    """The same among the names of features of its emotion, on the texts of that emotion."""
    q: np.ndarray
    """The larger of the two Benjamini-Hochberg q over the judged features."""
    holds: np.ndarray
    """bool"""
    dealt: np.ndarray
    """(n_shuffles, C) names that hold when they are dealt at random among all named features of an emotion."""
    dealt_judged: np.ndarray
    """The same when they are dealt among its judged features."""


def detect(
    trial: Trial, n_emotions: int, *, q: float, min_score: float, n_shuffles: int, rng: np.random.Generator
) -> Detection:
    """Rank every judged feature's own name among the names of other features.

    Under "the name says nothing of where this feature fires", the own name is one of the names, whatever the texts and
    their groups are, so its rank is an exact p-value.

    Args:
        trial: the scores.
        n_emotions: how many there are.
        q: false discovery rate.
        min_score: least AUROC, within the emotion and over all.
        n_shuffles: full repeats with names dealt at random.
        rng: of the deals.
    """
    value, inner = (np.where(np.isnan(a), -np.inf, a) for a in (trial.everywhere, trial.within))
    n_judged = len(trial.own)
    column = np.arange(n_judged)
    p_all, p_emotion = np.ones(value.shape), np.ones(value.shape)
    for j in range(n_judged):
        rivals = trial.name_emotion == trial.emotion[j]
        p_all[:, j] = rank_p(value[:, j], value[:, j])
        p_emotion[rivals, j] = rank_p(inner[rivals, j], inner[rivals, j])

    def judge(called: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """q and the verdict when judged feature j is called by name ``called[j]``."""
        each = [benjamini_hochberg(p[called, column]) for p in (p_all, p_emotion)]
        larger = np.maximum(*each)
        good = (value[called, column] >= min_score) & (inner[called, column] >= min_score)
        return larger, good & (larger < q)

    larger, holds = judge(trial.own)
    dealt = np.zeros((2, n_shuffles, n_emotions), dtype=np.int64)
    for i in range(n_shuffles):
        for place, among in enumerate((np.arange(len(trial.name_emotion)), trial.own)):
            called = trial.own.copy()
            for c in np.unique(trial.emotion):
                members = np.flatnonzero(trial.emotion == c)
                pool = rng.permutation(among[trial.name_emotion[among] == c])
                called[members] = pool[: len(members)]
            dealt[place, i] = np.bincount(trial.emotion[judge(called)[1]], minlength=n_emotions)
    return Detection(
        p_all[trial.own, column], p_emotion[trial.own, column], larger, holds, dealt[0], dealt[1]
    )


def others_mean(value: np.ndarray, trial: Trial) -> np.ndarray:
    """(j,) mean of ``value`` (j, j), row i for the name of judged feature i, over the other features of the emotion."""
    other = (trial.emotion[:, None] == trial.emotion) & ~np.eye(len(trial.own), dtype=bool) & ~np.isnan(value)
    count = other.sum(axis=0)
    total = np.where(other, np.nan_to_num(value), 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def reading_order(reading: np.ndarray) -> np.ndarray:
    """(n, j) int: place of each text among those that read like each name, 0 reads most; the first of equal ones first."""
    order = np.argsort(-np.round(reading, TIED), axis=0, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(len(reading))[:, None], order.shape), axis=0)
    return place


def predicted_texts(place: np.ndarray, share: np.ndarray) -> np.ndarray:
    """(n, j) bool: the texts that read most like each name, as large a share of all as ``share`` (j,) says, at least one.

    ``place`` is of :func:`reading_order`.
    """
    return place < np.maximum(1, np.round(share * len(place)))


def decile_coverage(predicted: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Share of the firings of one feature that each name predicts, per tenth of its firings, weakest first.

    Args:
        predicted: (m, n) bool.
        activation: (n,) of one feature. With fewer than ten firings each is a bin of its own.

    Returns:
        (m, b) with b = min(10, firings). Its mean over bins is *monosemanticity*: one name, all strengths.
    """
    order = np.argsort(activation, kind="stable")
    active = order[activation[order] > 0]
    bins = [part for part in np.array_split(active, N_DECILES) if len(part)]
    if not bins:
        return np.full((len(predicted), 0), np.nan)
    return np.stack([predicted[:, part].mean(axis=1) for part in bins], axis=1)
