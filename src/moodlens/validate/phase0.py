"""Phase 0: is emotion in the embeddings at all? Similarities, a linear probe, and what chance gives.

Every figure is computed from class sums and ``(d_in, d_in)`` products, never from the ``(n, n)`` matrix of
all pairs, so that 100,000 rows cost little more than 1,000.
"""

import numpy as np

from moodlens.core import BadInput, plain
from moodlens.settings.validation import Phase0Settings
from moodlens.stats.contrast import principal_components
from moodlens.stats.equal import TOLERANCE, nearly_constant
from moodlens.stats.logistic import fit_many
from moodlens.stats.moments import mean_row, products, wide_blocks
from moodlens.stats.units import dense_codes, permuted_labels
from moodlens.study.records.phase0 import (
    Folds,
    LinearProbe,
    Pca,
    Phase0,
    ShuffledProbe,
    SignalToNoise,
)
from moodlens.study.rows import Rows
from moodlens.validate.similarity import similarity

TOP_DIMENSIONS = 20
FOLDS = 5
ALL_FOLDS_ROWS = 1000
PROBE_SPREAD = 0.1
"""Root mean square deviation to which rows are brought, by one factor for all, before a probe with C = 1 is fitted: about
that of T5's embeddings, for which the roadmap set it. On raw rows, C = 1 would mean another probe for each encoder."""
PROBE_ROWS = 4000
"""More labelled rows than this answer no question that these do not; the probe sees whole groups up to so many."""


def phase0(x: np.ndarray, rows: Rows, settings: Phase0Settings, *, seed: int) -> Phase0:
    """Measure how strongly emotion is encoded in raw embeddings of labelled plain texts.

    Multiplying all embeddings by a number changes nothing but the units of the coordinates.

    Args:
        x: ``(n, d_in)`` raw embeddings of ``rows``.
        rows: of the study; a group's rows are never split between folds or permuted apart.
        settings: counts of permutations and shuffles.
        seed: of the permutations, the group folds and the shuffled-label control.

    Raises:
        BadInput: fewer than two emotions have two rows or more, shapes disagree, or a value is not finite.
    """
    if len(x) != len(rows):
        raise BadInput(f"{len(x)} embeddings do not fit {len(rows)} texts")
    numbers = rows.labelled()
    rows = rows[numbers]
    for part, block in wide_blocks(x, numbers):
        bad = np.flatnonzero(~np.isfinite(block).all(axis=1))
        if len(bad):
            raise BadInput(
                f"embeddings: row {numbers[part][bad[0]]} holds a value that is not finite; embed that text again"
            )
    counts = np.bincount(rows.label, minlength=rows.n_emotions)
    per_emotion = dict(zip(rows.emotions, counts.tolist(), strict=True))
    if (counts >= 2).sum() < 2:
        raise BadInput(f"labels: phase 0 needs at least two emotions with two rows each, got {per_emotion}")
    label, group, copy = rows.label, rows.group, rows.copy
    few = _whole_groups(label, group, seed=seed)
    measured = {
        "n": len(numbers),
        "d_in": x.shape[1],
        "emotions": rows.emotions,
        "n_per_emotion": per_emotion,
        "n_groups": len(np.unique(group)),
        "rows": numbers,
        "similarity": similarity(
            x,
            label,
            group,
            rows.n_emotions,
            numbers=numbers,
            seed=seed,
            n_permutations=settings.n_permutations,
            copies=copy,
        ),
        "linear_probe": probe_accuracy(
            x[numbers[few]].astype(np.float64),
            label[few],
            group[few],
            seed=seed,
            n_shuffles=settings.n_shuffles,
            copies=copy[few],
        ),
        "pca": pca(x, numbers),
        "signal_to_noise": signal_to_noise(x, label, rows.n_emotions, numbers),
    }
    return Phase0.model_validate(plain(measured))


def _whole_groups(labels: np.ndarray, groups: np.ndarray, *, seed: int) -> np.ndarray:
    """Numbers of all rows, or of those of randomly drawn groups up to about :data:`PROBE_ROWS` rows."""
    if len(labels) <= PROBE_ROWS:
        return np.arange(len(labels))
    codes, n_groups = dense_codes(groups)
    order = np.random.default_rng([seed, 0x960]).permutation(n_groups)
    sizes = np.bincount(codes, minlength=n_groups)[order]
    kept = np.zeros(n_groups, dtype=bool)
    kept[order[: 1 + np.searchsorted(np.cumsum(sizes), PROBE_ROWS)]] = True
    rows = np.flatnonzero(kept[codes])
    # A draw that loses an emotion (a few huge groups) would judge another question.
    return rows if len(np.unique(labels[rows])) == len(np.unique(labels)) else np.arange(len(labels))


def probe_accuracy(
    x: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    seed: int,
    n_shuffles: int,
    copies: np.ndarray | None = None,
) -> LinearProbe:
    """Five-fold accuracy of a multinomial logistic regression, in three ways.

    ``folds`` is the roadmap's: stratified folds in row order, L2 with C = 1 (see :data:`PROBE_SPREAD`). Rows of one
    group straddle those folds, so it also rewards remembering words. ``group_folds`` keeps groups whole: the
    figure to believe. ``shuffled`` is the latter with labels exchanged between groups; above 1,000 rows each
    shuffle is judged on one fold (in turn) instead of all five, which only widens its spread.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    counts = np.bincount(labels)
    n_folds = int(min(FOLDS, counts[counts > 0].min()))
    if n_folds < 2:
        raise BadInput("labels: an emotion has a single row; the linear probe needs at least two of each")
    folds = StratifiedKFold(n_folds).split(x, labels)
    accuracies = [_accuracy(x, labels, fit, judge) for fit, judge in folds]
    by_row, by_group, shuffled = _folds(accuracies), None, None
    n_group_folds = min(n_folds, len(np.unique(groups)))
    if n_group_folds >= 2:
        splitter = StratifiedGroupKFold(n_group_folds, shuffle=True, random_state=seed)
        folds = list(splitter.split(x, labels, groups))
        by_group = _folds([_accuracy(x, labels, fit, judge) for fit, judge in folds])
        dealt = permuted_labels(labels, groups, n_shuffles, seed + 1, copies)
        drawn = _shuffled_accuracies(x, dealt, folds)
        if n_shuffles:
            shuffled = ShuffledProbe(
                n=n_shuffles, mean=float(np.mean(drawn)), p95=float(np.quantile(drawn, 0.95))
            )
    return LinearProbe(
        n=len(x),
        group_folds=by_group,
        shuffled=shuffled,
        chance=float(counts.max() / counts.sum()),
        **dict(by_row),
    )


def _folds(accuracies: list[float]) -> Folds:
    return Folds(folds=tuple(accuracies), mean=float(np.mean(accuracies)), std=float(np.std(accuracies)))


def _accuracy(x: np.ndarray, labels: np.ndarray, fit: np.ndarray, judge: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels[fit])) < 2:
        return float(np.mean(labels[judge] == labels[fit][0]))
    rows = _probe_rows(x, fit)
    model = LogisticRegression(C=1.0, max_iter=1000).fit(rows[fit], labels[fit])
    return float(np.mean(model.predict(rows[judge]) == labels[judge]))


def _probe_rows(x: np.ndarray, fit: np.ndarray) -> np.ndarray:
    """All rows with the ``fit`` ones about 0 and at :data:`PROBE_SPREAD`; zeros if these are equal to rounding."""
    mean = x[fit].mean(axis=0)
    if nearly_constant(x[fit]):
        return np.zeros(x.shape, dtype=np.float32)
    spread = np.sqrt(np.mean((x[fit] - mean) ** 2))
    # As embeddings are stored, and twice as fast.
    return ((x - mean) * (PROBE_SPREAD / spread)).astype(np.float32)


def _shuffled_accuracies(
    x: np.ndarray, shuffled: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Accuracy on held-out groups under each of the labellings ``shuffled`` (n, rows), ``(n,)``."""
    n, n_classes = len(shuffled), int(shuffled.max(initial=0)) + 1
    accuracies = np.full((n, len(folds)), np.nan)
    for i, (fit, judge) in enumerate(folds):
        turn = np.arange(n) if len(x) <= ALL_FOLDS_ROWS else np.arange(i, n, len(folds))
        if not len(turn):
            continue
        rows = _probe_rows(x, fit)
        weights, bias = fit_many(rows[fit], shuffled[turn][:, fit], n_classes, max_iter=60, tol=0.1)
        logits = np.einsum("nd,mkd->mnk", rows[judge], weights, optimize=True) + bias[:, None]
        accuracies[turn, i] = np.mean(logits.argmax(axis=2) == shuffled[turn][:, judge], axis=1)
    return np.nanmean(accuracies, axis=1)


def pca(x: np.ndarray, numbers: np.ndarray | None = None, n_shares: int = 50) -> Pca:
    """Two principal components of the rows ``numbers``, and the variance share of the first ``n_shares``; zeros where rows are equal."""
    coordinates = np.zeros((len(x) if numbers is None else len(numbers), 2))
    shares = np.zeros(x.shape[1])
    if not nearly_constant(x, numbers):
        axes, shares = principal_components(x, numbers)
        coordinates[:, : min(2, x.shape[1])] = products(x, axes[:2], mean_row(x, numbers), numbers)
    return Pca(
        coordinates=tuple((first, second) for first, second in coordinates.tolist()),
        variance_share=tuple(shares[:n_shares].tolist()),
    )


def signal_to_noise(
    x: np.ndarray, labels: np.ndarray, n_emotions: int, numbers: np.ndarray | None = None
) -> SignalToNoise:
    """Per embedding dimension, variance of the emotions' means over total variance; the top 20.

    The same ratio has an expectation under no signal of about (C - 1) / (n - 1): given as ``chance``. It is 0 where a
    dimension varies by rounding alone.
    """
    present = [c for c in range(n_emotions) if (labels == c).any()]
    numbers = np.arange(len(x)) if numbers is None else numbers
    means = np.stack([mean_row(x, numbers[labels == c]) for c in present])
    mean, total, size = mean_row(x, numbers), np.zeros(x.shape[1]), 0.0
    for _, block in wide_blocks(x, numbers):
        total += ((block - mean) ** 2).sum(axis=0)
        size += float((block**2).sum())
    total /= len(numbers)
    varies = total > TOLERANCE**2 * size / (len(numbers) * x.shape[1])
    ratio = np.divide(means.var(axis=0), total, out=np.zeros_like(total), where=varies)
    order = np.argsort(-ratio, kind="stable")[:TOP_DIMENSIONS]
    return SignalToNoise(
        dimensions=tuple(order.tolist()),
        values=tuple(ratio[order].tolist()),
        mean=float(ratio.mean()),
        chance=(len(present) - 1) / max(len(numbers) - 1, 1),
    )
