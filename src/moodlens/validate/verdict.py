"""Go or no-go: every criterion beside what chance or a trivial method gives.

A criterion passes only if it meets its threshold *and* beats its control. A threshold that the control meets
too is *uninformative*: it does not pass, whatever the value. What was not measured does not pass either.
Thresholds are settings, frozen before anything is measured.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from moodlens.engine import plain

if TYPE_CHECKING:
    import polars as pl

MUST = ("reconstruction", "sparsity", "selectivity", "interpretability", "causality")
NICE = (
    "monosemanticity",
    "stability",
    "generalization",
    "compositionality",
    "orthogonality",
    "dead_features",
)
LABELS = {
    "reconstruction": "Reconstruction",
    "sparsity": "Sparsity",
    "selectivity": "Selectivity",
    "interpretability": "Interpretability",
    "causality": "Causality",
    "monosemanticity": "Monosemanticity",
    "stability": "Stability",
    "generalization": "Generalization",
    "compositionality": "Compositionality",
    "orthogonality": "Orthogonality",
    "dead_features": "Dead features",
}


class VerdictSettings(BaseModel):
    """Thresholds of the criteria (the roadmap's, or stricter where the design is)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_mse: float = Field(
        default=0.01, gt=0, description="test mean squared error per element, raw embedding units"
    )
    min_explained_variance: float = Field(
        default=0.8, description="on held-out rows, about the train mean (share)"
    )
    min_active_share: float = Field(
        default=0.01, ge=0, description="features active per text, share of d_sae"
    )
    max_active_share: float = Field(
        default=0.03, le=1, description="features active per text, share of d_sae"
    )
    min_emotion_features: int = Field(
        default=50, ge=1, description="features with q < 0.05 and selectivity > 2 on test"
    )
    min_interpretable: int = Field(
        default=10, ge=1, description="features of each emotion whose name holds (count)"
    )
    min_causal: int = Field(default=10, ge=1, description="causal features of each emotion (count)")
    min_monosemanticity: float = Field(
        default=0.5, description="median share of firings that the name covers"
    )
    min_stable_share: float = Field(
        default=0.8, description="emotion features that reappear in enough other seeds (share)"
    )
    min_reappearance: float = Field(
        default=0.8, description="share of other seeds a stable feature reappears in (4 of 5)"
    )
    min_held_out_auroc: float = Field(
        default=0.8, description="mean AUROC of the families on held-out lexemes and scenes"
    )
    min_compositional_share: float = Field(
        default=0.8, description="pairs of emotions whose families both act (share)"
    )
    max_correlation: float = Field(
        default=0.3, description="absolute correlation that still counts as independent"
    )
    min_independent_share: float = Field(
        default=0.9, description="pairs of emotion features below max_correlation (share)"
    )
    max_dead_share: float = Field(
        default=0.05, ge=0, le=1, description="features that never fire (share of d_sae)"
    )


def judge(
    sae: str,
    emotions: tuple[str, ...],
    *,
    reconstruction: Mapping[str, Any] | None,
    baselines: Mapping[str, Any] | None,
    selection: Mapping[str, Any] | None,
    features: "pl.DataFrame | None",
    causality: Mapping[str, Any] | None = None,
    stability: Mapping[str, Any] | None = None,
    generalization: Mapping[str, Any] | None = None,
    compositionality: Mapping[str, Any] | None = None,
    orthogonality: Mapping[str, Any] | None = None,
    settings: VerdictSettings | None = None,
) -> dict[str, Any]:
    """Judge every criterion from saved results; what is None was not measured.

    Args:
        sae: name of the chosen SAE.
        emotions: names, in order.
        reconstruction: ``mse, explained_variance, l0, active_share, dead_share`` (and ``d_sae``) on held-out rows.
        baselines: ``{"mean": {mse, explained_variance}, "pca": {..., n_components}}`` on the same rows.
        selection: selection.json.
        features: features.parquet; columns that are absent or all null count as not measured.
        causality, stability, generalization, compositionality, orthogonality: the ``summary`` of each stage.
        settings: thresholds.

    Returns:
        ``{"go", "sae", "criteria": [{id, label, must, threshold, value, ci, control: {name, value} | None,
        passed, uninformative, note, details}], "next_steps"}``; ``threshold`` is text, ``value`` a number.
        ``go`` is true when every must-criterion passed.
    """
    s = settings or VerdictSettings()
    criteria = [
        _reconstruction(reconstruction, baselines, s),
        _sparsity(reconstruction, s),
        _selectivity(selection, s),
        _interpretability(features, emotions, s),
        _causality(causality, emotions, s),
        _monosemanticity(features, s),
        _stability(stability, s),
        _generalization(generalization, s),
        _compositionality(compositionality, s),
        _orthogonality(orthogonality, s),
        _dead_features(reconstruction, s),
    ]
    verdict = {
        "go": all(c["passed"] for c in criteria if c["must"]),
        "sae": sae,
        "criteria": criteria,
    }
    return plain({**verdict, "next_steps": next_steps(verdict)})


def _criterion(
    name: str,
    threshold: str,
    *,
    value: float | None = None,
    ci: tuple[float, float] | list[float] | None = None,
    control: tuple[str, float | None] | None = None,
    met: bool = False,
    control_met: bool = False,
    beaten: bool = True,
    note: str = "",
    details: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    return {
        "id": name,
        "label": LABELS[name],
        "must": name in MUST,
        "threshold": threshold,
        "value": value,
        "ci": None if ci is None else list(ci),
        "control": None if control is None else {"name": control[0], "value": control[1]},
        "passed": bool(met and beaten and not control_met),
        "uninformative": bool(control_met),
        "note": note,
        "details": dict(details or {}),
    }


def _absent(name: str, threshold: str, what: str = "not measured") -> dict[str, Any]:
    return _criterion(name, threshold, note=what)


def _reconstruction(
    metrics: Mapping[str, Any] | None, baselines: Mapping[str, Any] | None, s: VerdictSettings
) -> dict[str, Any]:
    threshold = f"MSE < {s.max_mse:g} and held-out explained variance >= {s.min_explained_variance:g}"
    if metrics is None or baselines is None:
        return _absent("reconstruction", threshold)

    def meets(m: Mapping[str, Any]) -> bool:
        return m["mse"] < s.max_mse and m["explained_variance"] >= s.min_explained_variance

    mean, pca = baselines["mean"], baselines.get("pca")
    notes = [f"MSE {metrics['mse']:.4g}; predicting the train mean gives MSE {mean['mse']:.4g}"]
    if mean["mse"] < s.max_mse:
        notes.append("which meets the MSE threshold too, so explained variance decides")
    if pca is not None:
        count = pca.get("n_components", pca.get("components"))
        notes.append(
            f"PCA with {count if count is not None else 'as many'} components reaches {pca['explained_variance']:.3f}"
        )
    return _criterion(
        "reconstruction",
        threshold,
        value=metrics["explained_variance"],
        ci=metrics.get("ci"),
        control=("predict the train mean (explained variance)", mean["explained_variance"]),
        met=meets(metrics),
        control_met=meets(mean),
        beaten=metrics["explained_variance"] > mean["explained_variance"],
        note="; ".join(notes),
        details={"mse": metrics["mse"], "mean": dict(mean), "pca": None if pca is None else dict(pca)},
    )


def _sparsity(metrics: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
    threshold = f"{s.min_active_share:.0%} to {s.max_active_share:.0%} of features active per text"
    if metrics is None:
        return _absent("sparsity", threshold)
    share = metrics["active_share"]
    return _criterion(
        "sparsity",
        threshold,
        value=share,
        control=("a dense code, every feature active", 1.0),
        met=s.min_active_share <= share <= s.max_active_share,
        note=f"L0 {metrics['l0']:.1f}; set by k or the L1 coefficient, so it says nothing about emotion",
        details={"l0": metrics["l0"], "too_few": share < s.min_active_share},
    )


def _selectivity(selection: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
    threshold = f">= {s.min_emotion_features} features with q < 0.05 and selectivity > 2 on test"
    if selection is None:
        return _absent("selectivity", threshold)
    n, shuffled = selection["n_emotion_features"], selection["shuffled"]
    alone = selection.get("threshold_only") or {}
    met = n >= s.min_emotion_features
    beaten = n > shuffled["p95"]
    alone_fooled = (alone.get("shuffled_mean") or 0) >= s.min_emotion_features
    control_met = shuffled["p95"] >= s.min_emotion_features or (alone_fooled and not (met and beaten))
    notes = [f"{selection['n_groups_test']} independent groups judge"] if "n_groups_test" in selection else []
    if alone:
        verb = "reaches" if alone_fooled else "does not reach"
        notes.append(
            f"the threshold alone (selectivity > 2, 5 firings, no test) counts {alone['count']}, and "
            f"{alone['shuffled_mean']:.0f} under shuffled labels, which {verb} the threshold"
        )
    return _criterion(
        "selectivity",
        threshold,
        value=n,
        control=("shuffled labels, 95th percentile", shuffled["p95"]),
        met=met,
        control_met=control_met,
        beaten=beaten,
        note="; ".join(notes),
        details={"per_emotion": selection.get("per_emotion"), "threshold_only": alone, "shuffled": shuffled},
    )


def _column(features: "pl.DataFrame | None", name: str) -> np.ndarray | None:
    """A column as numpy with nulls as NaN, or None where nobody measured it."""
    if features is None or name not in features.columns or features[name].null_count() == features.height:
        return None
    import polars as pl

    return features[name].cast(pl.Float64).to_numpy()


def _interpretability(
    features: "pl.DataFrame | None", emotions: tuple[str, ...], s: VerdictSettings
) -> dict[str, Any]:
    threshold = f">= {s.min_interpretable} features of each emotion whose name predicts where they fire"
    holds, score, control = (_column(features, c) for c in ("interpretable", "name_score", "name_control"))
    if features is None or holds is None or score is None or control is None:
        return _absent("interpretability", threshold)
    found = features["emotion_feature"].to_numpy().astype(bool)
    which = features["emotion"].to_numpy()
    good = found & (np.nan_to_num(holds) > 0)
    # What a name must reach is what the worst accepted name reached; shuffled names are held to the same.
    bar = np.nanmin(score[good]) if good.any() else np.inf
    fake = found & (np.nan_to_num(control, nan=-np.inf) >= bar)
    per = {e: int((good & (which == e)).sum()) for e in emotions}
    per_control = {e: int((fake & (which == e)).sum()) for e in emotions}
    value, control_value = min(per.values()), min(per_control.values())
    return _criterion(
        "interpretability",
        threshold,
        value=value,
        control=("shuffled names that reach the same score", control_value),
        met=value >= s.min_interpretable,
        control_met=control_value >= s.min_interpretable,
        beaten=value > control_value,
        note="fewest over the emotions: " + ", ".join(f"{e} {n}" for e, n in per.items()),
        details={"per_emotion": per, "control_per_emotion": per_control},
    )


def _causality(
    causality: Mapping[str, Any] | None, emotions: tuple[str, ...], s: VerdictSettings
) -> dict[str, Any]:
    threshold = f">= {s.min_causal} features of each emotion with an effect beyond their matched controls"
    if causality is None:
        return _absent("causality", threshold)
    per, chance = causality["per_emotion"], causality["control_per_emotion"]
    value = min(per.get(e, 0) for e in emotions)
    control = max(chance.get(e, 0) for e in emotions)
    return _criterion(
        "causality",
        threshold,
        value=value,
        control=(causality["control_name"], control),
        met=value >= s.min_causal,
        control_met=control >= s.min_causal,
        beaten=value > control,
        note="fewest over the emotions: "
        + ", ".join(f"{e} {per.get(e, 0)}" for e in emotions)
        + f"; {causality['rule']}",
        details={k: v for k, v in causality.items() if k not in ("rule", "control_name")},
    )


def _monosemanticity(features: "pl.DataFrame | None", s: VerdictSettings) -> dict[str, Any]:
    threshold = f"median share of firings covered by the name >= {s.min_monosemanticity:g}"
    covered, control = _column(features, "monosemanticity"), _column(features, "monosemanticity_control")
    if features is None or covered is None:
        return _absent("monosemanticity", threshold)
    found = features["emotion_feature"].to_numpy().astype(bool) & np.isfinite(covered)
    if not found.any():
        return _absent("monosemanticity", threshold, "no emotion feature to judge")
    value = float(np.median(covered[found]))
    if control is None:
        return _criterion("monosemanticity", threshold, value=value, note="control not measured")
    chance = float(np.nanmedian(control[found]))
    return _criterion(
        "monosemanticity",
        threshold,
        value=value,
        control=("shuffled names", chance),
        met=value >= s.min_monosemanticity,
        control_met=chance >= s.min_monosemanticity,
        beaten=value > chance,
        note=f"median over {int(found.sum())} emotion features",
    )


def _stability(stability: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
    threshold = f">= {s.min_stable_share:.0%} of emotion features reappear in >= {s.min_reappearance:.0%} of other seeds"
    if stability is None:
        return _absent("stability", threshold)
    value, control = stability["stable_share"], stability["null_share"]
    if value is None:
        return _absent("stability", threshold, "no emotion feature to judge")
    return _criterion(
        "stability",
        threshold,
        value=value,
        ci=stability.get("ci"),
        control=("random differences of data rows", control),
        met=value >= s.min_stable_share,
        control_met=control >= s.min_stable_share,
        beaten=value > control,
        note=f"{stability['n_stable']} of {stability['n_emotion_features']} over {stability['n_seeds']} seeds; "
        f"all alive features {stability['alive_share']:.0%}; mean matched correlation {stability['mcc']:.2f}",
        details=stability,
    )


def _generalization(generalization: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
    threshold = f"mean family AUROC on held-out words and scenes >= {s.min_held_out_auroc:g}"
    if generalization is None:
        return _absent("generalization", threshold)
    value, control = generalization["family_auroc"], generalization["control_auroc"]
    if value is None:
        return _absent("generalization", threshold, generalization.get("note") or "no family to judge")
    return _criterion(
        "generalization",
        threshold,
        value=value,
        ci=generalization.get("ci"),
        control=("families of random alive features", control),
        met=value >= s.min_held_out_auroc,
        control_met=control >= s.min_held_out_auroc,
        beaten=value > control,
        note=generalization.get("note", ""),
        details=generalization,
    )


def _compositionality(compositionality: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
    threshold = (
        f">= {s.min_compositional_share:.0%} of pairs of emotions: both families added move both readouts"
    )
    if compositionality is None:
        return _absent("compositionality", threshold)
    value, control = compositionality["share"], compositionality["control_share"]
    if value is None:
        return _absent("compositionality", threshold, "fewer than two emotions have a family")
    return _criterion(
        "compositionality",
        threshold,
        value=value,
        control=("random families added in pairs", control),
        met=value >= s.min_compositional_share,
        control_met=control >= s.min_compositional_share,
        beaten=value > control,
        note=f"{compositionality['n_moved']} of {compositionality['n_pairs']} pairs",
        details=compositionality,
    )


def _orthogonality(orthogonality: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
    threshold = (
        f">= {s.min_independent_share:.0%} of pairs of emotion features with |r| < {s.max_correlation:g}"
    )
    if orthogonality is None:
        return _absent("orthogonality", threshold)
    value, control = orthogonality["share"], orthogonality["control_share"]
    if value is None:
        return _absent("orthogonality", threshold, "fewer than two emotion features")
    control_met = control is not None and control >= s.min_independent_share
    return _criterion(
        "orthogonality",
        threshold,
        value=value,
        control=("random alive features", control),
        met=value >= s.min_independent_share,
        control_met=control_met,
        beaten=control is not None and value > control,
        note="sparse codes of any kind correlate little, emotion or not" if control_met else "",
        details=orthogonality,
    )


def _dead_features(metrics: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
    threshold = f"< {s.max_dead_share:.0%} of features never fire"
    if metrics is None:
        return _absent("dead_features", threshold)
    return _criterion(
        "dead_features",
        threshold,
        value=metrics["dead_share"],
        control=("a dictionary that is all dead", 1.0),
        met=metrics["dead_share"] < s.max_dead_share,
        note="on held-out rows" if metrics.get("held_out", True) else "",
    )


_ADVICE = {
    "reconstruction": (
        "Reconstruction is poor on text the SAE has not seen: add more and more diverse prompts first; then lower "
        "l1_coefficient or raise k, raise expansion_factor, or train longer. A gap between train and test means "
        "memorising: a smaller dictionary or more text."
    ),
    "sparsity_high": "Too many features are active per text: raise l1_coefficient (1e-3 to 3e-3 or 1e-2) or lower k.",
    "sparsity_low": "Too few features are active per text: lower l1_coefficient or raise k.",
    "selectivity": (
        "Too few features hold an emotion on test groups: more prompts, and more emotion words and scenes (the "
        "test counts groups, not rows); a wider dictionary if few features are alive."
    ),
    "selectivity_uninformative": (
        "The selectivity threshold is met under shuffled labels too, so it says nothing here: too few independent "
        "groups or firings. Do not read the count; add prompts from more emotion words and scenes."
    ),
    "interpretability": (
        "Names do not predict where the features fire: raise sparsity or the dictionary size, train to convergence, "
        "or use more diverse prompts (500 and more)."
    ),
    "causality": (
        "Features follow emotion but do not move it more than matched random features do: choose features by their "
        "effect, look at correlated words that stand in for the emotion, or use the difference-in-means direction."
    ),
    "monosemanticity": "Features fire for more than their name: raise sparsity, or use a wider dictionary.",
    "stability": (
        "Few features come back under other seeds: use a narrower dictionary or more text, and trust only the "
        "features whose stability is high (it is a column and a filter)."
    ),
    "generalization": (
        "Families do not carry over to held-out words and scenes: vary style as well as emotion in the prompts, add "
        "words per emotion, and use larger validation and test splits."
    ),
    "compositionality": "Families of two emotions cancel each other: compose at lower doses, or orthogonalise them.",
    "orthogonality": "Emotion features fire together: raise sparsity, or merge them into their family.",
    "dead_features": (
        "Many features never fire: lower l1_coefficient, lower dead_feature_threshold so that they are revived more "
        "often, use a smaller dictionary, or add text."
    ),
}


def next_steps(verdict: Mapping[str, Any]) -> list[str]:
    """What to do about each criterion that was measured and failed, must-criteria first; [] when all is well."""
    steps = []
    for criterion in verdict["criteria"]:
        name = criterion["id"]
        if criterion["passed"] or criterion["value"] is None:
            continue
        if name == "sparsity":
            name = "sparsity_low" if criterion["details"]["too_few"] else "sparsity_high"
        elif criterion["uninformative"] and name == "selectivity":
            name = "selectivity_uninformative"
        elif criterion["uninformative"]:
            steps.append(
                f"{criterion['label']}: the control meets the threshold too, so it says nothing here."
            )
            continue
        steps.append(_ADVICE[name])
    unmeasured = [c["label"].lower() for c in verdict["criteria"] if c["value"] is None]
    if unmeasured:
        steps.append(f"Not measured yet: {', '.join(unmeasured)}.")
    return steps
