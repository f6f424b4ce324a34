"""Do two families compose: does adding both at once move both readouts?"""

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.settings.validation import PairSettings
from moodlens.stats.controls import allowed_controls, matched_features, random_families
from moodlens.stats.ranks import activity
from moodlens.stats.resample import GroupMeans
from moodlens.study.families import Families
from moodlens.validate.family_trials import family_direction, scaled_families, typical_members
from moodlens.validate.interventions import Bank, constant_effects
from moodlens.validate.readouts import Panel, make_panel

if TYPE_CHECKING:
    import polars as pl


def compositionality(
    W_dec: np.ndarray,
    codes: np.ndarray,
    x: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    splits: np.ndarray,
    families: Families,
    table: "pl.DataFrame",
    emotions: tuple[str, ...],
    settings: PairSettings,
    *,
    seed: int,
    kinds: np.ndarray | None = None,
    panel: Panel | None = None,
) -> dict[str, Any]:
    """Add the families of every pair of emotions to test rows of neither, each at its typical size.

    A pair *moves both* when the log-odds of each of the two rise: the interval over groups lies above zero, and
    the mean lies above ``control_quantile`` of what pairs of random families do. In the log-odds of one emotion the
    other of the pair is left out, because a multinomial probe makes them compete by construction.

    The control applies the same rule to pairs of random families: matched features chosen for neither emotion, in the
    same amounts and at the same norm.

    Args:
        W_dec: ``(d_sae, d_in)`` decoder rows.
        codes: ``(n, d_sae)`` activations.
        x: ``(n, d_in)`` raw embeddings.
        labels: ``(n,)`` int, -1 for none; unlabelled test rows count as neutral.
        groups: ``(n,)``.
        splits: ``(n,)`` train, val (doses), test (judged), held_out (readouts).
        families: of the study.
        table: features.parquet; reads ``emotion``, ``tested``, ``emotion_feature``.
        emotions: names in label order.
        settings: counts of controls and resamples, ``control_quantile``.
        seed: of the controls and resamples.
        kinds: ``(n,)``; only plain and neutral rows take part. None: no unlabelled held-out row does.
        panel: the rows that are judged and their readouts, if :func:`make_panel` has made them; made here otherwise.

    Returns:
        ``share`` of pairs that move both (None with fewer than two families, or two classes in all),
        ``control_share``, ``n_moved,
        n_pairs``, ``control_rise_share`` (random pairs that raise both at all) and ``pairs``: for each, the two
        ``effects`` with ``ci``, the effects of each family ``alone``, ``moved``.

    Raises:
        BadInput: as :func:`moodlens.validate.readouts.make_panel`.
    """
    labels, splits = np.asarray(labels), np.asarray(splits).astype(str)
    have = [c for c, family in enumerate(families.families) if family.features]
    pairs = list(combinations(have, 2))
    out: dict[str, Any] = {"share": None, "control_share": None, "n_moved": 0, "n_pairs": len(pairs)}
    if not pairs:
        return out | {"control_rise_share": None, "pairs": []}
    rng = np.random.default_rng([seed, 0xC035])
    # Without kinds, unlabelled held-out rows may be negations and mixtures: no part of a readout.
    usable = (labels >= 0) | (splits != "held_out") if kinds is None else np.isin(kinds, ("plain", "neutral"))
    panel = panel or make_panel(x, labels, np.asarray(groups), splits, usable, emotions, seed=seed)
    if min(fold.readout.n_classes for fold in panel.folds) < 3:
        # Of two classes, one falls where the other rises.
        return out | {"control_rise_share": None, "pairs": []}
    means = GroupMeans.of(groups, settings.n_bootstrap, seed)
    dev = np.flatnonzero(usable & np.isin(splits, ("train", "val")))
    rows = {c: dev[labels[dev] == c] for c in have}
    added = {c: family_direction(W_dec, codes, families.families[c], rows[c]) for c in have}
    density, size = activity(codes[dev])
    told, fake_told, fake_rise = [], [], []
    for a, b in pairs:
        mine = panel.take((labels != a) & (labels != b))
        if not len(mine.rows):  # two emotions and no neutral rows: any row will do
            mine = panel
        # A family of features of the other emotion would move it: stand-ins were chosen for neither.
        allowed = allowed_controls(table, emotions[a]) & allowed_controls(table, emotions[b])
        random = np.zeros((settings.n_controls, W_dec.shape[1]))
        for c in (a, b):
            family = families.families[c]
            controls = matched_features(
                density, size, np.array(family.features), allowed, settings.n_controls
            )
            if controls.shape[1]:
                picks = random_families(controls, settings.n_controls, rng)
                norm = float(np.linalg.norm(added[c]))
                random += scaled_families(W_dec, picks, typical_members(codes, family, rows[c]), norm)
        both = np.concatenate([(added[a] + added[b])[None], random, [added[a], added[b]]])
        bank, every = Bank.of(mine, both), np.arange(len(both))
        one = {"emotions": [emotions[a], emotions[b]], "effects": {}, "ci": {}, "alone": {}}
        passed, rises = np.ones(len(both) - 2, dtype=bool), np.ones(len(both) - 2, dtype=bool)
        for place, (c, rival) in enumerate(((a, b), (b, a))):
            values, _ = constant_effects(mine, bank, every, np.ones(len(both)), c, without=rival)
            mean, low, high = means.interval(*means.sums(mine.rows, values))
            one["effects"][emotions[c]] = float(mean[0])
            one["ci"][emotions[c]] = [float(low[0]), float(high[0])]
            one["alone"][emotions[c]] = float(mean[-2:][place])
            rises &= low[:-2] > 0
            passed &= mean[:-2] > np.quantile(mean[1:-2], settings.control_quantile)
        passed &= rises
        told.append(one | {"moved": bool(passed[0])})
        fake_told.append(passed[1:].mean())
        fake_rise.append(rises[1:].mean())
    n_moved = sum(one["moved"] for one in told)
    return out | {
        "share": n_moved / len(pairs),
        "control_share": float(np.mean(fake_told)),
        "n_moved": n_moved,
        "control_rise_share": float(np.mean(fake_rise)),
        "pairs": told,
    }
