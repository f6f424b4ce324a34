"""False discovery rate."""

import numpy as np

from moodlens.core import BadInput


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
