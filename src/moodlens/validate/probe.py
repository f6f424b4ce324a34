"""Phase 0: is emotion in the embeddings at all? Similarities, a linear probe, and what chance gives.

Every figure is computed from class sums and ``(d_in, d_in)`` products, never from the ``(n, n)`` matrix of
all pairs, so that 100,000 rows cost little more than 1,000.
"""

from typing import Any

import numpy as np

from moodlens.core import BadInput, plain
from moodlens.stats.contrast import principal_components, unit_rows
from moodlens.stats.logistic import fit_many
from moodlens.stats.pvalues import upper_p
from moodlens.stats.units import check_rows, dense_codes, draw_labels, exchangeable_units, permuted_labels

TOP_DIMENSIONS = 20
FOLDS = 5
CHUNK = 100  # permutations held in memory at once
ALL_FOLDS_ROWS = 1000
PROBE_ROWS = 4000
"""More labelled rows than this answer no question that these do not; the probe sees whole groups up to so many."""


def phase0(
    x: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    emotions: tuple[str, ...],
    *,
    seed: int,
    n_permutations: int = 1000,
    n_shuffles: int = 20,
) -> dict[str, Any]:
    """Measure how strongly emotion is encoded in raw embeddings.

    Args:
        x: ``(n, d_in)`` raw embeddings.
        labels: ``(n,)`` index into ``emotions``; rows with -1 (neutral) are left out.
        groups: ``(n,)`` codes; a group's rows are never split between folds or permuted apart.
        emotions: names, in the order of the labels.
        seed: of the permutations, the group folds and the shuffled-label control.
        n_permutations: of the within/between difference.
        n_shuffles: repeats of the probe on shuffled labels.

    Returns:
        A JSON-able dict: ``n, d_in, emotions, n_per_emotion, n_groups, similarity, linear_probe, pca,
        signal_to_noise``.

    Raises:
        BadInput: fewer than two emotions have two rows or more, shapes disagree, or a value is not finite.
    """
    x = np.asarray(x, dtype=np.float64)
    check_rows(len(x), labels=labels, groups=groups)
    rows = np.flatnonzero(np.asarray(labels) >= 0)
    x, labels, groups = x[rows], np.asarray(labels)[rows].astype(np.int64), np.asarray(groups)[rows]
    if not np.isfinite(x).all():
        bad = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise BadInput(f"embeddings: row {rows[bad]} holds a value that is not finite; embed that text again")
    if labels.size and labels.max() >= len(emotions):
        raise BadInput(f"labels: value {labels.max()} but only {len(emotions)} emotions are named")
    counts = np.bincount(labels, minlength=len(emotions))
    if (counts >= 2).sum() < 2:
        raise BadInput(
            "labels: phase 0 needs at least two emotions with two rows each, "
            f"got {dict(zip(emotions, counts.tolist(), strict=True))}"
        )
    return plain(
        {
            "n": len(x),
            "d_in": x.shape[1],
            "emotions": list(emotions),
            "n_per_emotion": dict(zip(emotions, counts.tolist(), strict=True)),
            "n_groups": dense_codes(groups)[1],
            "similarity": similarity(
                x, labels, groups, len(emotions), seed=seed, n_permutations=n_permutations
            ),
            "linear_probe": probe_accuracy(
                *_whole_groups(x, labels, groups, seed=seed), seed=seed, n_shuffles=n_shuffles
            ),
            "pca": pca(x),
            "signal_to_noise": signal_to_noise(x, labels, len(emotions)),
        }
    )


def _whole_groups(
    x: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All rows, or those of randomly drawn groups up to about :data:`PROBE_ROWS` rows."""
    if len(x) <= PROBE_ROWS:
        return x, labels, groups
    codes, n_groups = dense_codes(groups)
    order = np.random.default_rng([seed, 0x960]).permutation(n_groups)
    sizes = np.bincount(codes, minlength=n_groups)[order]
    kept = np.zeros(n_groups, dtype=bool)
    kept[order[: 1 + np.searchsorted(np.cumsum(sizes), PROBE_ROWS)]] = True
    rows = np.flatnonzero(kept[codes])
    # A draw that loses an emotion (a few huge groups) would judge another question.
    if len(np.unique(labels[rows])) < len(np.unique(labels)):
        return x, labels, groups
    return x[rows], labels[rows], groups[rows]


def similarity(
    x: np.ndarray, labels: np.ndarray, groups: np.ndarray, n_emotions: int, *, seed: int, n_permutations: int
) -> dict[str, Any]:
    """Cosines of all pairs of rows, within and between emotions.

    The t-test treats pairs as independent, which they are not (each row is in n - 1 of them): it is the
    roadmap's figure, kept for comparison. The permutation p, over groups, is the one to believe.

    Returns:
        ``within`` and ``between`` (mean, std, n_pairs), ``difference``, ``t``, ``t_p``, ``permutation``
        (p, null_mean, null_p95, n_permutations, n_units) and the ``matrix`` of mean cosines between emotions.
    """
    from scipy import stats

    unit = unit_rows(x)
    n_c = np.bincount(labels, minlength=n_emotions).astype(np.float64)
    onehot = np.eye(n_emotions)[labels]
    sums = onehot.T @ unit  # (C, d)
    # Sum over ordered pairs of cos is |sum of rows|^2; of cos^2 it is the squared norm of the second moment.
    moments = [unit[labels == c].T @ unit[labels == c] for c in range(n_emotions)]
    total_sum, total_square = np.sum(sums.sum(0) ** 2), np.sum(sum(moments) ** 2)
    self_pairs = float(np.sum(np.sum(unit * unit, axis=1)))
    self_square = float(np.sum(np.sum(unit * unit, axis=1) ** 2))
    within_sum = (np.sum(sums**2) - self_pairs) / 2
    within_square = (sum(np.sum(m**2) for m in moments) - self_square) / 2
    between_sum = (total_sum - np.sum(sums**2)) / 2
    between_square = (total_square - sum(np.sum(m**2) for m in moments)) / 2
    n_within = float(np.sum(n_c * (n_c - 1)) / 2)
    n_between = float((n_c.sum() ** 2 - np.sum(n_c**2)) / 2)
    within, between = within_sum / n_within, between_sum / n_between
    within_std = np.sqrt(max(within_square / n_within - within**2, 0.0))
    between_std = np.sqrt(max(between_square / n_between - between**2, 0.0))
    # scipy wants the unbiased deviations.
    unbiased = [s * np.sqrt(n / max(n - 1, 1)) for s, n in ((within_std, n_within), (between_std, n_between))]
    t, t_p = stats.ttest_ind_from_stats(within, unbiased[0], n_within, between, unbiased[1], n_between)

    pairs = np.outer(n_c, n_c) - np.diag(n_c)
    with np.errstate(invalid="ignore", divide="ignore"):
        self_c = onehot.T @ np.sum(unit * unit, axis=1)
        matrix = (sums @ sums.T - np.diag(self_c)) / pairs

    null = _null_differences(unit, labels, groups, n_emotions, total_sum, self_pairs, seed, n_permutations)
    difference = within - between
    return {
        "within": {"mean": within, "std": within_std, "n_pairs": int(n_within)},
        "between": {"mean": between, "std": between_std, "n_pairs": int(n_between)},
        "difference": difference,
        "t": t,
        "t_p": t_p,
        "permutation": {
            "p": upper_p(difference, null, scale=1.0),  # cosines are of size 1
            "null_mean": null.mean(),
            "null_p95": np.quantile(null, 0.95),
            "n_permutations": n_permutations,
            "n_units": len(exchangeable_units(labels, groups).labels),
        },
        "matrix": matrix,
    }


def _null_differences(
    unit: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    n_emotions: int,
    total_sum: float,
    self_pairs: float,
    seed: int,
    n: int,
) -> np.ndarray:
    """Within minus between mean cosine under ``n`` permutations of labels over units, ``(n,)``."""
    units = exchangeable_units(labels, groups)
    # A unit moves as one, so its sum and its size are all that is needed.
    sums = np.zeros((len(units.labels), unit.shape[1]))
    np.add.at(sums, units.of_row, unit)
    rng = np.random.default_rng(seed)
    out = []
    for start in range(0, n, CHUNK):
        assigned = draw_labels(units, min(CHUNK, n - start), rng)
        squares = np.zeros(len(assigned))
        counts = np.zeros((len(assigned), n_emotions))
        for c in range(n_emotions):
            mask = (assigned == c).astype(np.float64)
            squares += np.sum((mask @ sums) ** 2, axis=1)
            counts[:, c] = mask @ units.rows
        n_within = np.sum(counts * (counts - 1), axis=1)
        n_between = counts.sum(1) ** 2 - np.sum(counts**2, axis=1)
        out.append((squares - self_pairs) / n_within - (total_sum - squares) / n_between)
    return np.concatenate(out)


def probe_accuracy(
    x: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, seed: int, n_shuffles: int
) -> dict[str, Any]:
    """Five-fold accuracy of a multinomial logistic regression, in three ways.

    ``folds`` is the roadmap's: stratified folds in row order, raw embeddings, L2 with C = 1. Rows of one
    group straddle those folds, so it also rewards remembering words. ``group_folds`` keeps groups whole: the
    figure to believe. ``shuffled`` is the latter with labels exchanged between groups; above 1,000 rows each
    shuffle is judged on one fold (in turn) instead of all five, which only widens its spread.

    Returns:
        ``n`` (rows used), ``folds, mean, std, group_folds {folds, mean, std} | None, shuffled {n, mean, p95} | None, chance``
        (the share of the largest class).
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    counts = np.bincount(labels)
    n_folds = int(min(FOLDS, counts[counts > 0].min()))
    if n_folds < 2:
        raise BadInput("labels: an emotion has a single row; the linear probe needs at least two of each")
    plain_folds = list(StratifiedKFold(n_folds).split(x, labels))
    accuracies = [_accuracy(x, labels, fit, judge) for fit, judge in plain_folds]
    result: dict[str, Any] = {
        "n": len(x),
        "folds": accuracies,
        "mean": np.mean(accuracies),
        "std": np.std(accuracies),
        "group_folds": None,
        "shuffled": None,
        "chance": counts.max() / counts.sum(),
    }
    n_group_folds = min(n_folds, dense_codes(groups)[1])
    if n_group_folds < 2:
        return result
    splitter = StratifiedGroupKFold(n_group_folds, shuffle=True, random_state=seed)
    group_folds = list(splitter.split(x, labels, groups))
    grouped = [_accuracy(x, labels, fit, judge) for fit, judge in group_folds]
    result["group_folds"] = {"folds": grouped, "mean": np.mean(grouped), "std": np.std(grouped)}
    shuffled = _shuffled_accuracies(x, labels, groups, group_folds, n_shuffles, seed + 1)
    if n_shuffles:
        result["shuffled"] = {
            "n": n_shuffles,
            "mean": np.mean(shuffled),
            "p95": np.quantile(shuffled, 0.95),
        }
    return result


def _accuracy(x: np.ndarray, labels: np.ndarray, fit: np.ndarray, judge: np.ndarray) -> float:
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels[fit])) < 2:
        return float(np.mean(labels[judge] == labels[fit][0]))
    rows = x.astype(np.float32)  # as embeddings are stored, and twice as fast
    model = LogisticRegression(C=1.0, max_iter=1000).fit(rows[fit], labels[fit])
    return float(np.mean(model.predict(rows[judge]) == labels[judge]))


def _shuffled_accuracies(
    x: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    folds: list[tuple[np.ndarray, np.ndarray]],
    n: int,
    seed: int,
) -> np.ndarray:
    """Accuracy on held-out groups under each of ``n`` exchanges of labels between units, ``(n,)``."""
    fake = permuted_labels(labels, groups, n, seed)
    n_classes = int(labels.max()) + 1
    accuracies = np.full((n, len(folds)), np.nan)
    for i, (fit, judge) in enumerate(folds):
        mine = np.arange(n) if len(x) <= ALL_FOLDS_ROWS else np.arange(i, n, len(folds))
        if not len(mine):
            continue
        weights, bias = fit_many(x[fit], fake[mine][:, fit], n_classes, max_iter=60, tol=0.1)
        logits = np.einsum("nd,mkd->mnk", x[judge].astype(np.float32), weights, optimize=True) + bias[:, None]
        accuracies[mine, i] = np.mean(logits.argmax(axis=2) == fake[mine][:, judge], axis=1)
    return np.nanmean(accuracies, axis=1)


def pca(x: np.ndarray, n_shares: int = 50) -> dict[str, Any]:
    """Two principal components: ``coordinates (n, 2)`` and the ``variance_share`` of the first ``n_shares``."""
    axes, shares = principal_components(x)
    return {"coordinates": (x - x.mean(axis=0)) @ axes[:2].T, "variance_share": shares[:n_shares]}


def signal_to_noise(x: np.ndarray, labels: np.ndarray, n_emotions: int) -> dict[str, Any]:
    """Per embedding dimension, variance of the emotions' means over total variance; the top 20.

    The same ratio has an expectation under no signal of about (C - 1) / (n - 1): given as ``chance``.
    """
    present = [c for c in range(n_emotions) if (labels == c).any()]
    means = np.stack([x[labels == c].mean(axis=0) for c in present])
    ratio = means.var(axis=0) / np.maximum(x.var(axis=0), np.finfo(np.float64).tiny)
    order = np.argsort(-ratio, kind="stable")[:TOP_DIMENSIONS]
    return {
        "dimensions": order,
        "values": ratio[order],
        "mean": ratio.mean(),
        "chance": (len(present) - 1) / max(len(x) - 1, 1),
    }
