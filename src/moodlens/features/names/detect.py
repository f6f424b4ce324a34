"""Detection as arithmetic: every name scored on every feature, own names ranked among the others.

See :mod:`moodlens.features.names.judge` for what is asked and why.
"""

from dataclasses import dataclass

import numpy as np

from moodlens.stats.pvalues import benjamini_hochberg, rank_p

N_DECILES = 10


@dataclass(frozen=True)
class Scores:
    """Every name judged on every feature; arrays are (n_names, n_features), name i made for feature i."""

    balanced: np.ndarray
    """Balanced accuracy, NaN where a feature fires in no text or in all."""
    precision: np.ndarray
    """Share of predicted texts in which the feature fires; 0 if none is predicted."""
    recall: np.ndarray
    """Share of firings that are predicted."""


def score_all(predicted: np.ndarray, fires: np.ndarray) -> Scores:
    """Score names (m, n) bool, what each predicts, on features (n, d) bool, where each fires."""
    hits = (predicted.astype(np.float32) @ fires.astype(np.float32)).astype(np.float64)
    n_predicted = predicted.sum(axis=1)[:, None].astype(np.float64)
    n_fires = fires.sum(axis=0).astype(np.float64)
    n_quiet = len(fires) - n_fires
    precision = np.divide(hits, n_predicted, out=np.zeros_like(hits), where=n_predicted > 0)
    recall = np.divide(hits, n_fires, out=np.full_like(hits, np.nan), where=n_fires > 0)
    false = np.divide(n_predicted - hits, n_quiet, out=np.full_like(hits, np.nan), where=n_quiet > 0)
    return Scores((recall + 1 - false) / 2, precision, recall)


@dataclass(frozen=True)
class Detection:
    """What the controls say about the names; arrays are (d,)."""

    p_any: np.ndarray
    """Share of all names that do at least as well on the feature, its own included."""
    p_same: np.ndarray
    """The same among the names of features of its emotion, on the texts of that emotion."""
    control_any: np.ndarray
    """Mean balanced accuracy of the names of other features."""
    control_same: np.ndarray
    """Mean balanced accuracy, on the texts of its emotion, of the names of other features of that emotion."""
    q: np.ndarray
    """Benjamini-Hochberg over the judged features; of p_any, or of the larger p for a name without emotion."""
    q_same: np.ndarray
    interpretable: np.ndarray
    specific: np.ndarray
    shuffled_any: np.ndarray
    """(n_shuffles, C): interpretable features of each emotion when names are dealt at random among all features."""
    shuffled_same: np.ndarray
    """The same when they are dealt within each emotion: what the emotion in the names is enough for."""


def detect(
    balanced: np.ndarray,
    within: np.ndarray,
    emotion: np.ndarray,
    claims_emotion: np.ndarray,
    judged: np.ndarray,
    *,
    q: float,
    n_shuffles: int,
    specific_only: bool = False,
    rng: np.random.Generator,
) -> Detection:
    """Rank every feature's own name among the names of the others.

    Args:
        balanced: (d, d) from :func:`score_all`, name i made for feature i.
        within: (d, d) the same on the texts of each feature's emotion, bare emotions struck from the names.
        emotion: (d,) int >= 0, the emotion each feature leans to.
        claims_emotion: (d,) bool, whether a name holds an emotion.
        judged: (d,) bool, the features to be judged; the other names only serve as controls.
        q: false discovery rate.
        n_shuffles: full repeats with names dealt at random.
        specific_only: ask both questions of every name, also of those that claim an emotion.
    """
    d = len(emotion)
    value, inner = (np.where(np.isnan(x), -np.inf, x) for x in (balanced, within))
    n_emotions = int(emotion.max()) + 1 if d else 0
    p_any = _rank_p(value, np.arange(d))
    p_same = np.ones((d, d))
    for c in range(n_emotions):
        members = np.flatnonzero(emotion == c)
        p_same[:, members] = _rank_p(inner[:, members], members)
    own = np.arange(d)

    def judge(dealt: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """q, q_same and the verdict when feature i is called by name ``dealt[i]``."""
        first, second = p_any[dealt, own], p_same[dealt, own]
        asked = np.where(claims_emotion[dealt], first, np.maximum(first, second))
        asked, second = (np.where(judged, p, np.nan) for p in (asked, second))
        q_any, q_same = benjamini_hochberg(asked), benjamini_hochberg(second)
        good = judged & (q_any < q) & (value[dealt, own] > 0.5)
        if specific_only:
            good &= (q_same < q) & (inner[dealt, own] > 0.5)
        return q_any, q_same, good

    q_any, q_same, good = judge(own)
    shuffled = np.zeros((2, n_shuffles, n_emotions), dtype=np.int64)
    for i in range(n_shuffles):
        kept = own.copy()
        for c in range(n_emotions):
            members = np.flatnonzero(emotion == c)
            kept[members] = rng.permutation(members)
        for place, dealt in enumerate((rng.permutation(d), kept)):
            shuffled[place, i] = np.bincount(emotion[judge(dealt)[2]], minlength=n_emotions)
    same = emotion[:, None] == emotion
    np.fill_diagonal(same, False)
    others = ~np.eye(d, dtype=bool)
    return Detection(
        p_any[own, own],
        p_same[own, own],
        _mean_where(balanced, others),
        _mean_where(within, same),
        q_any,
        q_same,
        good,
        judged & (q_same < q) & (inner[own, own] > 0.5),
        shuffled[0],
        shuffled[1],
    )


def _rank_p(value: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Share of the names ``names`` (and the asking one) that do at least as well on a feature. (m, d) -> (m, d)."""
    at_least = np.empty(value.shape)
    for f, column in enumerate(value.T):
        at_least[:, f] = len(names) * rank_p(column, column[names])
    stranger = np.ones((len(value), 1))
    stranger[names] = 0
    return (at_least + stranger) / (len(names) + stranger)


def _mean_where(value: np.ndarray, where: np.ndarray) -> np.ndarray:
    count = where.sum(axis=0)
    total = np.where(where, np.nan_to_num(value, nan=0.5), 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def decile_coverage(predicted: np.ndarray, activation: np.ndarray) -> np.ndarray:
    """Share of the firings of one feature that each name covers, per tenth of its firings, weakest first.

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
