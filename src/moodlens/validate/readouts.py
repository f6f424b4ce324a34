"""How much of an emotion an embedding holds, read in two ways that took no part in choosing features.

*probe*: log-odds of the emotion against all other classes, from a multinomial logistic regression. *centroid*:
cosine with the emotion's centroid minus the mean cosine with the other emotions' centroids, about the mean of the
fitted rows. Both need of an embedding only its products with a few fixed vectors and its norm, so that the
effect of a move is a matrix product (:mod:`moodlens.validate.interventions`).
"""

from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput
from moodlens.stats.contrast import unit_rows
from moodlens.stats.logistic import choose_strength, live_scale
from moodlens.validate.baselines import DenseBaselines

READOUTS = ("probe", "centroid")
MIN_GROUPS, MIN_ROWS = 2, 5
"""Held-out groups and rows of every emotion below which the readout is fitted on test groups instead."""
MAX_ROWS = 2000
"""Test rows that are judged at most, drawn at random."""


@dataclass(frozen=True)
class Readout:
    """Both readouts, fitted on the same rows.

    Attributes:
        vectors: ``(K + C, d_in)`` weights of the K classes of the probe, then the C centroid contrasts.
        bias: ``(K,)`` of the probe on embeddings from which ``mean`` is taken.
        mean: ``(d_in,)`` mean of the fitted rows.
    """

    vectors: np.ndarray
    bias: np.ndarray
    mean: np.ndarray

    @classmethod
    def fit(
        cls, x: np.ndarray, labels: np.ndarray, groups: np.ndarray, emotions: tuple[str, ...], seed: int
    ) -> "Readout":
        """Fit on rows ``x (n, d_in)`` with ``labels (n,)``; -1 is neutral, a class of its own in the probe.

        How strongly the probe is regularised is chosen on left-out ``groups (n,)`` of the same rows.

        Raises:
            BadInput: an emotion has no row, or is the only class.
        """
        x = np.asarray(x, dtype=np.float64)
        standard = (x - x.mean(axis=0)) / live_scale(x.std(axis=0))
        strength = choose_strength(standard, labels, groups, seed=seed)
        probe = DenseBaselines.fit(x, labels, emotions, seed, l2_strength=strength)
        centred = x - probe.mean
        centroids = unit_rows(np.stack([centred[labels == c].mean(axis=0) for c in range(len(emotions))]))
        others = (centroids.sum(axis=0) - centroids) / (len(emotions) - 1)
        vectors = np.concatenate([probe.probe_weights, centroids - others])
        return cls(
            vectors.astype(np.float32),
            (probe.probe_bias + probe.probe_weights @ probe.mean).astype(np.float32),
            probe.mean.astype(np.float32),
        )

    @property
    def n_classes(self) -> int:
        """K, the classes of the probe."""
        return len(self.bias)


@dataclass(frozen=True)
class Fold:
    """Rows that are judged by one readout, as that readout sees them."""

    rows: np.ndarray
    """(r,) int, places in the study's arrays."""
    readout: Readout
    x: np.ndarray
    """(r, d_in) float32, embeddings about the readout's mean."""
    seen: np.ndarray
    """(r, K + C) float32, logits and centroid products."""
    square: np.ndarray
    """(r,) float32, squared norm of ``x``."""

    @classmethod
    def of(cls, x: np.ndarray, rows: np.ndarray, readout: Readout) -> "Fold":
        """Look at ``rows`` of the raw embeddings ``x``."""
        mine = (x[rows] - readout.mean).astype(np.float32)
        seen = mine @ readout.vectors.T
        seen[:, : readout.n_classes] += readout.bias
        return cls(rows, readout, mine, seen, np.einsum("rd,rd->r", mine, mine))

    def take(self, keep: np.ndarray) -> "Fold":
        """The rows where ``keep`` (r,) is true."""
        return Fold(self.rows[keep], self.readout, self.x[keep], self.seen[keep], self.square[keep])


@dataclass(frozen=True)
class Panel:
    """All rows that are judged; with cross-fitting, in folds that have their own readout each."""

    folds: tuple[Fold, ...]
    note: str
    """Which rows the readouts were fitted on."""

    @property
    def rows(self) -> np.ndarray:
        """(r,) int, places in the study's arrays, fold after fold; the order of every per-row effect."""
        return np.concatenate([fold.rows for fold in self.folds])

    def take(self, wanted: np.ndarray) -> "Panel":
        """The rows for which ``wanted`` (n,), over the study's rows, is true. Folds may become empty."""
        return Panel(tuple(fold.take(wanted[fold.rows]) for fold in self.folds), self.note)


def make_panel(
    x: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    splits: np.ndarray,
    usable: np.ndarray,
    emotions: tuple[str, ...],
    *,
    seed: int,
) -> Panel:
    """The test rows and a readout of other groups: fitted on the held-out split, or across two folds of test.

    Cross-fitting: the test groups are dealt into two folds, and each fold is judged by the readout of the other.

    Args:
        x: ``(n, d_in)`` raw embeddings.
        labels: ``(n,)`` int, -1 for neutral.
        groups: ``(n,)``.
        splits: ``(n,)`` str.
        usable: ``(n,)`` bool, plain and neutral rows.
        emotions: names in label order.
        seed: of the folds and of the probe's rows.

    Raises:
        BadInput: there are no test rows, or an emotion has fewer than two of them.
    """
    test, held_out = usable & (splits == "test"), usable & (splits == "held_out")
    if not test.any():
        raise BadInput("splits: no test rows to judge interventions on")
    enough = all(
        (held_out & (labels == c)).sum() >= MIN_ROWS
        and len(np.unique(groups[held_out & (labels == c)])) >= MIN_GROUPS
        for c in range(len(emotions))
    )
    rows = np.flatnonzero(test)
    if len(rows) > MAX_ROWS:  # effects hardly differ between rows; more of them cost time and say nothing new
        rows = np.sort(np.random.default_rng([seed, 5]).choice(rows, MAX_ROWS, replace=False))
    if enough:
        readout = Readout.fit(x[held_out], labels[held_out], groups[held_out], emotions, seed)
        n = len(np.unique(groups[held_out]))
        return Panel(
            (Fold.of(x, rows, readout),),
            f"readouts fitted on {int(held_out.sum())} held-out rows of {n} groups, which chose nothing",
        )
    fits, note = _cross_folds(labels[rows], groups[rows], emotions, seed)
    folds = []
    for fit, judged in fits:
        mine = rows[fit]
        readout = Readout.fit(x[mine], labels[mine], groups[mine], emotions, seed)
        folds.append(Fold.of(x, rows[judged], readout))
    return Panel(tuple(folds), note)


def _cross_folds(
    labels: np.ndarray, groups: np.ndarray, emotions: tuple[str, ...], seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """Two folds that hold every emotion, by group where the groups allow it."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    counts = np.bincount(labels[labels >= 0], minlength=len(emotions))
    if counts.min() < 2:
        raise BadInput(
            f"no two test rows are labelled {emotions[int(counts.argmin())]!r}: "
            "a readout cannot be fitted on one and judged on the other; add prompts"
        )
    whole = "no held-out rows of every emotion: readouts fitted on one half of the test groups, judged on the other"
    if len(np.unique(groups)) >= 2:
        for turn in range(20):  # a deal that leaves an emotion out of one half is dealt again
            splitter = StratifiedGroupKFold(2, shuffle=True, random_state=seed + turn)
            folds = list(splitter.split(labels, labels, groups))
            if all(np.isin(np.arange(len(emotions)), labels[fit]).all() for fit, _ in folds):
                return folds, whole
    splitter = StratifiedKFold(2, shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels)), (
        "too few test groups: readouts fitted on one half of the test rows, judged on the other half, which "
        "shares groups with it"
    )
