"""Are the emotion features different features, or one feature many times over?"""

from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.settings.validation import PairSettings
from moodlens.stats.contrast import unit_rows
from moodlens.stats.correlation import UnitColumns

if TYPE_CHECKING:
    import polars as pl

DRAWS = 100
"""Sets of random features the emotion features are compared with."""


def orthogonality(
    W_dec: np.ndarray,
    codes: np.ndarray,
    table: "pl.DataFrame",
    settings: PairSettings,
    *,
    seed: int,
) -> dict[str, Any]:
    """Correlations of activations, and cosines of decoder rows, among all pairs of emotion features.

    The control is as many random live features, drawn 100 times: sparse codes of any kind correlate little.

    Args:
        W_dec: ``(d_sae, d_in)`` decoder rows.
        codes: ``(n, d_sae)`` activations on test rows.
        table: features.parquet; reads ``emotion_feature`` and ``emotion``.
        settings: ``max_correlation``, below which a pair counts as independent.
        seed: of the draws.

    Returns:
        ``share`` of pairs with |r| below the bar (None with fewer than two emotion features that fire),
        ``control_share``, ``n_features, n_pairs``; ``median, mean_abs_correlation, mean_abs_cosine, cosine_share``
        and each as ``control_...``; ``within_share`` and ``between_share``, the share among pairs of one emotion
        and of two.
    """
    standard = UnitColumns.of(codes)
    fires = standard.varies & (codes.max(axis=0, initial=0.0) > 0)
    found = np.flatnonzero(table["emotion_feature"].to_numpy().astype(bool) & fires)
    out: dict[str, Any] = {
        "max_correlation": settings.max_correlation,
        "share": None,
        "control_share": None,
        "n_features": len(found),
        "n_pairs": 0,
    }
    if len(found) < 2:
        return out
    emotion = table["emotion"].to_numpy()[found]
    first, second = np.triu_indices(len(found), 1)
    correlation, cosine = _pairs(W_dec, standard, found)
    below = correlation < settings.max_correlation
    same = emotion[first] == emotion[second]
    live = np.flatnonzero(fires)
    rng = np.random.default_rng([seed, 0x0127])
    drawn = [
        _describe(*_pairs(W_dec, standard, rng.choice(live, len(found), replace=False)), settings)
        for _ in range(DRAWS)
    ]
    described = _describe(correlation, cosine, settings)
    return out | {
        "n_pairs": len(first),
        **described,
        **{f"control_{name}": float(np.mean([one[name] for one in drawn])) for name in described},
        "within_share": float(below[same].mean()) if same.any() else None,
        "between_share": float(below[~same].mean()) if (~same).any() else None,
    }


def _pairs(W_dec: np.ndarray, standard: UnitColumns, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|correlation| and |cosine| of all pairs of ``features``, ``(pairs,)`` each."""
    own = standard.take(features)
    rows = unit_rows(W_dec[features].astype(np.float32))
    pairs = np.triu_indices(len(features), 1)
    return np.abs(own.correlations(own))[pairs], np.abs(rows @ rows.T)[pairs]


def _describe(correlation: np.ndarray, cosine: np.ndarray, settings: PairSettings) -> dict[str, float]:
    return {
        "share": float(np.mean(correlation < settings.max_correlation)),
        "median": float(np.median(correlation)),
        "mean_abs_correlation": float(correlation.mean()),
        "mean_abs_cosine": float(cosine.mean()),
        "cosine_share": float(np.mean(cosine < settings.max_correlation)),
    }
