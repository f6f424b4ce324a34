"""Phase 0: how similar the emotions' embeddings are, and how they lie in the plane of most variance."""

from typing import TYPE_CHECKING

import numpy as np

from moodlens.report.figures.style import GRID, INK, PAPER, WIDTH, canvas, legend_below, look, marks, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_POINTS = 1500
CELL_TEXT_UP_TO = 12


def similarity_matrix(matrix: np.ndarray, emotions: tuple[str, ...]) -> "Figure":
    """Mean cosine between the prompts of every two emotions, ``(C, C)``; the diagonal leaves out a row with itself."""
    matrix = np.asarray(matrix, dtype=np.float64)
    n = len(emotions)
    longest = max((len(short(e)) for e in emotions), default=1)
    side = float(np.clip(1.3 + 0.36 * n, 2.4, WIDTH - 1))
    wide = float(np.clip(max(side + 1.2, 1.1 + 0.066 * longest * (n + 1) + 0.08 * n), 3.2, WIDTH))
    with look():
        names = [short(e) for e in emotions]
        figure, axes = canvas(wide, side + heading(names, names, wide))
        heat(figure, axes, matrix, names, names, "mean cosine", "{:.2f}")
    return figure


def heat(
    figure: "Figure",
    axes: "Axes",
    values: np.ndarray,
    rows: list[str],
    columns: list[str],
    label: str,
    form: str,
    *,
    diverging: bool = False,
    limits: tuple[float, float] | None = None,
) -> None:
    """A heatmap of vector cells, with its figures written in where there is room."""
    finite = values[np.isfinite(values)]
    low, high = limits or ((finite.min(), finite.max()) if finite.size else (0.0, 1.0))
    if diverging:
        high = max(abs(low), abs(high)) or 1.0
        low = -high
    if not high > low:
        low, high = low - 0.5, high + 0.5
    mesh = axes.pcolormesh(
        np.ma.masked_invalid(values),
        cmap="RdBu_r" if diverging else "Blues",
        vmin=low,
        vmax=high,
        edgecolors=PAPER,
        linewidth=0.8 if max(values.shape) <= 25 else 0.2,
    )
    axes.set(xlim=(0, values.shape[1]), ylim=(values.shape[0], 0))
    axes.set_xticks(
        np.arange(len(columns)) + 0.5,
        columns,
        rotation=90 if heading(rows, columns, figure.get_figwidth()) else 0,
    )
    axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(mesh, ax=axes, shrink=0.9, pad=0.02, aspect=25)
    bar.set_label(label)
    bar.outline.set_visible(False)  # type: ignore[operator]
    if values.shape[1] <= CELL_TEXT_UP_TO and values.shape[0] <= 45:
        for (i, j), value in np.ndenumerate(values):
            if np.isfinite(value):
                share = (value - low) / (high - low)
                dark = abs(share - 0.5) > 0.3 if diverging else share > 0.55
                ink = "#ffffff" if dark else "#111111"
                axes.text(j + 0.5, i + 0.5, _written(form, value), ha="center", va="center", color=ink)


def _written(form: str, value: float) -> str:
    """The number with a true minus sign, and no sign on what rounds to zero."""
    text = form.format(value)
    return (text if any(c in "123456789" for c in text) else text.lstrip("+-")).replace("-", "−")


def heading(rows: list[str], columns: list[str], width: float) -> float:
    """Inches that a heatmap's column names need because they must stand upright; 0 where they fit side by side.

    A character is taken as 0.066 inches, the colour bar as 0.9.
    """
    left, longest = (max((len(name) for name in names), default=1) * 0.066 for names in (rows, columns))
    cell = (width - 0.9 - left) / max(len(columns), 1)
    return longest if longest + 0.06 > cell else 0.0


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
    many = len(emotions) > 12
    with look():
        figure, (left, right) = canvas(WIDTH, 3.7 if not many else 4.8, 1, 2, width_ratios=(2.2, 1))
        handles, names = [], []
        size = 13 if len(rows) < 500 else 8
        # As vectors, many points make a page slow; as pixels they stay sharp enough to print.
        many_points = len(rows) > 500
        if labels is None:
            left.scatter(*xy[rows].T, s=size, color=INK, alpha=0.5, linewidths=0, rasterized=many_points)
        else:
            labels = np.asarray(labels)
            for c, (name, mark) in enumerate(zip(emotions, marks(len(emotions)), strict=True)):
                mine = rows[labels[rows] == c]
                points = left.scatter(
                    *xy[mine].T,
                    s=size,
                    color=mark.color,
                    marker=mark.marker,
                    alpha=0.75,
                    linewidths=0,
                    rasterized=many_points,
                )
                handles.append(points)
                names.append(short(name))
        drawn = f"n = {n:,} prompts" if len(rows) == n else f"{len(rows):,} random of n = {n:,} prompts"
        left.set(
            title=drawn,
            xlabel=f"component 1 ({share[0]:.1%} of variance)",
            ylabel=f"component 2 ({share[1]:.1%})" if len(share) > 1 else "component 2",
        )
        left.axhline(0, color=GRID, lw=0.6, zorder=0)
        left.axvline(0, color=GRID, lw=0.6, zorder=0)
        total = np.cumsum(share) * 100
        right.plot(np.arange(1, len(total) + 1), total, color=INK, lw=1.2)
        right.set(title="Variance", xlabel="leading components", ylabel="cumulative share (%)", ylim=(0, 102))
        right.grid(axis="y")
        if handles:
            legend_below(figure, handles, names)
    return figure
