"""Pairs: does adding two families at once move both emotions, and are emotion features different features?"""

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from moodlens.settings.validation import PairSettings
from moodlens.stats.contrast import unit_rows
from moodlens.stats.controls import allowed_controls, matched_features, random_families
from moodlens.stats.correlation import UnitColumns
from moodlens.stats.ranks import activity, firings
from moodlens.stats.resample import GroupMeans
from moodlens.study.coded import Coded
from moodlens.study.families import Families, Family
from moodlens.study.records.pairs import Compositionality, FamilyPair, Orthogonality
from moodlens.study.rows import DEV
from moodlens.validate.causal_families import added_by, random_additions
from moodlens.validate.interventions import Bank, constant_effects
from moodlens.validate.readouts import Panel, make_panel

if TYPE_CHECKING:
    import polars as pl

DRAWS = 100
"""Sets of random features the emotion features are compared with."""


def compositionality(
    coded: Coded,
    table: "pl.DataFrame",
    families: Families,
    settings: PairSettings,
    *,
    seed: int,
    panel: Panel | None = None,
) -> Compositionality:
    """Add the families of every pair of emotions to test rows of neither, each at its typical size.

    A pair *moves both* when the log-odds of each of the two rise: the interval over groups lies above zero, and
    the mean lies above ``control_quantile`` of what pairs of random families do. In the log-odds of one emotion the
    other of the pair is left out, because a multinomial probe makes them compete by construction.

    The control applies the same rule to pairs of random families: matched features chosen for neither emotion, in the
    same amounts and at the same norm.

    Args:
        coded: rows, embeddings, codes and decoder; plain and neutral rows take part.
        table: one row per feature; reads ``emotion``, ``tested``, ``emotion_feature``.
        families: of the study.
        settings: counts of controls and resamples, ``control_quantile``.
        seed: of the controls and resamples.
        panel: the rows that are judged and their readouts, if :func:`make_panel` has made them; made here otherwise.

    Raises:
        BadInput: as :func:`moodlens.validate.readouts.make_panel`.
    """
    rows, codes, W_dec = coded.rows, coded.codes, coded.W_dec
    pairs = list(combinations([c for c, family in enumerate(families.families) if family.features], 2))
    panel = (panel or make_panel(coded.x, rows, seed=seed)) if pairs else None
    if panel is None or min(fold.readout.n_classes for fold in panel.folds) < 3:
        # Of two classes, one falls where the other rises.
        return Compositionality(
            share=None, control_share=None, control_rise_share=None, n_moved=0, n_pairs=len(pairs), pairs=()
        )
    rng = np.random.default_rng([seed, 0xC035])
    means = GroupMeans.of(rows.group, settings.n_bootstrap, seed)
    dev = rows.where(*DEV)
    density, size = activity(codes, dev)
    added = {
        c: added_by(families.families[c], W_dec, codes[dev[rows.label[dev] == c]])
        for c in sorted({c for pair in pairs for c in pair})
    }

    def random(family: Family, norm: float, allowed: np.ndarray) -> np.ndarray:
        controls = matched_features(density, size, np.array(family.features), allowed, settings.n_controls)
        if not controls.shape[1]:
            return np.zeros((settings.n_controls, W_dec.shape[1]))
        picks = random_families(controls, settings.n_controls, rng)
        return random_additions(family, W_dec, picks, norm)

    judged, control_moved, control_rise = [], [], []
    for a, b in pairs:
        neither = panel.take((rows.label != a) & (rows.label != b))
        if not len(neither.rows):  # two emotions and no neutral rows: any row will do
            neither = panel
        # A family of features of the other emotion would move it: stand-ins were chosen for neither.
        allowed = allowed_controls(table, rows.emotions[a]) & allowed_controls(table, rows.emotions[b])
        drawn = sum(random(families.families[c], float(np.linalg.norm(added[c])), allowed) for c in (a, b))
        both = np.concatenate([(added[a] + added[b])[None], drawn, [added[a], added[b]]])
        bank, every = Bank.of(neither, both), np.arange(len(both))
        effects, ci, alone = {}, {}, {}
        passed, rises = np.ones(len(both) - 2, dtype=bool), np.ones(len(both) - 2, dtype=bool)
        for place, (c, rival) in enumerate(((a, b), (b, a))):
            values, _ = constant_effects(neither, bank, every, np.ones(len(both)), c, without=rival)
            mean, low, high = means.interval(*means.sums(neither.rows, values))
            name = rows.emotions[c]
            effects[name] = float(mean[0])
            # One judged group has no interval, and so shows no rise.
            ci[name] = (float(low[0]), float(high[0])) if np.isfinite(low[0]) else None
            alone[name] = float(mean[-2:][place])
            rises &= low[:-2] > 0
            passed &= mean[:-2] > np.quantile(mean[1:-2], settings.control_quantile)
        passed &= rises
        names = (rows.emotions[a], rows.emotions[b])
        judged.append(FamilyPair(emotions=names, effects=effects, ci=ci, alone=alone, moved=bool(passed[0])))
        control_moved.append(passed[1:].mean())
        control_rise.append(rises[1:].mean())
    n_moved = sum(pair.moved for pair in judged)
    return Compositionality(
        share=n_moved / len(pairs),
        control_share=float(np.mean(control_moved)),
        control_rise_share=float(np.mean(control_rise)),
        n_moved=n_moved,
        n_pairs=len(pairs),
        pairs=tuple(judged),
    )


def orthogonality(
    W_dec: np.ndarray,
    codes: np.ndarray,
    table: "pl.DataFrame",
    settings: PairSettings,
    *,
    seed: int,
    rows: np.ndarray | None = None,
) -> Orthogonality:
    """Correlations of activations, and cosines of decoder rows, among all pairs of emotion features.

    The control is as many random live features, drawn 100 times: sparse codes of any kind correlate little.

    Args:
        W_dec: ``(d_sae, d_in)`` decoder rows.
        codes: ``(n, d_sae)`` activations.
        table: one row per feature; reads ``emotion_feature`` and ``emotion``.
        settings: ``max_correlation``, below which a pair counts as independent.
        seed: of the draws.
        rows: numbers of the test rows, rising; None: all are.
    """
    columns = UnitColumns.of(codes, rows)
    fires = columns.varies & (firings(codes, rows) > 0)
    features = np.flatnonzero(table["emotion_feature"].to_numpy().astype(bool) & fires)
    n, bar = len(features), settings.max_correlation
    if n < 2:
        return Orthogonality(max_correlation=bar, n_features=n, n_pairs=0)
    emotion = table["emotion"].to_numpy()[features]
    first, second = np.triu_indices(n, 1)
    correlation, cosine = _pairs(W_dec, columns, features)
    independent, same = correlation < bar, emotion[first] == emotion[second]
    live = np.flatnonzero(fires)
    rng = np.random.default_rng([seed, 0x0127])
    described = _describe(correlation, cosine, bar)
    drawn = [
        _describe(*_pairs(W_dec, columns, rng.choice(live, n, replace=False)), bar) for _ in range(DRAWS)
    ]
    return Orthogonality(
        max_correlation=bar,
        n_features=n,
        n_pairs=len(first),
        within_share=float(independent[same].mean()) if same.any() else None,
        between_share=float(independent[~same].mean()) if (~same).any() else None,
        **described,
        **{f"control_{name}": float(np.mean([draw[name] for draw in drawn])) for name in described},
    )


def _pairs(W_dec: np.ndarray, columns: UnitColumns, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """|correlation| and |cosine| of all pairs of ``features``, ``(pairs,)`` each."""
    own, rows = columns.take(features), unit_rows(W_dec[features].astype(np.float32))
    pairs = np.triu_indices(len(features), 1)
    return np.abs(own.correlations(own))[pairs], np.abs(rows @ rows.T)[pairs]


def _describe(correlation: np.ndarray, cosine: np.ndarray, bar: float) -> dict[str, float]:
    return {
        "share": float(np.mean(correlation < bar)),
        "median": float(np.median(correlation)),
        "mean_abs_correlation": float(correlation.mean()),
        "mean_abs_cosine": float(cosine.mean()),
        "cosine_share": float(np.mean(cosine < bar)),
    }
