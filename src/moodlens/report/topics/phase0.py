"""Phase 0: is emotion in the embeddings at all? How similar they are, and how they lie in the plane of most variance."""

from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.report import style
from moodlens.report.document import Picture, Table
from moodlens.report.numbers import number, p_value, percent
from moodlens.report.subject import ROWS, Phase0, Subject
from moodlens.report.topic import Blocks, Topic
from moodlens.study.rows import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS = 1500


def measures(subject: Subject, phase0: dict[str, Any], rows: Rows) -> Blocks:
    """Every measure beside its control."""
    similarity, probe, noise = phase0["similarity"], phase0["linear_probe"], phase0["signal_to_noise"]
    within, between, permuted = similarity["within"], similarity["between"], similarity["permutation"]
    drawn = f"; on {probe['n']:,} texts, whole groups drawn at random" if probe["n"] < phase0["n"] else ""
    table = [
        (
            "Cosine within emotions",
            number(within["mean"]),
            "between emotions",
            number(between["mean"]),
            f"{within['n_pairs']:,} and {between['n_pairs']:,} pairs of texts",
        ),
        (
            "Difference",
            number(similarity["difference"]),
            "labels permuted over groups, 95th percentile",
            number(permuted["null_p95"]),
            f"p {p_value(permuted['p'])} over {permuted['n_units']:,} units; "
            f"t-test p {p_value(similarity['t_p'])} (treats pairs as independent, which they are not)",
        ),
        (
            "Linear probe, folds of texts",
            percent(probe["mean"], 1),
            "largest class",
            percent(probe["chance"], 1),
            f"{len(probe['folds'])}-fold accuracy; texts of one group sit on both sides, so it rewards remembering "
            f"words{drawn}",
        ),
    ]
    shuffled, grouped = probe["shuffled"], probe["group_folds"]
    if grouped:
        table.append(
            (
                "Linear probe, folds of groups",
                percent(grouped["mean"], 1),
                f"shuffled labels, 95th percentile of {shuffled['n']}",
                percent(shuffled["p95"], 1),
                "the figure to believe: new words and scenes",
            )
        )
    table.append(
        (
            "Signal-to-noise, mean over dimensions",
            number(noise["mean"], 4),
            "expected without signal",
            number(noise["chance"], 4),
            f"strongest dimension: {noise['dimensions'][0]} with {number(noise['values'][0])}",
        )
    )
    yield Table(
        f"Phase 0 on {phase0['n']:,} labelled texts in {phase0['n_groups']:,} groups, {phase0['d_in']} dimensions",
        ("Measure", "Value", "Control", "Control value", "Note"),
        tuple(table),
        numeric=frozenset({1, 3}),
    )
    yield Picture(
        "similarity",
        "Mean cosine between the texts of every two emotions. The diagonal (without each text's cosine with "
        "itself) should be the darkest cell of its row.",
        f"Heatmap of mean cosines; within emotions {number(within['mean'])}, between {number(between['mean'])}.",
        lambda: similarity_matrix(np.array(similarity["matrix"], dtype=float), tuple(phase0["emotions"])),
    )
    pca = phase0["pca"]
    yield Picture(
        "pca",
        "Left: texts in the plane of most variance; clouds that overlap here may still be separable in other "
        "dimensions. Right: how much variance the leading components hold.",
        "Scatter plot of the first two principal components coloured by emotion, and cumulative variance.",
        lambda: pca_scatter(
            np.array(pca["coordinates"]), rows.label[phase0["rows"]], subject.emotions, pca["variance_share"]
        ),
    )


@style.look()
def similarity_matrix(matrix: np.ndarray, emotions: tuple[str, ...]) -> "Figure":
    """Mean cosine between the prompts of every two emotions, ``(C, C)``; the diagonal leaves out a row with itself."""
    names = [style.short(emotion) for emotion in emotions]
    n, longest = len(names), max(len(name) for name in names)
    side = float(np.clip(1.3 + 0.36 * n, 2.4, style.WIDTH - 1))
    width = float(
        np.clip(max(side + 1.2, 1.1 + style.LETTER * longest * (n + 1) + 0.08 * n), 3.2, style.WIDTH)
    )
    figure, axes = style.canvas(width, side + style.heading(names, names, width))
    style.heat(axes, matrix, (names, names), "mean cosine", "{:.2f}")
    return figure


@style.look()
def pca_scatter(
    coordinates: np.ndarray,
    labels: np.ndarray | None,
    emotions: tuple[str, ...],
    variance_share: np.ndarray | list[float],
    *,
    seed: int = 0,
) -> "Figure":
    """The prompts in the plane of their first two principal components, and the variance of the first ones.

    Args:
        coordinates: ``(n, 2)``; at most 1,500 random rows are drawn, and n says how many of how many.
        labels: ``(n,)`` index into ``emotions``, or None to draw all points alike.
        variance_share: share of the variance of each leading component.
    """
    xy = np.asarray(coordinates, dtype=np.float64)
    share = np.asarray(variance_share, dtype=np.float64)
    n = len(xy)
    rows = np.arange(n)
    if n > MAX_POINTS:
        rows = np.sort(np.random.default_rng(seed).choice(n, MAX_POINTS, replace=False))
    figure, (left, right) = style.canvas(style.WIDTH, 3.7, 1, 2, width_ratios=(2.2, 1))
    handles, names = [], []
    size = 13 if len(rows) < 500 else 8
    # As vectors, many points make a page slow; as pixels they stay sharp enough to print.
    pixels = len(rows) > 500
    if labels is None:
        left.scatter(*xy[rows].T, s=size, color=style.INK, alpha=0.5, linewidths=0, rasterized=pixels)
    else:
        for c, (emotion, mark) in enumerate(zip(emotions, style.marks(len(emotions)), strict=True)):
            points = left.scatter(
                *xy[rows[labels[rows] == c]].T, s=size, color=mark.color, marker=mark.marker, alpha=0.75,
                linewidths=0, rasterized=pixels,
            )  # fmt: skip
            handles.append(points)
            names.append(style.short(emotion))
    left.set(
        title=f"n = {n:,} prompts" if len(rows) == n else f"{len(rows):,} random of n = {n:,} prompts",
        xlabel=f"component 1 ({share[0]:.1%} of variance)",
        ylabel=f"component 2 ({share[1]:.1%})" if len(share) > 1 else "component 2",
    )
    left.axhline(0, color=style.GRID, lw=0.6, zorder=0)
    left.axvline(0, color=style.GRID, lw=0.6, zorder=0)
    total = np.cumsum(share) * 100
    right.plot(np.arange(1, len(total) + 1), total, color=style.INK, lw=1.2)
    right.set(title="Variance", xlabel="leading components", ylabel="cumulative share (%)", ylim=(0, 102))
    right.grid(axis="y")
    if handles:
        style.legend_below(figure, handles, names)
    return figure


PHASE0 = Topic(
    "phase0", "Phase 0: is emotion in the embeddings?", (measures,), needs=(Phase0, ROWS), absent="phase 0"
)
