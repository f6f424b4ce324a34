"""Phase 0: is emotion in the embeddings at all? How similar they are, and how they lie in the plane of most variance."""

from typing import TYPE_CHECKING

import numpy as np

from moodlens.report import style
from moodlens.report.document import Picture, Table
from moodlens.report.numbers import number, p_value, percent
from moodlens.report.subject import ROWS, Subject
from moodlens.report.topic import Blocks, Topic, needs
from moodlens.study.records.phase0 import Phase0
from moodlens.study.rows import Rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_POINTS = 1500


def measures(_: Subject, phase0: Phase0) -> Blocks:
    """Every measure beside its control."""
    similarity, probe, noise = phase0.similarity, phase0.linear_probe, phase0.signal_to_noise
    within, between, permuted = similarity.within, similarity.between, similarity.permutation
    drawn = f"; on {probe.n:,} texts, whole groups drawn at random" if probe.n < phase0.n else ""
    rows = [
        (
            "Cosine within emotions",
            number(within.mean),
            "between emotions",
            number(between.mean),
            f"{within.n_pairs:,} and {between.n_pairs:,} pairs of texts",
        ),
        (
            "Difference",
            number(similarity.difference),
            "labels permuted over groups, 95th percentile",
            number(permuted.null_p95),
            f"p {p_value(permuted.p)} over {permuted.n_units:,} units; "
            f"t-test p {p_value(similarity.t_p)} (treats pairs as independent, which they are not)",
        ),
        (
            "Linear probe, folds of texts",
            percent(probe.mean, 1),
            "largest class",
            percent(probe.chance, 1),
            f"{len(probe.folds)}-fold accuracy; texts of one group sit on both sides, so it rewards remembering "
            f"words{drawn}",
        ),
    ]
    if probe.group_folds is not None and probe.shuffled is not None:
        rows.append(
            (
                "Linear probe, folds of groups",
                percent(probe.group_folds.mean, 1),
                f"shuffled labels, 95th percentile of {probe.shuffled.n}",
                percent(probe.shuffled.p95, 1),
                "the figure to believe: new words and scenes",
            )
        )
    rows.append(
        (
            "Signal-to-noise, mean over dimensions",
            number(noise.mean, 4),
            "expected without signal",
            number(noise.chance, 4),
            f"strongest dimension: {noise.dimensions[0]} with {number(noise.values[0])}",
        )
    )
    yield Table(
        f"Phase 0 on {phase0.n:,} labelled texts in {phase0.n_groups:,} groups, {phase0.d_in} dimensions",
        ("Measure", "Value", "Control", "Control value", "Note"),
        tuple(rows),
        numeric=frozenset({1, 3}),
    )
    yield Picture(
        "similarity",
        "Mean cosine between the texts of every two emotions. The diagonal (without each text's cosine with "
        "itself) should be the darkest cell of its row.",
        f"Heatmap of mean cosines; within emotions {number(within.mean)}, between {number(between.mean)}.",
        lambda: similarity_matrix(np.array(similarity.matrix, dtype=float), phase0.emotions),
    )


@needs(ROWS)
def components(_: Subject, phase0: Phase0, rows: Rows) -> Blocks:
    """The texts in the plane of most variance."""
    yield Picture(
        "pca",
        "Left: texts in the plane of most variance; clouds that overlap here may still be separable in other "
        "dimensions. Right: how much variance the leading components hold.",
        "Scatter plot of the first two principal components coloured by emotion, and cumulative variance.",
        lambda: pca_scatter(
            np.array(phase0.pca.coordinates),
            rows.label[list(phase0.rows)],
            phase0.emotions,
            np.array(phase0.pca.variance_share),
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
    xy: np.ndarray, labels: np.ndarray, emotions: tuple[str, ...], variance_share: np.ndarray
) -> "Figure":
    """The prompts in the plane of their first two principal components, and the variance of the first ones.

    Args:
        xy: ``(n, 2)``; at most :data:`MAX_POINTS` random rows are drawn, and n says how many of how many.
        labels: ``(n,)`` index into ``emotions``.
        emotions: their names.
        variance_share: share of the variance of each leading component.
    """
    share, n = variance_share, len(xy)
    rows = np.arange(n)
    if n > MAX_POINTS:
        rows = np.sort(np.random.default_rng(0).choice(n, MAX_POINTS, replace=False))
    figure, (left, right) = style.canvas(style.WIDTH, 3.7, 1, 2, width_ratios=(2.2, 1))
    handles, names = [], []
    size = 13 if len(rows) < 500 else 8
    # As vectors, many points make a page slow; as pixels they stay sharp enough to print.
    pixels = len(rows) > 500
    for c, (emotion, mark) in enumerate(zip(emotions, style.marks(len(emotions)), strict=True)):
        points = left.scatter(
            *xy[rows[labels[rows] == c]].T, s=size, color=mark.color, marker=mark.marker, alpha=0.75, linewidths=0,
            rasterized=pixels,
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
    style.legend_below(figure, handles, names)
    return figure


PHASE0 = Topic(
    "phase0",
    "Phase 0: is emotion in the embeddings?",
    (measures, components),
    needs=(Phase0,),
    absent="phase 0",
)
