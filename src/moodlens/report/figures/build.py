"""Which figures a study folder has the data for."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moodlens.report.evidence import Evidence, read_evidence
from moodlens.report.figures import causes, embedding, holds, selection, training
from moodlens.report.figures.style import save_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READOUTS = ("probe", "centroid")


def build(evidence: Evidence) -> "dict[str, Figure]":
    """Figure name -> figure, for all that the study has measured so far."""
    found = {name: figure for name, make in FIGURES.items() if (figure := make(evidence)) is not None}
    sets = (evidence.transfer or {}).get("sets", [])
    for number, texts in enumerate(sets):
        found[f"transfer-{number + 1}"] = holds.transfer_bars(texts["auroc"], evidence.emotions, n=texts["n"])
    return found


def save_all(study_dir: Path | str) -> list[Path]:
    """Draw every figure the study folder has data for, as ``figures/NAME.png`` (200 dpi), and return the paths.

    Raises:
        BadInput: not a study folder, or a damaged file.
    """
    evidence = read_evidence(study_dir)
    return write_png(build(evidence), evidence.folder / "figures")


def write_png(figures: "dict[str, Figure]", folder: Path) -> list[Path]:
    """Write the figures; one that an earlier run left and this study no longer has is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    known = {*FIGURES, *(f"transfer-{i}" for i in range(1, 100))}
    for old in folder.glob("*.png"):
        if old.stem in known and old.stem not in figures:
            old.unlink()
    paths = []
    for name, figure in figures.items():
        save_png(figure, folder / f"{name}.png")
        paths.append(folder / f"{name}.png")
    return paths


def _similarity(e: Evidence) -> "Figure | None":
    if e.phase0 is None:
        return None
    matrix = np.array(e.phase0["similarity"]["matrix"], dtype=float)
    return embedding.similarity_matrix(matrix, tuple(e.phase0.get("emotions", e.emotions)))


def _pca(e: Evidence) -> "Figure | None":
    if e.phase0 is None:
        return None
    part = e.phase0["pca"]
    return embedding.pca_scatter(
        np.array(part["coordinates"]), phase0_labels(e), e.emotions, part["variance_share"], seed=0
    )


def phase0_labels(e: Evidence) -> np.ndarray | None:
    """Labels of the rows of phase 0: the labelled prompts, with or without the held-out ones, whichever fits."""
    n = len((e.phase0 or {"pca": {"coordinates": ()}})["pca"]["coordinates"])
    if e.labels is None or e.prompts is None:
        return None
    known = e.labels >= 0
    plain, inside = (e.prompts["kind"] == "plain").to_numpy(), (e.prompts["split"] != "held_out").to_numpy()
    for mask in (known & plain, known, known & inside):
        if int(mask.sum()) == n:
            return e.labels[mask]
    return None


def _training(e: Evidence) -> "Figure | None":
    if not e.histories or e.sae_config is None:
        return None
    return training.training_curves(e.histories, int(e.sae_config["d_sae"]))


def _sweep(e: Evidence) -> "Figure | None":
    if e.sweep is None or e.sweep.height < 2:
        return None
    return training.sweep_pareto(e.sweep, pca_control(e))


def pca_control(e: Evidence) -> list[tuple[float, float]]:
    """``(components, held-out explained variance)`` of PCA, where the verdict or the sweep measured it."""
    points = []
    if e.sweep is not None and "pca_explained_variance" in e.sweep.columns:
        points = [(row["l0"], row["pca_explained_variance"]) for row in e.sweep.iter_rows(named=True)]
        points = [(x, y) for x, y in points if y is not None]
    criterion = e.criterion("reconstruction")
    pca = ((criterion or {}).get("details") or {}).get("pca")
    if not points and pca:
        points = [(float(pca.get("n_components", pca.get("components"))), float(pca["explained_variance"]))]
    return points


def _heatmap(e: Evidence) -> "Figure | None":
    if e.features is None:
        return None
    per = max(1, min(8, 48 // len(e.emotions)))
    read = {feature: reading["name"] for feature, reading in e.readings.items() if reading["name"]}
    return selection.feature_heatmap(e.features, e.emotions, per_emotion=per, names=read)


def _distributions(e: Evidence) -> "Figure | None":
    if e.features is None or e.prompts is None or e.labels is None or e.codes is None:
        return None
    top = selection.top_features(e.features, e.emotions, 2 if len(e.emotions) <= 6 else 1)
    fit = selection.distribution_panels(len(e.emotions))
    if top.height > fit:
        best = top.sort(["auroc_dev", "feature"], descending=[True, False]).head(fit)["feature"]
        top = top.filter(top["feature"].is_in(best.implode()))
    if top.height == 0:
        return None
    test = (e.labels >= 0) & (e.prompts["split"] == "test").to_numpy()
    features = top["feature"].to_list()
    return selection.activation_distributions(
        [e.codes[test, f] for f in features],
        features,
        [e.emotions.index(name) for name in top["emotion"]],
        e.labels[test],
        e.emotions,
    )


def _shuffled(e: Evidence) -> "Figure | None":
    if e.selection is None:
        return None
    rules = ((e.settings.get("validation") or {}).get("verdict") or {}).get("min_emotion_features")
    return selection.shuffled_counts(
        e.selection["shuffled"]["counts"], e.selection["n_emotion_features"], threshold=rules
    )


def _p_values(e: Evidence) -> "Figure | None":
    if e.features is None:
        return None
    import polars as pl

    tested = e.features.filter(pl.col("tested") & pl.col("p").is_not_null())
    level = float((e.selection or {}).get("q", 0.05))
    return selection.p_values(tested["p"].to_numpy(), tested["q"].to_numpy(), level)


def _scatter(e: Evidence) -> "Figure | None":
    if e.features is None:
        return None
    return selection.selectivity_auroc(
        e.features, e.emotions, min_selectivity=float((e.selection or {}).get("min_selectivity", 2.0))
    )


def _dose(readout: str) -> "Callable[[Evidence], Figure | None]":
    def make(e: Evidence) -> "Figure | None":
        if e.interventions is None or not len(e.interventions.filter(e.interventions["readout"] == readout)):
            return None
        return causes.dose_response(e.interventions, e.emotions, readout=readout)

    return make


def _moves(readout: str) -> "Callable[[Evidence], Figure | None]":
    def make(e: Evidence) -> "Figure | None":
        if e.interventions is None:
            return None
        matrix, dose = causes.moves_matrix(e.interventions, e.emotions, readout=readout)
        if not np.isfinite(matrix).any():
            return None
        return causes.which_moves_which(matrix, e.emotions, unit=f"{causes.UNITS[readout]}, dose {dose:g}")

    return make


def _stability(e: Evidence) -> "Figure | None":
    if e.stability is None or e.features is None or e.stability.height == 0:
        return None
    import polars as pl

    found = e.features.filter(pl.col("emotion_feature")).select("feature")
    rows = e.stability.join(found, on="feature", how="inner")
    null = e.stability["null_cosine_p95"].drop_nulls()
    n_others = int(e.stability["n_seeds"].to_numpy().max())
    return holds.stability_histogram(
        rows["decoder_cosine"].to_numpy(),
        float(null.to_numpy().mean()) if len(null) else None,
        rows["reappears"].to_numpy(),
        n_others,
    )


def _steering(e: Evidence) -> "Figure | None":
    results = (e.steering or {}).get("results")
    if results is None:
        return None
    from moodlens.report.sections.steering import result_rows

    return causes.steering_dose(result_rows(results), e.emotions)


def _held_out(e: Evidence) -> "Figure | None":
    if e.features is None or e.features["held_out_auroc"].null_count() == e.features.height:
        return None
    import polars as pl

    rows = e.features.filter(pl.col("emotion_feature") & pl.col("held_out_auroc").is_not_null())
    which = [e.emotions.index(name) for name in rows["emotion"]]
    return holds.held_out_drop(rows["auroc"].to_numpy(), rows["held_out_auroc"].to_numpy(), which, e.emotions)


FIGURES: "dict[str, Callable[[Evidence], Figure | None]]" = {
    "similarity": _similarity,
    "pca": _pca,
    "training": _training,
    "sweep": _sweep,
    "heatmap": _heatmap,
    "distributions": _distributions,
    "shuffled": _shuffled,
    "p-values": _p_values,
    "selectivity-auroc": _scatter,
    "dose-response-probe": _dose("probe"),
    "dose-response-centroid": _dose("centroid"),
    "moves-probe": _moves("probe"),
    "moves-centroid": _moves("centroid"),
    "stability": _stability,
    "held-out": _held_out,
    "steering-dose": _steering,
}
