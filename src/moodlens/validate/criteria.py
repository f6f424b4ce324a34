"""The criteria one by one: a value, its control, and whether the threshold tells them apart."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.settings.verdict import LABELS, MUST, NOT_MEASURED, VerdictSettings

if TYPE_CHECKING:
    import polars as pl


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


def _absent(name: str, threshold: str, what: str = NOT_MEASURED) -> dict[str, Any]:
    return _criterion(name, threshold, note=what)


def reconstruction(
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


def sparsity(metrics: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
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


def selectivity(selection: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
    threshold = f">= {s.min_emotion_features} features with q < 0.05 and selectivity > 2 on test"
    if selection is None:
        return _absent("selectivity", threshold)
    n, shuffled = selection["n_emotion_features"], selection["shuffled"]
    alone = selection.get("threshold_only") or {}
    met = n >= s.min_emotion_features
    beaten = n > shuffled["p95"]
    alone_fooled = (alone.get("shuffled_mean") or 0) >= s.min_emotion_features
    # Every row a group of its own: nobody said which rows depend on each other, so the test may count some twice.
    groupless = selection.get("n_groups_test") == selection.get("n_rows_test")
    control_met = shuffled["p95"] >= s.min_emotion_features or (
        alone_fooled and (groupless or not (met and beaten))
    )
    notes = [f"{selection['n_groups_test']} independent groups judge"] if "n_groups_test" in selection else []
    if groupless and notes:
        notes = [f"{selection['n_groups_test']} rows judge as if independent, because no groups are known"]
    if alone:
        verb = "reaches" if alone_fooled else "does not reach"
        notes.append(
            f"the threshold alone (selectivity > 2, 5 firings, no test) counts {alone['count']}, and "
            f"{alone['shuffled_mean']:.0f} under shuffled labels, which {verb} the threshold"
            + (", so that it is uninformative by itself" if alone_fooled else "")
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


def _unnamed(features: "pl.DataFrame | None", column: str) -> str:
    """Why there is nothing in ``column``: nobody looked, or there is no emotion feature to name."""
    if features is None or column not in features.columns or features["emotion_feature"].any():
        return NOT_MEASURED
    return "no emotion feature to judge"


def interpretability(
    features: "pl.DataFrame | None", emotions: tuple[str, ...], s: VerdictSettings
) -> dict[str, Any]:
    threshold = f">= {s.min_interpretable} features of each emotion whose name predicts where they fire"
    holds, score, control = (_column(features, c) for c in ("interpretable", "name_score", "name_control"))
    if features is None or holds is None or score is None or control is None:
        return _absent("interpretability", threshold, _unnamed(features, "interpretable"))
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


def causality(
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


def monosemanticity(features: "pl.DataFrame | None", s: VerdictSettings) -> dict[str, Any]:
    threshold = f"median share of firings covered by the name >= {s.min_monosemanticity:g}"
    covered, control = _column(features, "monosemanticity"), _column(features, "monosemanticity_control")
    if features is None or covered is None:
        return _absent("monosemanticity", threshold, _unnamed(features, "monosemanticity"))
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


def stability(stability: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
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
        f"all alive features {stability['alive_share']:.0%}; mean matched correlation {stability['mcc']:.2f}"
        + _of_families(stability.get("families") or {}),
        details=stability,
    )


def _of_families(mean: Mapping[str, float]) -> str:
    if not mean:
        return ""
    return (
        f"; families: direction cosine {mean['direction']:.2f} (random families {mean['direction_control']:.2f}), "
        f"reading correlation {mean['reading']:.2f} ({mean['reading_control']:.2f})"
    )


def generalization(generalization: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
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


def compositionality(compositionality: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
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


def orthogonality(orthogonality: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
    bar = (
        f" with |r| < {orthogonality['max_correlation']:g}"
        if orthogonality and "max_correlation" in orthogonality
        else ""
    )
    threshold = f">= {s.min_independent_share:.0%} of pairs of emotion features{bar}"
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


def dead_features(metrics: Mapping[str, Any] | None, s: VerdictSettings) -> dict[str, Any]:
    threshold = f"< {s.max_dead_share:.0%} of features never fire"
    if metrics is None:
        return _absent("dead_features", threshold)
    return _criterion(
        "dead_features",
        threshold,
        value=metrics["dead_share"],
        control=("a dictionary that is all dead", 1.0),
        met=metrics["dead_share"] < s.max_dead_share,
        note="silent on every training row",
    )
