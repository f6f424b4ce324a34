"""The criteria of the verdict, one entry each: what is read, what its controls are, where the bar lies, what to do.

A criterion that is added here, or among :mod:`moodlens.validate.strengths` if it decides nothing, is judged, reported
and advised on; its bar is a field of :class:`moodlens.settings.verdict.VerdictSettings`. Texts quote the settings that
were used: those of the verdict itself, and of a stage the ones that its record keeps.
"""

from dataclasses import replace

from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.stability import FamilyAgreement
from moodlens.study.records.untrained import Claims
from moodlens.validate.criterion import Criterion, Measured, Reading, at_least, controls, fewest, percent
from moodlens.validate.stability import StableFeatures
from moodlens.validate.strengths import STRENGTHS


def _reconstruction(m: Measured, s: VerdictSettings) -> Reading | None:
    if m.reconstruction is None:
        return None
    baselines, metrics = m.reconstruction.baselines, m.reconstruction.held_out
    notes = [f"MSE {metrics.mse:.4g}; predicting the train mean gives MSE {baselines.mean.mse:.4g}"]
    if metrics.explained_variance < 0:
        worse = 1 - metrics.explained_variance
        notes.append(f"its error is {worse:.3g} times that of the mean: it rebuilds nothing")
    if baselines.pca is not None:
        pca = baselines.pca
        notes.append(f"PCA with {pca.n_components} components reaches {pca.explained_variance:.3f}")
    return at_least(
        s.min_explained_variance,
        metrics.explained_variance,
        {"predict the train mean": baselines.mean.explained_variance},
        note="; ".join(notes),
    )


def _sparsity(m: Measured, s: VerdictSettings) -> Reading | None:
    if m.reconstruction is None:
        return None
    metrics = m.reconstruction.held_out
    too_few = metrics.active_share < s.min_active_share
    return Reading(
        metrics.active_share,
        controls({"a dense code, every feature active": 1.0}),
        s.min_active_share <= metrics.active_share <= s.max_active_share,
        note=f"on test rows, L0 {metrics.l0:.1f}; on training rows {percent(round(m.reconstruction.train.active_share, 4))}; "
        "set by k or the L1 coefficient, so it says nothing about emotion",
        advice="Too few features are active per text: lower l1_coefficient or raise k."
        if too_few
        else "Too many features are active per text: raise l1_coefficient or lower k.",
    )


def _selectivity_bar(s: VerdictSettings, m: Measured) -> str:
    if m.selection is None:
        return f">= {s.min_emotion_features} features that may be claimed and hold an emotion on test"
    rule = f"q < {m.selection.q:g} and selectivity > {m.selection.min_selectivity:g}"
    return f">= {s.min_emotion_features} claimed features: {rule} on test"


def _selectivity(m: Measured, s: VerdictSettings) -> Reading | None:
    if m.selection is None:
        return None
    selection = m.selection
    # Every row a group of its own: nobody said which rows depend on each other, so the test may count some twice.
    groupless = selection.n_groups_test == selection.n_rows_test
    judges = f"{selection.n_groups_test} independent groups judge"
    if groupless:
        judges = f"{selection.n_groups_test} rows judge as if independent, because no groups are known"
    alone = {} if m.untrained is None else m.untrained.alone
    warning = "".join(
        f"; without a consensus one {kind.replace('-', ' ')} dictionary would claim {claims.n_claimed}"
        for kind, claims in alone.items()
    )
    chance = {"shuffled labels, 95th percentile": selection.shuffled.p95}
    reading = at_least(
        s.min_emotion_features,
        selection.n_emotion_features,
        chance | m.learned_nothing(lambda claims: claims.n_claimed),
        note=f"{judges}; core of {selection.core_size} features{warning}",
    )
    if m.core is not None and m.core.remark is not None:  # why there is no core
        return replace(reading, advice=f"No core: {m.core.remark}.")
    return reading


def _concepts(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.concepts is None:
        return None
    if not m.concepts.asked:
        return "the texts name no concepts inside their emotions"
    parts = m.concepts.emotions
    silent = [emotion for emotion in m.emotions if emotion not in parts]
    if silent:
        return f"of {', '.join(silent)} the texts name fewer than two concepts with enough groups"
    covered = all(part.n_covered >= min(s.min_concepts, len(part.concepts)) for part in parts.values())
    spread = ", ".join(f"{name} {part.n_covered} of {len(part.concepts)}" for name, part in parts.items())
    chance = {"shuffled concepts, 95th percentile": max(part.shuffled_p95 for part in parts.values())}
    return fewest(
        m.concepts.per_emotion,
        chance | m.fewest_untrained(lambda claims: claims.concepts_per_emotion),
        tuple(parts),
        s.min_concept_features,
        also=covered,
        more=f"; concepts covered: {spread}" + m.alone(lambda claims: claims.concepts_per_emotion),
    )


def _interpretability(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.names is None:
        return None
    dealt = m.names.dealt_judged.per_emotion_p95
    return fewest(
        m.names.per_emotion,
        {"names dealt among the claimed": max(dealt.values(), default=0.0)}
        | m.fewest_untrained(lambda claims: claims.interpretable_per_emotion),
        m.emotions,
        s.min_interpretable,
        more=m.alone(lambda claims: claims.interpretable_per_emotion) + f"; {m.names.rule}",
    )


def _causality(m: Measured, s: VerdictSettings) -> Reading | None:
    if m.causal is None:
        return None
    causal = m.causal
    chance: dict[str, float | None] = {
        "matched rest features": max(causal.control_per_emotion.values(), default=0)
    }
    if causal.untrained_per_emotion is not None:
        chance["matched untrained features"] = max(causal.untrained_per_emotion.values(), default=0)
    return fewest(
        causal.per_emotion,
        chance | m.fewest_untrained(lambda claims: claims.causal_per_emotion),
        m.emotions,
        s.min_causal,
        more=m.alone(lambda claims: claims.causal_per_emotion) + f"; {causal.rule}",
    )


def _stability(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.stability is None or m.strong is None:
        return None
    if not m.stability.summary.n_seeds:
        return (
            "the SAE was imported alone, without a core and without others of its recipe in which its features could come back "
            "(imported.others)"
        )
    stable = StableFeatures.of(m.stability.table, m.stability.summary, m.strong)
    note = (
        f"of {stable.n_emotion_features} claimed features, mean over {stable.n_seeds} pipelines that share only the rows; "
        f"{stable.n_stable} in all of them; all alive features of the core {stable.alive_share:.0%}; mean matched "
        f"correlation {stable.mcc:.2f}"
    )
    if stable.bootstrap_share is not None:
        note += f"; in cores of resampled training groups {stable.bootstrap_share:.0%}"
    if m.agreement is not None and m.agreement.mean is not None:
        note += _families_agree(m.agreement.mean)
    chance: dict[str, float | None] = {"random differences of data rows": m.stability.summary.null_mean}
    if m.stability.summary.subset_share is not None:
        chance["random subsets of single SAEs"] = m.stability.summary.subset_share

    def as_many(claims: Claims) -> float | None:
        # One claim that happens to come back is no share of a hundred: of as many claims as the study has, what is
        # not there does not come back.
        few = min(1.0, claims.n_claimed / max(stable.n_emotion_features, 1))
        return None if claims.stable_share is None else few * claims.stable_share

    return at_least(
        s.min_stable_share,
        stable.stable_share or 0.0,
        chance | m.learned_nothing(as_many),
        note=note,
        ci=stable.ci,
    )


def _families_agree(mean: FamilyAgreement) -> str:
    return (
        f"; families: direction cosine {mean.direction:.2f} (random families {mean.direction_control:.2f}), "
        f"reading correlation {mean.reading:.2f} ({mean.reading_control:.2f})"
    )


CRITERIA = (
    Criterion(
        "reconstruction",
        "Reconstruction",
        must=True,
        labels=False,
        unit="explained variance",
        stage="train",
        threshold=lambda s, m: f"held-out explained variance >= {s.min_explained_variance:g}",
        read=_reconstruction,
        advice="Reconstruction is poor on text the SAE has not seen: add more and more diverse prompts first; then lower "
        "l1_coefficient or raise k, raise expansion_factor, or train longer. A gap between train and test means "
        "memorising: a smaller dictionary or more text.",
        imported="The imported SAE does not rebuild these texts: give texts like those that it was trained on, and see that "
        "encoder, layer and scaling of rows (imported.input) are its own.",
    ),
    Criterion(
        "sparsity",
        "Sparsity",
        must=True,
        labels=False,
        unit="share",
        stage="train",
        threshold=lambda s, m: (
            f"{percent(s.min_active_share)} to {percent(s.max_active_share)} of features active per text"
        ),
        read=_sparsity,
        advice="",
        imported="Another share of the imported SAE's features is active than a sparse reading has: it may be another layer's, "
        "or want its rows scaled otherwise (imported.input).",
    ),
    Criterion(
        "selectivity",
        "Selectivity",
        must=True,
        unit="count",
        stage="features",
        threshold=_selectivity_bar,
        read=_selectivity,
        advice="Too few features hold an emotion on test groups: more prompts, and more emotion words and scenes (the "
        "test counts groups, not rows); a wider dictionary if few features are alive.",
        imported="Too few features of the imported SAE hold an emotion on test groups: more texts of more groups (the test "
        "counts groups, not rows), or one that was trained on texts with emotions in them.",
    ),
    Criterion(
        "concepts",
        "Concepts",
        must=True,
        unit="count",
        stage="concepts",
        threshold=lambda s, m: (
            f">= {s.min_concept_features} claimed features of each emotion that hold a concept inside it, in at least "
            f"{s.min_concepts} concepts"
        ),
        read=_concepts,
        advice="Features tell emotions but not what they are about: more words and scenes for each concept (the test "
        "counts groups), named in a column `concept`, or a wider core.",
        imported="Its features tell emotions but not what they are about: more words and scenes for each concept (the test "
        "counts groups), named in a column `concept`, or a wider SAE.",
    ),
    Criterion(
        "interpretability",
        "Interpretability",
        must=True,
        unit="count",
        stage="names",
        threshold=lambda s, m: (
            f">= {s.min_interpretable} features of each emotion whose name predicts where they fire"
        ),
        read=_interpretability,
        advice="Names do not predict where the features fire: raise sparsity or the dictionary size, train to "
        "convergence, or use more diverse prompts (500 and more).",
        imported="Names do not predict where the features fire: an SAE that is sparser or wider, or more diverse texts to name "
        "them from.",
    ),
    Criterion(
        "causality",
        "Causality",
        must=True,
        unit="count",
        stage="causal",
        threshold=lambda s, m: (
            f">= {s.min_causal} features of each emotion with an effect beyond their matched controls"
        ),
        read=_causality,
        advice="Features follow emotion but do not move it more than matched random features do: choose features by "
        "their effect, look at correlated words that stand in for the emotion, or use the difference-in-means direction.",
    ),
    Criterion(
        "stability",
        "Stability",
        must=True,
        labels=False,
        unit="share",
        stage="stability",
        threshold=lambda s, m: (
            f">= {percent(s.min_stable_share)} of claimed features come back in a pipeline that shares only the rows"
        ),
        read=_stability,
        advice="Few claimed features come back in other pipelines: more SAEs to a core (core.members), more rows to a "
        "feature (a narrower core.d_sae), and trust only those whose stability is high (it is a column and a filter).",
        imported="Few features come back in the other SAEs of the recipe: trust only those whose stability is high (it is a "
        "column and a filter).",
    ),
    *STRENGTHS,
)
"""In the order of the verdict: must-criteria first."""
