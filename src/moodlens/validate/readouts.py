"""Linear readouts of an embedding: the trivial methods every feature stands beside, and the judges of interventions.

Difference-in-means and a linear probe on the dense embedding are hard to beat in published comparisons (AxBench, Wu et
al. 2025, arXiv:2501.17148; Kantamneni et al. 2025, arXiv:2502.16681), so they are printed next to every SAE figure.

How much of an emotion an intervention adds is read in two ways that took no part in choosing features. *probe*: log-odds
of the emotion against all other classes, from a multinomial logistic regression. *centroid*: cosine with the emotion's
centroid minus the mean cosine with the other emotions' centroids, about the mean of the fitted rows. Both need of an
embedding only its products with a few fixed vectors and its norm, so that the effect of a move is a matrix product
(:mod:`moodlens.validate.interventions`).
"""

from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput
from moodlens.core.labels import NEUTRAL, UNKNOWN
from moodlens.stats.contrast import difference_in_means, unit_rows
from moodlens.stats.equal import nearly_constant
from moodlens.stats.logistic import choose_strength, group_weights, live_scale, log_odds
from moodlens.stats.moments import mean_row
from moodlens.stats.resample import drawn_rows
from moodlens.study.rows import Rows

READOUTS = ("probe", "centroid")
L2_STRENGTH = 10.0
"""Of the dense probe, on standardised embeddings (scikit-learn's 1 / C)."""
PROBE_ROWS = 20_000
"""Rows that the dense probe is fitted on at most, drawn at random."""
MIN_GROUPS, MIN_ROWS = 2, 5
"""Held-out groups and rows of every emotion below which the readout is fitted on test groups instead."""
MAX_ROWS = 2000
"""Test rows that are judged at most, drawn at random."""


@dataclass(frozen=True)
class DenseBaselines:
    """Linear readouts of raw embeddings, one per emotion.

    Attributes:
        emotions: names, C of them.
        mean: ``(d_in,)`` mean of the fitted rows.
        directions: ``(C, d_in)`` mean of the emotion's rows minus mean of all other fitted rows.
        probe_weights: ``(K, d_in)`` of a multinomial logistic regression on raw embeddings; K is C, or C + 1
            where neutral rows were given (the last class).
        probe_bias: ``(K,)``.
    """

    emotions: tuple[str, ...]
    mean: np.ndarray
    directions: np.ndarray
    probe_weights: np.ndarray
    probe_bias: np.ndarray

    @classmethod
    def fit(
        cls, x: np.ndarray, rows: Rows, seed: int, *, l2_strength: float = L2_STRENGTH, by_group: bool = False
    ) -> "DenseBaselines":
        """Fit both on the given rows, and nothing else.

        Args:
            x: ``(n, d_in)`` raw embeddings of ``rows``.
            rows: plain and neutral ones are fitted on. Neutral is a negative of every emotion; each emotion needs a row.
            seed: of the draw of :data:`PROBE_ROWS` rows for the probe, where there are more.
            l2_strength: of the probe, on standardised embeddings.
            by_group: in the probe every group counts alike, not every text.

        Raises:
            BadInput: an emotion has no row, only one class is there, all rows are equal, or shapes disagree.
        """
        if len(x) != len(rows):
            raise BadInput(f"{len(x)} embeddings do not fit {len(rows)} texts")
        known = rows.where()
        known = known[rows.label[known] >= NEUTRAL]
        label = rows.label[known]
        for c, name in enumerate(rows.emotions):
            if not (label == c).any() or (label == c).all():
                raise BadInput(f"labels: the baselines need rows with and without emotion {name!r}")
        if nearly_constant(x, known):
            raise BadInput(
                "embeddings: all rows are equal but for rounding, so nothing can be read from them"
            )
        few = drawn_rows(known, PROBE_ROWS, seed)
        group = rows.group[few] if by_group else None
        own = np.asarray(x[few], dtype=np.float64)
        weights, bias = _fit_probe(own, rows.label[few], group, rows.n_emotions, l2_strength)
        among = np.full(len(rows), UNKNOWN)
        among[known] = label
        means = difference_in_means(x, among, rows.n_emotions)
        return cls(rows.emotions, mean_row(x, known), means, weights, bias)

    def means(self, x: np.ndarray) -> np.ndarray:
        """Difference-in-means: the centred embedding along the unit direction, ``(n, C)``."""
        return (self._checked(x) - self.mean) @ unit_rows(self.directions).T

    def probe(self, x: np.ndarray) -> np.ndarray:
        """Linear probe: log-odds of each emotion against all other classes, ``(n, C)``."""
        logits = self._checked(x) @ self.probe_weights.T + self.probe_bias
        return np.stack([log_odds(logits, c) for c in range(len(self.emotions))], axis=1)

    def _checked(self, x: np.ndarray) -> np.ndarray:
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise BadInput(f"embeddings: expected (n, {len(self.mean)}), got {x.shape}: another encoder?")
        return x


def _fit_probe(
    x: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, n_emotions: int, l2_strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression on standardised rows, folded back to raw embeddings."""
    from sklearn.linear_model import LogisticRegression

    target = np.where(labels < 0, n_emotions, labels)
    mean, std = x.mean(axis=0), live_scale(x.std(axis=0))
    # Classes are balanced so that many neutral rows do not change what the directions are, only the bias.
    row_weights = group_weights(target, np.arange(len(x)) if groups is None else groups)
    model = LogisticRegression(C=1 / l2_strength, max_iter=1000)
    model.fit((x - mean) / std, target, sample_weight=row_weights)
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps one row for two classes
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    weights = weights / std
    return weights, bias - weights @ mean


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
    def fit(cls, x: np.ndarray, rows: Rows, seed: int) -> "Readout":
        """Fit on the plain and neutral of ``rows``, ``x (n, d_in)``; neutral is a class of its own in the probe.

        Every group counts alike in the probe. How strongly it is regularised is chosen on left-out groups of the same
        rows. Of more than :data:`PROBE_ROWS` rows, so many are drawn.

        Raises:
            BadInput: an emotion has no row, or is the only class.
        """
        few = drawn_rows(np.arange(len(rows)), PROBE_ROWS, seed)
        x, rows = np.asarray(x[few], dtype=np.float64), rows[few]
        standard = (x - x.mean(axis=0)) / live_scale(x.std(axis=0))
        strength = choose_strength(standard, rows.label, rows.group, seed=seed)
        probe = DenseBaselines.fit(x, rows, seed, l2_strength=strength, by_group=True)
        centred = x - probe.mean
        centroids = unit_rows(
            np.stack([centred[rows.label == c].mean(axis=0) for c in range(rows.n_emotions)])
        )
        others = (centroids.sum(axis=0) - centroids) / (rows.n_emotions - 1)
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
        centred = (x[rows] - readout.mean).astype(np.float32)
        seen = centred @ readout.vectors.T
        seen[:, : readout.n_classes] += readout.bias
        return cls(rows, readout, centred, seen, np.einsum("rd,rd->r", centred, centred))

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


def make_panel(x: np.ndarray, rows: Rows, *, seed: int) -> Panel:
    """The test rows and a readout of other groups: fitted on the held-out split, or across two folds of test.

    Cross-fitting: the test groups are dealt into two folds, and each fold is judged by the readout of the other.

    Args:
        x: ``(n, d_in)`` raw embeddings of ``rows``.
        rows: of the study; plain and neutral ones take part.
        seed: of the folds and of the probe's rows.

    Raises:
        BadInput: there are no test rows, or an emotion has fewer than two of them.
    """
    test, held_out = rows.where("test"), rows.where("held_out")
    if not len(test):
        raise BadInput("splits: no test rows to judge interventions on")
    # Effects hardly differ between rows; more of them cost time and say nothing new.
    test = drawn_rows(test, MAX_ROWS, [seed, 5])
    others = rows[held_out]
    if all(
        (others.label == c).sum() >= MIN_ROWS
        and len(np.unique(others.group[others.label == c])) >= MIN_GROUPS
        for c in range(rows.n_emotions)
    ):
        fold = Fold.of(x, test, Readout.fit(x[held_out], others, seed))
        n = len(np.unique(others.group))
        return Panel(
            (fold,), f"readouts fitted on {len(held_out)} held-out rows of {n} groups, which chose nothing"
        )
    fits, note = _cross_folds(rows[test], seed)
    folds = []
    for fit, judged in fits:
        readout = Readout.fit(x[test[fit]], rows[test[fit]], seed)
        folds.append(Fold.of(x, test[judged], readout))
    return Panel(tuple(folds), note)


def _cross_folds(rows: Rows, seed: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """Two folds that hold every emotion, by group where the groups allow it."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    label = rows.label
    counts = np.bincount(label[label >= 0], minlength=rows.n_emotions)
    if counts.min() < 2:
        raise BadInput(
            f"no two test rows are labelled {rows.emotions[int(counts.argmin())]!r}: "
            "a readout cannot be fitted on one and judged on the other; add prompts"
        )
    whole = "no held-out rows of every emotion: readouts fitted on one half of the test groups, judged on the other"
    if len(np.unique(rows.group)) >= 2:
        for turn in range(20):  # a deal that leaves an emotion out of one half is dealt again
            splitter = StratifiedGroupKFold(2, shuffle=True, random_state=seed + turn)
            folds = list(splitter.split(label, label, rows.group))
            if all(np.isin(np.arange(rows.n_emotions), label[fit]).all() for fit, _ in folds):
                return folds, whole
    splitter = StratifiedKFold(2, shuffle=True, random_state=seed)
    return list(splitter.split(label, label)), (
        "too few test groups: readouts fitted on one half of the test rows, judged on the other half, which "
        "shares groups with it"
    )
