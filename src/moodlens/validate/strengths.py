"""The criteria that decide nothing and strengthen what was found: nice to have."""

from dataclasses import replace

import numpy as np

from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.transfer import without_family
from moodlens.validate.criterion import (
    NO_FEATURE,
    Criterion,
    Measured,
    Reading,
    at_least,
    controls,
    fewest,
    percent,
)
from moodlens.validate.stability import StableFeatures


def _bootstrap(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.stability is None or m.strong is None:
        return None
    stable = StableFeatures.of(m.stability.table, m.stability.summary, m.strong)
    if stable.bootstrap_share is None:
        return "no core was found on resampled groups" if stable.n_emotion_features else NO_FEATURE
    return at_least(
        s.min_bootstrap_share,
        stable.bootstrap_share,
        {"random differences of data rows": m.stability.summary.null_mean},
        note=f"of {stable.n_emotion_features} claimed features, mean over {m.stability.summary.n_bootstraps} cores of "
        "training groups drawn with replacement, which hold two thirds of the words: which features there are hangs on "
        "which words were there",
    )


def _monosemanticity(m: Measured, s: VerdictSettings) -> Reading | str | None:
    covered, control = m.column("monosemanticity"), m.column("monosemanticity_control")
    if m.names is None or m.strong is None:
        return None
    if covered is None or control is None or not np.isfinite(covered[m.strong]).any():
        return NO_FEATURE
    judged = m.strong & np.isfinite(covered)
    return at_least(
        s.min_monosemanticity,
        float(np.median(covered[judged])),
        {"names of other features": float(np.nanmedian(control[judged]))},
        note=f"median over {int(judged.sum())} claimed features",
    )


def _transfer(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.transfer is None:
        return None
    judged = [texts for texts in m.transfer.sets if texts.auroc]
    if not judged:
        return "no table of other people's labelled texts"

    def mean(method: str) -> float | None:
        values = [texts.auroc.get(method, {}).get("mean") for texts in judged]
        known = [value.value for value in values if value is not None and value.value is not None]
        return float(np.mean(known)) if known else None

    family, dense = mean("family"), mean("difference_in_means")
    if family is None or dense is None:
        return NO_FEATURE
    missing = {emotion for texts in judged for emotion in without_family(texts.auroc)}
    return at_least(
        dense - s.max_behind_dense,
        family,
        {"chance": 0.5},
        note=f"difference-in-means {dense:.3f}; {', '.join(texts.name for texts in judged)}"
        + (f"; without a family, and in neither mean: {', '.join(sorted(missing))}" if missing else ""),
    )


def _generalization(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.transfer is None:
        return None
    held_out = m.transfer.held_out
    if held_out.family_auroc is None:
        return held_out.note
    chance: dict[str, float | None] = {"families of random alive features": held_out.control_auroc}
    alone = {} if m.untrained is None else m.untrained.alone
    # A consensus of untrained dictionaries has no family to read with; one of them has.
    chance |= {
        f"families of one {kind.replace('-', ' ')} dictionary": claims.held_out_auroc
        for kind, claims in alone.items()
    }
    return at_least(
        s.min_held_out_auroc,
        held_out.family_auroc,
        chance,
        note=held_out.note,
        ci=held_out.ci,
    )


def _negation(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.transfer is None:
        return None
    denied = [
        part for part in m.transfer.special if part.kind == "negation" and part.gated_others is not None
    ]
    # Other wordings of denial than the gate learnt from, where there are any.
    denied = [part for part in denied if part.split == "held_out"] or denied
    if not denied:
        return "no denied texts, or no family"
    gated = float(np.mean([part.gated_others for part in denied if part.gated_others is not None]))
    plain = float(np.mean([part.percentile_others for part in denied]))
    return Reading(
        gated,
        controls({"the families without the gate": plain}),
        gated <= s.max_denied_percentile,
        plain <= s.max_denied_percentile,
        gated < plain,
        note=f"mean over {len(denied)} families of where texts that deny the emotion lie among plain texts of other "
        "emotions, 50 is where those lie themselves",
    )


def _compositionality(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.pairs is None:
        return None
    together = m.pairs.compositionality
    if together.share is None and together.n_pairs:
        return "with two classes in all, one emotion falls where the other rises, so pairs cannot be judged"
    if together.share is None:
        if together.n_pairs:
            return "of two classes in all, one falls where the other rises"
        return "fewer than two emotions have a family"
    return at_least(
        s.min_compositional_share,
        together.share,
        {"random families added in pairs": together.control_share},
        note=f"{together.n_moved} of {together.n_pairs} pairs",
    )


def _orthogonality_bar(s: VerdictSettings, m: Measured) -> str:
    independent = "independent" if m.pairs is None else f"|r| < {m.pairs.orthogonality.max_correlation:g}"
    return f">= {percent(s.min_independent_share)} of pairs of claimed features with {independent}"


def _orthogonality(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.pairs is None:
        return None
    pairs = m.pairs.orthogonality
    if pairs.share is None:
        return "fewer than two claimed features"
    likely = pairs.control_share is not None and pairs.control_share >= s.min_independent_share
    return at_least(
        s.min_independent_share,
        pairs.share,
        {"random alive features": pairs.control_share},
        note="sparse codes of any kind correlate little, emotion or not" if likely else "",
    )


def _dead_features(m: Measured, s: VerdictSettings) -> Reading | None:
    if m.reconstruction is None:
        return None
    dead = m.reconstruction.held_out.dead_share
    chance = controls({"a dictionary that is all dead": 1.0})
    return Reading(dead, chance, dead < s.max_dead_share, note="silent on every training row")


def _ratings(m: Measured, s: VerdictSettings) -> Reading | str | None:
    if m.ratings is None:
        return None
    if not m.ratings.asked:
        return "no text carries a rating"
    untrained = m.ratings.consensus or m.ratings.alone
    chance: dict[str, float | None] = {"ratings dealt anew, 95th percentile": m.ratings.shuffled_pole_p95}
    chance |= {
        f"{kind.replace('-', ' ')} dictionaries": max(claims.per_pole.values())
        for kind, claims in untrained.items()
    }
    per = m.ratings.claims.per_pole
    judges = ", ".join(f"{name} {scale.n_groups_test}" for name, scale in m.ratings.scales.items())
    more = f"; test groups: {judges}; {m.ratings.rule}"
    reading = fewest(per, chance, tuple(per), s.min_rated_features, more=more, over="the ends of the scales")
    if not m.emotions and m.core is not None and m.core.remark is not None:  # why there is no core
        return replace(reading, advice=f"No core: {m.core.remark}.")
    return reading


STRENGTHS = (
    Criterion(
        "ratings",
        "Ratings",
        must=False,
        labels=False,
        unit="count",
        stage="ratings",
        threshold=lambda s, m: (
            f">= {s.min_rated_features} claimed features that go with each end of each rated scale on test"
        ),
        read=_ratings,
        advice="Too few features go with people's ratings on test groups: rate more texts (the test counts groups), or more "
        "that differ; see how much a dense reading of the embeddings reaches.",
    ),
    Criterion(
        "monosemanticity",
        "Monosemanticity",
        must=False,
        unit="share",
        stage="names",
        threshold=lambda s, m: f"median share of firings covered by the name >= {s.min_monosemanticity:g}",
        read=_monosemanticity,
        advice="Features fire for more than their name: raise sparsity, or use a wider dictionary.",
        imported="Features fire for more than their name: look for an SAE that is sparser or wider.",
    ),
    Criterion(
        "bootstrap",
        "Bootstrap stability",
        must=False,
        labels=False,
        unit="share",
        stage="stability",
        threshold=lambda s, m: (
            f">= {percent(s.min_bootstrap_share)} of claimed features come back on resampled training groups"
        ),
        read=_bootstrap,
        advice="Other words would give other features: say which words were in training, and add words to each concept.",
    ),
    Criterion(
        "transfer",
        "Transfer",
        must=False,
        unit="AUROC",
        stage="transfer",
        threshold=lambda s, m: (
            f"mean family AUROC on other people's texts within {s.max_behind_dense:g} of difference-in-means"
        ),
        read=_transfer,
        advice="On other people's texts a dense direction reads more than the families: more features to a family "
        "(features.family_size), or use difference-in-means where only the reading counts.",
    ),
    Criterion(
        "generalization",
        "Generalization",
        must=False,
        unit="AUROC",
        stage="transfer",
        threshold=lambda s, m: f"mean family AUROC on held-out words and scenes >= {s.min_held_out_auroc:g}",
        read=_generalization,
        advice="Families do not carry over to held-out words and scenes: vary style as well as emotion in the prompts, "
        "add words per emotion, and use larger validation and test splits.",
    ),
    Criterion(
        "negation",
        "Negation",
        must=False,
        unit="percentile",
        stage="transfer",
        threshold=lambda s, m: (
            f"texts that deny an emotion at percentile <= {s.max_denied_percentile:g} among texts of other emotions"
        ),
        read=_negation,
        advice="Texts that deny an emotion are read as texts of it: add denied prompts (prompts.special_share), or take "
        "denials out before texts are scored.",
    ),
    Criterion(
        "compositionality",
        "Compositionality",
        must=False,
        unit="share",
        stage="pairs",
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
        threshold=_orthogonality_bar,
        read=_orthogonality,
        advice="Emotion features fire together: raise sparsity, or merge them into their family.",
    ),
    Criterion(
        "dead_features",
        "Dead features",
        must=False,
        labels=False,
        unit="share",
        stage="train",
        threshold=lambda s, m: f"< {percent(s.max_dead_share)} of features never fire",
        read=_dead_features,
        advice="Many features never fire: lower l1_coefficient, lower dead_feature_threshold so that they are revived "
        "more often, use a smaller dictionary, or add text.",
    ),
)
"""In the order of the verdict."""
