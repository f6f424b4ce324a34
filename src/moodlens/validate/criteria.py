"""The criteria of the verdict, one entry each: what is read, what its control is, where the bar lies, what to do.

A criterion that is added here is judged, reported and advised on; its bar is a field of
:class:`moodlens.settings.verdict.VerdictSettings`. Texts quote the settings that were used: those of the verdict itself,
and of a stage the ones that its record keeps.
"""

import numpy as np

from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.sae import Baseline, HeldOutMetrics
from moodlens.study.records.stability import FamilyAgreement
from moodlens.validate.criterion import NO_FEATURE, Criterion, Measured, Reading, at_least, fewest, percent
from moodlens.validate.stability import StableFeatures


def _reconstruction(m: Measured, s: VerdictSettings) -> Reading | None:
    if m.reconstruction is None:
        return None
    metrics, mean, pca = (
        m.reconstruction.held_out,
        m.reconstruction.baselines.mean,
        m.reconstruction.baselines.pca,
    )

    def meets(rebuilt: HeldOutMetrics | Baseline) -> bool:
        return rebuilt.mse < s.max_mse and rebuilt.explained_variance >= s.min_explained_variance

    notes = [f"MSE {metrics.mse:.4g}; predicting the train mean gives MSE {mean.mse:.4g}"]
    if mean.mse < s.max_mse:
        notes.append("which meets the MSE threshold too, so explained variance decides")
    if pca is not None:
        notes.append(f"PCA with {pca.n_components} components reaches {pca.explained_variance:.3f}")
    return Reading(
        metrics.explained_variance,
        mean.explained_variance,
        meets(metrics),
        meets(mean),
        metrics.explained_variance > mean.explained_variance,
        note="; ".join(notes),
    )


def _sparsity(m: Measured, s: VerdictSettings) -> Reading | None:
    if m.reconstruction is None:
        return None
    metrics = m.reconstruction.held_out
    too_few = metrics.active_share < s.min_active_share
    return Reading(
        metrics.active_share,
        1.0,
        s.min_active_share <= metrics.active_share <= s.max_active_share,
        note=f"L0 {metrics.l0:.1f}; set by k or the L1 coefficient, so it says nothing about emotion",
        advice="Too few features are active per text: lower l1_coefficient or raise k."
        if too_few
        else "Too many features are active per text: raise l1_coefficient or lower k.",
    )


def _selectivity_bar(s: VerdictSettings, m: Measured) -> str:
    if m.selection is None:
        return f">= {s.min_emotion_features} features that hold an emotion on test"
    rule = f"q < {m.selection.q:g} and selectivity > {m.selection.min_selectivity:g}"
    return f">= {s.min_emotion_features} features with {rule} on test"


def _selectivity(m: Measured, s: VerdictSettings) -> Reading | None:
    if m.selection is None:
        return None
    selection, alone, bar = m.selection, m.selection.threshold_only, s.min_emotion_features
    n, chance = selection.n_emotion_features, selection.shuffled.p95
    met, beaten, fooled = n >= bar, n > chance, alone.shuffled_mean >= bar
    # Every row a group of its own: nobody said which rows depend on each other, so the test may count some twice.
    groupless = selection.n_groups_test == selection.n_rows_test
    control_met = chance >= bar or (fooled and (groupless or not (met and beaten)))
    judges = f"{selection.n_groups_test} independent groups judge"
    if groupless:
        judges = f"{selection.n_groups_test} rows judge as if independent, because no groups are known"
    note = (
        f"{judges}; the threshold alone (selectivity > {alone.min_selectivity:g}, {alone.min_firings} firings, no test) "
        f"counts {alone.count}, and {alone.shuffled_mean:.0f} under shuffled labels, which "
        f"{'reaches' if fooled else 'does not reach'} the threshold"
        + (", so that it is uninformative by itself" if fooled else "")
    )
    advice = (
        "The selectivity threshold is met under shuffled labels too, so it says nothing here: too few independent "
        "groups or firings. Do not read the count; add prompts from more emotion words and scenes."
    )
    return Reading(n, chance, met, control_met, beaten, note=note, advice=advice if control_met else "")


def _interpretability(m: Measured, s: VerdictSettings) -> Reading | str | None:
    holds, score, control = (m.column(c) for c in ("interpretable", "name_score", "name_control"))
    if m.features is None or m.strong is None or holds is None or score is None or control is None:
        return m.without("interpretable")
    leans = m.features["emotion"].to_numpy()
    good = m.strong & (np.nan_to_num(holds) > 0)
    # What a name must reach is what the worst accepted name reached; shuffled names are held to the same.
    bar = np.nanmin(score[good]) if good.any() else np.inf
    dealt = m.strong & (np.nan_to_num(control, nan=-np.inf) >= bar)
    per, chance = ({e: int((mask & (leans == e)).sum()) for e in m.emotions} for mask in (good, dealt))
    return fewest(per, chance, m.emotions, s.min_interpretable, "")


def _causality(m: Measured, s: VerdictSettings) -> Reading | None:
    if m.causal is None:
        return None
    causal = m.causal
    return fewest(
        causal.per_emotion, causal.control_per_emotion, m.emotions, s.min_causal, f"; {causal.rule}"
    )


def _monosemanticity(m: Measured, s: VerdictSettings) -> Reading | str | None:
    covered, control = m.column("monosemanticity"), m.column("monosemanticity_control")
    if covered is None or control is None or m.strong is None:
        return m.without("monosemanticity")
    judged = m.strong & np.isfinite(covered)
    if not judged.any():
        return NO_FEATURE
    note = f"median over {int(judged.sum())} emotion features"
    chance = float(np.nanmedian(control[judged]))
    return at_least(s.min_monosemanticity, float(np.median(covered[judged])), chance, note=note)


def _stability(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.stability is None or m.strong is None:
        return None
    stable = StableFeatures.of(m.stability.table, m.stability.summary, m.strong, s.min_reappearance)
    if stable.stable_share is None:
        return NO_FEATURE
    note = (
        f"of {stable.n_emotion_features} claimed features, mean over {stable.n_seeds} other seeds; "
        f"{stable.n_stable} in at least {s.min_reappearance:.0%} of them; all alive features "
        f"{stable.alive_share:.0%}; mean matched correlation {stable.mcc:.2f}"
    )
    if stable.bootstrap_share is not None:
        note += f"; in cores of resampled training groups {stable.bootstrap_share:.0%}"
    if m.agreement is not None and m.agreement.mean is not None:
        note += _families_agree(m.agreement.mean)
    return at_least(s.min_stable_share, stable.stable_share, stable.null_share, note=note, ci=stable.ci)


def _families_agree(mean: FamilyAgreement) -> str:
    return (
        f"; families: direction cosine {mean.direction:.2f} (random families {mean.direction_control:.2f}), "
        f"reading correlation {mean.reading:.2f} ({mean.reading_control:.2f})"
    )


def _generalization(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.held_out is None:
        return None
    if m.held_out.family_auroc is None:
        return m.held_out.note
    return at_least(
        s.min_held_out_auroc,
        m.held_out.family_auroc,
        m.held_out.control_auroc,
        note=m.held_out.note,
        ci=m.held_out.ci,
    )


def _compositionality(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.pairs is None:
        return None
    together = m.pairs.compositionality
    if together.share is None:
        return "fewer than two emotions have a family"
    note = f"{together.n_moved} of {together.n_pairs} pairs"
    return at_least(s.min_compositional_share, together.share, together.control_share, note=note)


def _orthogonality_bar(s: VerdictSettings, m: Measured) -> str:
    independent = "independent" if m.pairs is None else f"|r| < {m.pairs.orthogonality.max_correlation:g}"
    return f">= {percent(s.min_independent_share)} of pairs of emotion features with {independent}"


def _orthogonality(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.pairs is None:
        return None
    pairs = m.pairs.orthogonality
    if pairs.share is None:
        return "fewer than two emotion features"
    likely = pairs.control_share is not None and pairs.control_share >= s.min_independent_share
    note = "sparse codes of any kind correlate little, emotion or not" if likely else ""
    return at_least(s.min_independent_share, pairs.share, pairs.control_share, note=note)


def _dead_features(m: Measured, s: VerdictSettings) -> Reading | None:
    if m.reconstruction is None:
        return None
    dead = m.reconstruction.held_out.dead_share
    return Reading(dead, 1.0, dead < s.max_dead_share, note="silent on every training row")


CRITERIA = (
    Criterion(
        "reconstruction",
        "Reconstruction",
        must=True,
        unit="explained variance",
        stage="train",
        control="predict the train mean (explained variance)",
        threshold=lambda s, m: (
            f"MSE < {s.max_mse:g} and held-out explained variance >= {s.min_explained_variance:g}"
        ),
        read=_reconstruction,
        advice="Reconstruction is poor on text the SAE has not seen: add more and more diverse prompts first; then lower "
        "l1_coefficient or raise k, raise expansion_factor, or train longer. A gap between train and test means "
        "memorising: a smaller dictionary or more text.",
    ),
    Criterion(
        "sparsity",
        "Sparsity",
        must=True,
        unit="share",
        stage="train",
        control="a dense code, every feature active",
        threshold=lambda s, m: (
            f"{percent(s.min_active_share)} to {percent(s.max_active_share)} of features active per text"
        ),
        read=_sparsity,
        advice="",
    ),
    Criterion(
        "selectivity",
        "Selectivity",
        must=True,
        unit="count",
        stage="features",
        control="shuffled labels, 95th percentile",
        threshold=_selectivity_bar,
        read=_selectivity,
        advice="Too few features hold an emotion on test groups: more prompts, and more emotion words and scenes (the "
        "test counts groups, not rows); a wider dictionary if few features are alive.",
    ),
    Criterion(
        "interpretability",
        "Interpretability",
        must=True,
        unit="count",
        stage="names",
        control="shuffled names that reach the same score",
        threshold=lambda s, m: (
            f">= {s.min_interpretable} features of each emotion whose name predicts where they fire"
        ),
        read=_interpretability,
        advice="Names do not predict where the features fire: raise sparsity or the dictionary size, train to "
        "convergence, or use more diverse prompts (500 and more).",
    ),
    Criterion(
        "causality",
        "Causality",
        must=True,
        unit="count",
        stage="causal",
        control="as many matched control features that pass the same rule",
        threshold=lambda s, m: (
            f">= {s.min_causal} features of each emotion with an effect beyond their matched controls"
        ),
        read=_causality,
        advice="Features follow emotion but do not move it more than matched random features do: choose features by "
        "their effect, look at correlated words that stand in for the emotion, or use the difference-in-means direction.",
    ),
    Criterion(
        "monosemanticity",
        "Monosemanticity",
        must=False,
        unit="share",
        stage="names",
        control="shuffled names",
        threshold=lambda s, m: f"median share of firings covered by the name >= {s.min_monosemanticity:g}",
        read=_monosemanticity,
        advice="Features fire for more than their name: raise sparsity, or use a wider dictionary.",
    ),
    Criterion(
        "stability",
        "Stability",
        must=False,
        unit="share",
        stage="stability",
        control="random subsets of single SAEs, or random differences of data rows",
        threshold=lambda s, m: (
            f">= {percent(s.min_stable_share)} of claimed features come back under another seed "
            f"(stable: under >= {percent(s.min_reappearance)} of them)"
        ),
        read=_stability,
        advice="Few features come back under other seeds: give the core more members (core.members) or more rows, and "
        "trust only the features whose stability is high (it is a column and a filter).",
    ),
    Criterion(
        "generalization",
        "Generalization",
        must=False,
        unit="AUROC",
        stage="transfer",
        control="families of random alive features",
        threshold=lambda s, m: f"mean family AUROC on held-out words and scenes >= {s.min_held_out_auroc:g}",
        read=_generalization,
        advice="Families do not carry over to held-out words and scenes: vary style as well as emotion in the prompts, "
        "add words per emotion, and use larger validation and test splits.",
    ),
    Criterion(
        "compositionality",
        "Compositionality",
        must=False,
        unit="share",
        stage="pairs",
        control="random families added in pairs",
        threshold=lambda s, m: (
            f">= {percent(s.min_compositional_share)} of pairs of emotions: both families added move "
            "both readouts"
        ),
        read=_compositionality,
        advice="Families of two emotions cancel each other: compose at lower doses, or orthogonalise them.",
    ),
    Criterion(
        "orthogonality",
        "Orthogonality",
        must=False,
        unit="share",
        stage="pairs",
        control="random alive features",
        threshold=_orthogonality_bar,
        read=_orthogonality,
        advice="Emotion features fire together: raise sparsity, or merge them into their family.",
    ),
    Criterion(
        "dead_features",
        "Dead features",
        must=False,
        unit="share",
        stage="train",
        control="a dictionary that is all dead",
        threshold=lambda s, m: f"< {percent(s.max_dead_share)} of features never fire",
        read=_dead_features,
        advice="Many features never fire: lower l1_coefficient, lower dead_feature_threshold so that they are revived "
        "more often, use a smaller dictionary, or add text.",
    ),
)
"""In the order of the verdict: must-criteria first."""
