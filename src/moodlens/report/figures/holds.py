"""Does it hold: over seeds, and on text written by others?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.report.figures.style import (
    ACCENT,
    BAND,
    GRID,
    INK,
    MUTED,
    PAPER,
    WARN,
    WIDTH,
    canvas,
    empty,
    legend_below,
    look,
    short,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = {
    "family": ("SAE family", ACCENT, "o"),
    "top_feature": ("best single feature", "#6aaed6", "^"),
    "difference_in_means": ("difference-in-means", INK, "s"),
    "linear_probe": ("linear probe", MUTED, "D"),
}


def stability_histogram(
    cosine: np.ndarray, null_p95: float | None, reappears: np.ndarray, n_seeds: int, *, threshold: float = 0.7
) -> "Figure":
    """Left: decoder cosine of each emotion feature with its partner in other seeds. Right: how often it reappears.

    Args:
        cosine: ``(n,)`` mean cosine with the matched features.
        null_p95: the cosine that random differences of data rows reach (95th percentile).
        reappears: ``(n,)`` share of the other seeds.
        n_seeds: number of *other* seeds.
    """
    cosine, reappears = np.asarray(cosine, dtype=float), np.asarray(reappears, dtype=float)
    with look():
        figure, (left, right) = canvas(WIDTH, 2.7, 1, 2)
        if cosine.size == 0:
            empty(left, "no emotion feature to follow")
            right.set_axis_off()
            return figure
        left.hist(cosine, bins=np.linspace(0, 1, 26), color=ACCENT, edgecolor=PAPER, linewidth=0.4)
        left.axvline(threshold, color=WARN, lw=1, ls=(0, (5, 2)), label=f"counts as the same: {threshold:g}")
        if null_p95 is not None:
            left.axvline(
                null_p95, color=INK, lw=1, ls=(0, (1.2, 1.2)), label=f"null, 95th percentile: {null_p95:.2f}"
            )
        left.set(
            xlabel="decoder cosine with its match, mean over seeds", ylabel="emotion features", xlim=(0, 1)
        )
        left.set_title(f"n = {len(cosine)} emotion features")
        counts = np.bincount(np.rint(reappears * n_seeds).astype(int), minlength=n_seeds + 1)
        right.bar(np.arange(n_seeds + 1), counts, color=ACCENT, width=0.75)
        for x, count in enumerate(counts):
            right.text(x, count, f"{count}", ha="center", va="bottom")
        right.set(xlabel=f"other seeds it reappears in (of {n_seeds})", ylabel="emotion features")
        right.set_xticks(np.arange(n_seeds + 1))
        right.margins(y=0.15)
        handles, names = left.get_legend_handles_labels()
        legend_below(figure, handles, names)
    return figure


def transfer_bars(auroc: Mapping[str, Mapping[str, Any]], emotions: tuple[str, ...], *, n: int) -> "Figure":
    """AUROC on texts of others, each method and emotion with its interval (bootstrap over groups).

    Args:
        auroc: method -> emotion (and ``mean``) -> ``{"value", "ci": [low, high]}``.
        n: number of texts.
    """
    rows = [*[e for e in emotions if any(e in of for of in auroc.values())], "mean"]
    methods = [m for m in METHODS if m in auroc]
    with look():
        figure, axes = canvas(WIDTH * 0.9, min(1.0 + 0.14 * len(methods) * len(rows) + 0.1 * len(rows), 10.5))
        low = 0.5
        handles: list[Any] = []
        for place, method in enumerate(methods):
            _, color, marker = METHODS[method]
            offset = (place - (len(methods) - 1) / 2) * 0.8 / max(len(methods), 1)
            for i, row in enumerate(rows):
                cell = auroc[method].get(row)
                if cell is None or cell["value"] is None:
                    continue
                y = i + offset + (0.25 if row == "mean" else 0.0)
                if cell.get("ci"):
                    axes.plot(cell["ci"], [y, y], color=color, lw=1.4, solid_capstyle="butt", zorder=2)
                    low = min(low, cell["ci"][0])
                (point,) = axes.plot(
                    [cell["value"]],
                    [y],
                    color=color,
                    marker=marker,
                    ms=5,
                    ls="-",
                    lw=1.4,
                    mec=PAPER,
                    mew=0.5,
                    zorder=3,
                )
                low = min(low, cell["value"])
                if len(handles) == place:
                    handles.append(point)
        axes.axvline(0.5, color=WARN, lw=1, ls=(0, (5, 2)))
        axes.axhline(len(rows) - 1.35, color=GRID, lw=0.8)
        ticks = [i + (0.25 if row == "mean" else 0) for i, row in enumerate(rows)]
        axes.set_yticks(ticks, [short(row) if row != "mean" else "mean of emotions" for row in rows])
        axes.set(
            xlabel=f"AUROC (0.5: chance), n = {n:,} texts; bars: 95 % interval",
            xlim=(max(low - 0.03, 0), 1.0),
        )
        axes.set_ylim(len(rows) - 0.1, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        legend_below(figure, handles, [METHODS[m][0] for m in methods])
    return figure


def held_out_drop(
    test: np.ndarray, held_out: np.ndarray, chosen_for: Sequence[int], emotions: tuple[str, ...]
) -> "Figure":
    """AUROC of each emotion feature on test and on held-out words and scenes; on the line nothing is lost."""
    from moodlens.report.figures.style import marks

    test, held_out = np.asarray(test, dtype=float), np.asarray(held_out, dtype=float)
    with look():
        figure, axes = canvas(WIDTH * 0.62, 3.6)
        if test.size == 0:
            empty(axes, "no emotion feature to follow")
            return figure
        low = float(min(np.nanmin(test), np.nanmin(held_out), 0.5)) - 0.02
        axes.plot([low, 1], [low, 1], color=BAND, lw=1, zorder=0)
        handles, names = [], []
        which = np.asarray(chosen_for)
        for c, (emotion, mark) in enumerate(zip(emotions, marks(len(emotions)), strict=True)):
            mine = which == c
            handles.append(
                axes.scatter(
                    test[mine],
                    held_out[mine],
                    s=22,
                    color=mark.color,
                    marker=mark.marker,
                    edgecolors=PAPER,
                    linewidths=0.4,
                )
            )
            names.append(f"{short(emotion)} ({int(mine.sum())})")
        axes.axhline(0.5, color=WARN, lw=1, ls=(0, (5, 2)))
        axes.set(
            xlabel="AUROC on test texts",
            ylabel="AUROC on held-out words and scenes",
            xlim=(low, 1.01),
            ylim=(low, 1.01),
        )
        axes.set_aspect("equal")
        axes.grid()
        legend_below(figure, handles, names)
    return figure
