"""Distance between two sets of embeddings by the unbiased maximum mean discrepancy.

Not the Fréchet distance: with 50 samples of one and the same 512-d Gaussian it says 780. The unbiased MMD is 0 on average
at any sample size (Gretton et al. 2012, JMLR 13, lemma 6; used for audio as KAD, arXiv:2502.15602).
"""

from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput


@dataclass(frozen=True)
class Distance:
    """Result of :func:`mmd_test`.

    Attributes:
        mmd2: unbiased squared MMD; below 0 is as good as 0.
        p: share of permutations with a distance at least as large, ``(b + 1) / (n + 1)``.
        null_p95: 95th percentile under permutation.
        n_x: rows of x.
        n_y: rows of y.
        paired: whether rows were exchanged within pairs.
    """

    mmd2: float
    p: float
    null_p95: float
    n_x: int
    n_y: int
    paired: bool


def median_bandwidth(rows: np.ndarray) -> float:
    """Median distance between different rows, the usual width of the Gaussian kernel; 1 if all are equal."""
    upper = np.sqrt(_squares(rows)[np.triu_indices(len(rows), 1)])
    median = float(np.median(upper)) if len(upper) else 0.0
    return median if median > 0 else 1.0


def mmd_test(
    x: np.ndarray,
    y: np.ndarray,
    *,
    paired: bool = False,
    bandwidth: float | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> Distance:
    """Unbiased squared MMD with a Gaussian kernel, and its permutation p.

    Args:
        x: ``(n, d)``.
        y: ``(m, d)``.
        paired: row i of both belongs to one prompt and seed. Then m = n, rows are exchanged within pairs alone (two
            clips of one prompt are alike whatever was done to them), and a pair's own two rows are not compared
            (the U-statistic of Gretton et al., eq. 5).
        bandwidth: of the kernel; None: median distance over x and y together, which exchanges do not change.
        n_permutations: n; the least p is ``1 / (n + 1)``, or ``2 / 2**n_pairs`` with few pairs.
        seed: of the permutations.

    Raises:
        BadInput: fewer than two rows, widths that differ, or pairs of unequal number.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise BadInput(f"mmd: need two sets of two rows or more, equally wide; got {x.shape} and {y.shape}")
    if paired and len(x) != len(y):
        raise BadInput(f"mmd: {len(x)} and {len(y)} rows are no pairs")
    both = np.concatenate([x, y])
    width = median_bandwidth(both) if bandwidth is None else bandwidth
    kernel = np.exp(-_squares(both) / (2 * width**2))
    np.fill_diagonal(kernel, 0)  # no row is compared with itself
    n, m = len(x), len(y)
    if paired:
        i = np.arange(n)
        kernel[i, i + n] = kernel[i + n, i] = 0
    rng = np.random.default_rng(seed)
    side = np.concatenate([np.ones(n), -np.ones(m)])
    null = np.empty(n_permutations)
    observed = _mmd2(kernel, side, paired)
    for k in range(n_permutations):
        if paired:
            flip = rng.choice((-1.0, 1.0), size=n)
            null[k] = _mmd2(kernel, side * np.concatenate([flip, flip]), paired)
        else:
            null[k] = _mmd2(kernel, rng.permutation(side), paired)
    reached = int((null >= observed - 1e-12).sum())
    p = (1 + reached) / (1 + n_permutations)
    return Distance(observed, p, float(np.quantile(null, 0.95)), n, m, paired)


def _mmd2(kernel: np.ndarray, side: np.ndarray, paired: bool) -> float:
    is_x, is_y = (side > 0).astype(float), (side < 0).astype(float)
    n, m = is_x.sum(), is_y.sum()
    across = n * (n - 1) if paired else n * m
    return float(
        is_x @ kernel @ is_x / (n * (n - 1))
        + is_y @ kernel @ is_y / (m * (m - 1))
        - 2 * (is_x @ kernel @ is_y) / across
    )


def _squares(rows: np.ndarray) -> np.ndarray:
    size = np.square(rows).sum(axis=1)
    return np.clip(size[:, None] + size[None] - 2 * rows @ rows.T, 0, None)
