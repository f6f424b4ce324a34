"""Cosines of pairs of rows within and between emotions, and what labels dealt among groups give."""

import numpy as np

from moodlens.core import plain
from moodlens.core.maps import room, spans
from moodlens.stats.contrast import unit_rows
from moodlens.stats.moments import wide_blocks
from moodlens.stats.pvalues import TIES, upper_p
from moodlens.stats.units import Units, draw_labels, exchangeable_units
from moodlens.study.records.phase0 import Similarity

CHUNK = 100  # permutations held in memory at once
HELD = 2**28
"""Bytes of the sums of units beyond which they lie on disk."""


def similarity(
    x: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    n_emotions: int,
    *,
    seed: int,
    n_permutations: int,
    copies: np.ndarray | None = None,
    numbers: np.ndarray | None = None,
) -> Similarity:
    """Cosines of all pairs of the rows ``numbers`` of ``x`` (None: all), within and between emotions.

    The t-test treats pairs as independent, which they are not (each row is in n - 1 of them): it is the
    roadmap's figure, kept for comparison. The permutation p, over groups, is the one to believe.
    """
    from scipy import stats

    n_c = np.bincount(labels, minlength=n_emotions).astype(np.float64)
    onehot = np.eye(n_emotions)[labels]
    units = exchangeable_units(labels, groups, copies)
    # A unit moves as one, so its sum and its size are all that is needed.
    unit_sums = room(len(units.labels), x.shape[1], HELD, np.float64)
    unit_sums[:] = 0
    # Sum over ordered pairs of cos is |sum of rows|^2; of cos^2 it is the squared norm of the second moment.
    sums, moments = np.zeros((n_emotions, x.shape[1])), np.zeros((n_emotions, x.shape[1], x.shape[1]))
    squares = np.empty(len(labels))
    for part, block in wide_blocks(x, numbers):
        unit = unit_rows(block)
        sums += onehot[part].T @ unit
        for c in range(n_emotions):
            own = unit[labels[part] == c]
            moments[c] += own.T @ own
        squares[part] = np.sum(unit * unit, axis=1)
        np.add.at(unit_sums, units.of_row[part], unit)
    total_sum, total_square = np.sum(sums.sum(0) ** 2), np.sum(sum(moments) ** 2)
    self_pairs, self_square = float(np.sum(squares)), float(np.sum(squares**2))
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
    difference, t, t_p = within - between, 0.0, 1.0
    if abs(difference) > TIES:  # cosines are of size 1: what differs less differs by rounding
        t, t_p = stats.ttest_ind_from_stats(within, unbiased[0], n_within, between, unbiased[1], n_between)

    pairs = np.outer(n_c, n_c) - np.diag(n_c)
    with np.errstate(invalid="ignore", divide="ignore"):
        self_c = onehot.T @ squares
        matrix = (sums @ sums.T - np.diag(self_c)) / pairs

    null = _null_differences(unit_sums, self_pairs, units, n_emotions, seed, n_permutations)
    measured = {
        "within": {"mean": within, "std": within_std, "n_pairs": int(n_within)},
        "between": {"mean": between, "std": between_std, "n_pairs": int(n_between)},
        "difference": difference,
        "t": t,
        "t_p": t_p,
        "permutation": {
            "p": upper_p(difference, null, scale=1.0),
            "null_mean": null.mean(),
            "null_p95": np.quantile(null, 0.95),
            "n_permutations": n_permutations,
            "n_units": len(units.labels),
        },
        "matrix": matrix,
    }
    return Similarity.model_validate(plain(measured))


def _null_differences(
    sums: np.ndarray, self_pairs: float, units: Units, n_emotions: int, seed: int, n: int
) -> np.ndarray:
    """Within minus between mean cosine of rows of norm 1 under ``n`` permutations of labels over units, ``(n,)``.

    Args:
        sums: ``(units, d)`` of the units' rows.
        self_pairs: sum of the cosines of the rows with themselves.
    """
    total_sum = np.sum(sums.sum(axis=0) ** 2)
    rng = np.random.default_rng(seed)
    out = []
    for start in range(0, n, CHUNK):
        assigned = draw_labels(units, min(CHUNK, n - start), rng)
        counts = np.zeros((len(assigned), n_emotions))
        within = np.zeros((n_emotions, len(assigned), sums.shape[1]))
        for part in spans(max(CHUNK, sums.shape[1]), len(sums)):
            for c in range(n_emotions):
                mask = (assigned[:, part] == c).astype(np.float64)
                within[c] += mask @ sums[part]
                counts[:, c] += mask @ units.rows[part]
        squares = np.zeros(len(assigned))
        for of_emotion in within:
            squares += np.sum(of_emotion**2, axis=1)
        n_within = np.sum(counts * (counts - 1), axis=1)
        n_between = counts.sum(1) ** 2 - np.sum(counts**2, axis=1)
        out.append((squares - self_pairs) / n_within - (total_sum - squares) / n_between)
    return np.concatenate(out)
