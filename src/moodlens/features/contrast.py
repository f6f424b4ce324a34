"""Which terms set a feature's texts apart: weighted log-odds with an informative prior, groups as evidence.

Monroe, Colaresi & Quinn 2008, "Fightin' Words", equations 15, 16, 18 and 22: with counts y of a term in the firing texts (of n) and
y' in the others (of n'), and a prior of a_0 pseudo-counts spread as the term is spread over all texts,

    delta = log((y + a) / (n + a_0 - y - a)) - log((y' + a) / (n' + a_0 - y' - a)),
    z     = delta / sqrt(1 / (y + a) + 1 / (y' + a)).

Here every text of a group counts ``1 / (texts of the group)``: one scene written thirty times is one piece
of evidence. n counts texts (in groups), since a term is present in a text or not.
"""

import numpy as np
from scipy import sparse


def group_weights(groups: np.ndarray) -> np.ndarray:
    """(n,) weight of every row, so that the rows of each group (n,) add up to one."""
    _, place, size = np.unique(groups, return_inverse=True, return_counts=True)
    return 1.0 / size[place]


def log_odds_z(
    terms: sparse.csc_array, fires: np.ndarray, weights: np.ndarray, *, prior: float
) -> np.ndarray:
    """z-scores of every term for every feature: above 0 where the term goes with firing.

    Args:
        terms: (n, t) 0 or 1, whether a text holds a term.
        fires: (n, d) bool, whether a feature fires.
        weights: (n,) weight of each text as evidence, see :func:`group_weights`.
        prior: a_0, pseudo-texts that speak for "this term has nothing to do with the feature".

    Returns:
        (t, d) float64.
    """
    total = float(weights.sum())
    weighted = fires * weights[:, None]
    inside = np.asarray(terms.T @ weighted)
    every = np.asarray(terms.T @ weights)[:, None]
    n_inside = weighted.sum(axis=0)
    a = prior * every / total
    outside, n_outside = every - inside, total - n_inside
    # Rounding may leave a hair below zero where a term is in every text.
    rest_in = np.maximum(n_inside + prior - inside - a, 1e-9)
    rest_out = np.maximum(n_outside + prior - outside - a, 1e-9)
    delta = np.log((inside + a) / rest_in) - np.log((np.maximum(outside, 0) + a) / rest_out)
    return delta / np.sqrt(1 / (inside + a) + 1 / (np.maximum(outside, 0) + a))
