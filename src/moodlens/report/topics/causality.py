"""Causality: what happens to the readouts when features are changed, beside features and directions that are random."""

from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.report import style
from moodlens.report.document import Picture, Table, emotion_label
from moodlens.report.numbers import interval, number, p_value, quantile
from moodlens.report.subject import Subject
from moodlens.report.topic import Blocks, Topic
from moodlens.report.topics.opening import verdict_says
from moodlens.study.records.causal import INTERVENTIONS
from moodlens.validate.causal_families import KEPT

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

READOUTS = {
    "probe": ("log-odds of a linear probe fitted on other groups", "change of log-odds (probe)"),
    "centroid": (
        "cosine with the emotion's centroid minus that with the others', of other groups",
        "change of cosine (centroid)",
    ),
}
"""Readout -> what it is, and what an effect on it is counted in."""
KINDS = {
    "clamp": "Clamp to zero",
    "transplant": "Transplant, dose 1",
    "keep_family": f"Keep only the family (its first {KEPT})",
    "zero_rest": "Keep nothing",
}
SUBJECTS = {
    "family": ("SAE family", style.ACCENT, "-", "o"),
    "difference_in_means": ("difference-in-means (ceiling)", style.INK, style.DASHED, "s"),
    "random_feature": ("random matched features", style.MUTED, style.DOTTED, "^"),
    "random_direction": ("random directions, same norm", style.WARN, (0, (3, 1, 1, 1)), "v"),
}


def on_families(subject: Subject, interventions: "pl.DataFrame") -> Blocks:
    """Every intervention on a family, read by its own emotion."""
    import polars as pl

    emotions, kinds, readouts = list(subject.emotions), list(KINDS), list(READOUTS)
    own = interventions.filter(
        pl.col("subject").is_in(["family", "all_features"])
        & (pl.col("target") == pl.col("emotion"))
        & ((pl.col("kind") != "transplant") | (pl.col("dose") == 1.0))
    )
    rows = sorted(
        own.iter_rows(named=True),
        key=lambda r: (kinds.index(r["kind"]), readouts.index(r["readout"]), emotions.index(r["emotion"])),
    )
    if not rows:
        return
    edge = quantile(subject.settings.validation.causal.control_quantile)
    yield Table(
        "Interventions on families",
        (
            "Family intervention", "Readout", "Effect", "95 % interval", "Control mean", f"Control, {edge}", "q",
            "Groups",
        ),
        tuple(
            (
                f"{KINDS[row['kind']]}: {emotion_label(row['emotion'])}",
                row["readout"],
                number(row["effect"]),
                interval((row["ci_low"], row["ci_high"])),
                number(row["control_mean"]),
                number(row["control_edge"]),
                p_value(row["p"] if row["q"] is None else row["q"]),
                number(row["n_groups"]),
            )
            for row in rows
        ),
        numeric=frozenset(range(2, 8)),
        note="Effect: change of the emotion's log-odds (probe) or cosine (centroid). A transplant should raise it, a clamp "
        "lower it; keeping only the family should lose less than keeping as many random features (the control).",
    )  # fmt: skip


def pictures(subject: Subject, interventions: "pl.DataFrame") -> Blocks:
    """Effects over doses, and which family moves which readout."""
    import polars as pl

    edge = quantile(subject.settings.validation.causal.control_quantile)
    for readout, (meaning, unit) in READOUTS.items():
        rows = interventions.filter(
            (pl.col("readout") == readout)
            & (pl.col("kind") == "transplant")
            & pl.col("subject").is_in(SUBJECTS)
        )
        if not rows.height:
            continue
        yield Picture(
            f"dose-response-{readout}",
            f"Adding an emotion's family to texts of other emotions, read by the {meaning}. The grey band is what "
            f"matched controls reach (mean to {edge}); shaded lines are 95 % intervals over groups.",
            f"Dose-response curves of the {readout} readout for each emotion, with controls.",
            lambda rows=rows, unit=unit: dose_response(rows, subject.emotions, unit=unit, edge=edge),
        )
        yield Picture(
            f"moves-{readout}",
            "Which emotion's family moves which emotion's readout. The diagonal should rise and the rest should not.",
            f"Heatmap of the effect of each family on each emotion's {readout} readout.",
            lambda rows=rows, unit=unit: which_moves_which(
                moves(rows, subject.emotions), subject.emotions, unit
            ),
        )


@style.look()
def dose_response(rows: "pl.DataFrame", emotions: tuple[str, ...], *, unit: str, edge: str) -> "Figure":
    """Effect of adding an emotion's family, over doses, with its interval, beside controls at the same dose.

    Args:
        rows: transplants of families and their controls, of one readout.
        emotions: names, in order; those without a family have no panel.
        unit: what an effect is counted in.
        edge: which quantile of the controls bounds the grey band, in words.
    """
    import polars as pl

    own = rows.filter(pl.col("target") == pl.col("emotion")).sort("dose")
    present = [emotion for emotion in emotions if (own["emotion"] == emotion).any()]
    figure, panels = style.emotion_panels(present, "dose", first="dose (typical activations)")
    seen: dict[str, Any] = {}
    for axes, emotion in zip(panels, present, strict=True):
        of_emotion = own.filter(pl.col("emotion") == emotion)
        beside = of_emotion.filter((pl.col("subject") == "family") & pl.col("control_edge").is_not_null())
        if beside.height:
            dose, mean, far = (beside[column] for column in ("dose", "control_mean", "control_edge"))
            seen[f"control: mean to {edge}"] = axes.fill_between(
                dose, mean, far, color=style.BAND, alpha=0.6, lw=0
            )
        for subject, (name, color, line, marker) in SUBJECTS.items():
            part = of_emotion.filter(pl.col("subject") == subject)
            if not part.height:
                continue
            if subject == "family":
                axes.fill_between(
                    part["dose"], part["ci_low"], part["ci_high"], color=color, alpha=0.22, lw=0
                )
            (seen[name],) = axes.plot(
                part["dose"], part["effect"], color=color, ls=line, marker=marker, ms=3.5, lw=1.3
            )
        _dose_axis(axes, own["dose"].unique().sort().to_list())
    figure.supylabel(unit, fontsize=8)
    style.legend_below(figure, list(seen.values()), list(seen))
    return figure


def _dose_axis(axes: Any, doses: list[float]) -> None:
    """Doses double from one to the next: a logarithmic axis with the doses themselves as ticks."""
    above = [dose for dose in doses if dose > 0]
    if len(above) > 2 and max(above) / min(above) >= 4:
        # Dose 0 stands one step left of the smallest.
        axes.set_xscale("symlog", base=2, linthresh=min(above), linscale=1)
        axes.minorticks_off()
        axes.set_xticks(doses, [f"{dose:g}" for dose in doses])


def moves(rows: "pl.DataFrame", emotions: tuple[str, ...]) -> np.ndarray:
    """Effect of the family of each emotion (rows) at dose 1 on the readout of each emotion (columns), ``(C, C)``.

    NaN where an emotion has no family.
    """
    effects = np.full((len(emotions), len(emotions)), np.nan)
    for row in rows.filter((rows["subject"] == "family") & (rows["dose"] == 1.0)).iter_rows(named=True):
        effects[emotions.index(row["emotion"]), emotions.index(row["target"])] = row["effect"]
    return effects


@style.look()
def which_moves_which(effects: np.ndarray, emotions: tuple[str, ...], unit: str) -> "Figure":
    """:func:`moves` as a heatmap; ``unit`` is what an effect is counted in."""
    names = [style.short(emotion) for emotion in emotions]
    width = float(np.clip(2.6 + 0.62 * len(names), 4.2, style.WIDTH))
    height = float(np.clip(1.2 + 0.36 * len(names), 2.4, 7))
    figure, axes = style.canvas(width, height + style.heading(names, names, width))
    style.heat(axes, effects, (names, names), f"{unit}, dose 1", "{:+.2f}", diverging=True)
    axes.set(xlabel="readout of", ylabel="family added")
    return figure


CAUSALITY = Topic(
    "causality",
    "Causality: what interventions change",
    (verdict_says("causality", "compositionality"), on_families, pictures),
    needs=(INTERVENTIONS,),
    absent="causality",
)
