"""p-values from draws of chance, with one rule for ties, and the false discovery rate."""

import numpy as np

from moodlens.core import BadInput

TIES = 1e-9
"""Share of the larger of two numbers within which they are equal: the rounding of sums of float64."""
FLOAT32_TIES = 1e-6
"""The same for what was computed in float32."""
_ALL_FLIPS = 13


def upper_p(
    observed: np.ndarray | float,
    null: np.ndarray,
    *,
    scale: np.ndarray | float | None = None,
    ties: float = TIES,
) -> np.ndarray:
    """One-sided p ``(1 + #{null >= observed}) / (1 + n)``; ``null`` has its n draws on the first axis.

    The added one keeps p valid with few draws (Phipson & Smyth 2010). A draw equal to the observed value but for
    rounding reaches it.

    Args:
        observed: a number, or an array of the shape of one draw.
        null: ``(n, ...)``.
        scale: size of the numbers that the statistic is a sum or difference of, which its rounding is a share of;
            None: that of the largest value or draw.
        ties: share of ``scale`` within which two values are equal.

    Returns:
        p, of the shape of ``observed``; 1 where there is no draw.
    """
    null, observed = np.asarray(null), np.asarray(observed)
    if scale is None:
        scale = np.maximum(np.abs(observed), np.abs(null).max(axis=0, initial=0.0))
    return (1 + (null >= observed - ties * scale).sum(axis=0)) / (1 + len(null))


def rank_p(values: np.ndarray, pool: np.ndarray) -> np.ndarray:
    """Share of ``pool`` that does at least as well, where each value is one of the pool. ``(m,)``, ``(n,)`` -> ``(m,)``."""
    pool = np.sort(pool)
    slack = TIES * np.maximum(np.abs(values), np.finfo(np.float64).tiny)
    slack = np.where(np.isfinite(slack), slack, 0.0)
    return (len(pool) - np.searchsorted(pool, values - slack, side="left")) / len(pool)


_FLIPS = 9999


def least_sign_flip_p(n: int) -> float:
    """The least p that :func:`sign_flip_p` can give of ``n`` values."""
    return 2.0**-n if n <= _ALL_FLIPS else 1 / (1 + _FLIPS)


def sign_flip_p(x: np.ndarray, seed: int = 0, n_flips: int = _FLIPS) -> float:
    """One-sided p that the mean of ``x`` (n,) is above 0, if each value could as well have had the other sign.

    Exact (all ``2^n`` flips) up to n = 13, which cannot go below ``2^-n``; drawn beyond. NaN without values.
    """
    x = np.asarray(x, dtype=np.float64)
    n, scale = len(x), np.abs(x).sum()
    if n == 0:
        return float("nan")
    if n <= _ALL_FLIPS:
        signs = 1 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        # The values as they are are one of all flips: they stand for the added one.
        return float(upper_p(x.sum(), (signs @ x)[1:], scale=scale))
    signs = 1 - 2.0 * np.random.default_rng(seed).integers(0, 2, size=(n_flips, n))
    return float(upper_p(x.sum(), signs @ x, scale=scale))


def two_sided_sign_flip_p(x: np.ndarray, seed: int = 0) -> float:
    """Sign-flip p that the mean of the finite values of ``x`` (n,) differs from 0; NaN without values."""
    x = np.asarray(x, dtype=np.float64)
    x = x[np.isfinite(x)]
    if not len(x):
        return float("nan")
    return min(1.0, 2 * min(sign_flip_p(x, seed), sign_flip_p(-x, seed)))


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg q-values (1995) of ``p`` (m,), NaN where p is NaN (not tested).

    Raises:
        BadInput: a p-value outside 0..1.
    """
    from scipy.stats import false_discovery_control

    p = np.asarray(p, dtype=np.float64)
    tested = ~np.isnan(p)
    if ((p[tested] < 0) | (p[tested] > 1)).any():
        raise BadInput("p-values must lie in 0..1")
    q = np.full(p.shape, np.nan)
    if tested.any():
        q[tested] = false_discovery_control(p[tested], method="bh")
    return q


def fewest_below(q: float, p: float, n_tested: int) -> int:
    """How many of ``n_tested`` p-values must be as small as ``p`` for Benjamini-Hochberg to put them below ``q``.

    With the least p that draws can give, fewer effects than this are lost however strong they are; more than
    ``n_tested``: none can be found.
    """
    return int(n_tested * p / q * (1 + TIES)) + 1
