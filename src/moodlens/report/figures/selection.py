"""Features: which fire for which emotion, how strongly, and whether chance would have found as many."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from moodlens.report.figures.embedding import heading, heat
from moodlens.report.figures.style import (
    ACCENT,
    BAND,
    GRID,
    INK,
    MUTED,
    PAGE,
    PAPER,
    WARN,
    WIDTH,
    canvas,
    empty,
    legend_below,
    look,
    marks,
    short,
)

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure


STABLE = 0.8
"""Share of the other seeds (4 of 5) from which on a feature counts as stable."""


def feature_heatmap(
    table: "pl.DataFrame",
    emotions: tuple[str, ...],
    *,
    per_emotion: int = 8,
    names: Mapping[int, str] | None = None,
) -> "Figure":
    """Firing rates on test of the best emotion features of each emotion, in every emotion.

    Rows are grouped by the emotion each feature was chosen for (on train + val), so a block diagonal is what a
    study that found something looks like. ``names``, what people call a feature, come before the machine's.
    """
    called = names or {}
    rows = top_features(table, emotions, per_emotion)
    with look():
        if rows.height == 0:
            figure, axes = canvas(WIDTH, 1.2)
            empty(axes, "no emotion features to show")
            return figure
        rates = np.stack([rows[f"rate_{e}"].to_numpy() for e in emotions], axis=1).astype(float) * 100
        labels = [
            f"F{row['feature']} {short(called.get(row['feature']) or row.get('name') or '', 26)}".strip()
            for row in rows.iter_rows(named=True)
        ]
        columns = [short(e) for e in emotions]
        width = float(np.clip(3.4 + 0.55 * len(emotions), 4.5, WIDTH))
        height = min(0.9 + 0.185 * len(labels) + heading(labels, columns, width), PAGE)
        figure, axes = canvas(width, height)
        heat(
            figure,
            axes,
            rates,
            labels,
            columns,
            "firing rate on test texts (%, smoothed)",
            "{:.0f}",
            limits=(0, max(rates.max(), 1)),
        )
        place = 0
        for emotion in emotions[:-1]:
            place += rows.filter(rows["emotion"] == emotion).height
            axes.axhline(place, color=INK, lw=0.9)
        axes.xaxis.tick_top()
    return figure


def top_features(table: "pl.DataFrame", emotions: tuple[str, ...], per_emotion: int) -> "pl.DataFrame":
    """The best emotion features of each emotion, in the order of ``emotions``.

    Best is: those that reappear in at least ``STABLE`` of the other seeds before the rest, then the highest AUROC on
    train + val. Neither looks at test rows, so the numbers shown beside them are not flattered by the order.
    """
    import polars as pl

    found = table.filter(pl.col("emotion_feature"))
    again = pl.col("stability").fill_null(0) >= STABLE if "stability" in table.columns else pl.lit(True)
    found = found.with_columns(again.alias("_stable")).sort(
        ["_stable", "auroc_dev", "feature"], descending=[True, True, False]
    )
    parts = [found.filter(pl.col("emotion") == e).head(per_emotion) for e in emotions]
    return pl.concat(parts).drop("_stable")


def _panel_columns(n_emotions: int) -> int:
    return 4 if n_emotions <= 6 else 2


def _panel_height(n_emotions: int) -> float:
    return 0.7 + 0.2 * n_emotions


def distribution_panels(n_emotions: int) -> int:
    """How many features :func:`activation_distributions` can show on one page, at most 12."""
    rows = max(1, int((PAGE - 0.75) / _panel_height(n_emotions)))
    return min(12, _panel_columns(n_emotions) * rows)


def activation_distributions(
    activations: Sequence[np.ndarray],
    features: Sequence[int],
    chosen_for: Sequence[int],
    labels: np.ndarray,
    emotions: tuple[str, ...],
) -> "Figure":
    """How strongly the best feature of each emotion fires, emotion by emotion: a box of the activations above zero.

    Args:
        activations: one ``(n,)`` array for each feature, test texts with a label.
        features: their numbers.
        chosen_for: the emotion each was chosen for, index into ``emotions``.
        labels: ``(n,)`` index into ``emotions``.
    """
    looks = marks(len(emotions))
    columns = min(len(features), _panel_columns(len(emotions)))
    with look():
        if not features:
            figure, axes = canvas(WIDTH, 1.2)
            empty(axes, "no emotion features to show")
            return figure
        rows = -(-len(features) // columns)
        figure, grid = canvas(
            WIDTH,
            min(0.75 + rows * _panel_height(len(emotions)), PAGE),
            rows,
            columns,
            squeeze=False,
        )
        names = [short(e, 14) for e in emotions]
        for place, axes in enumerate(grid.flat):
            if place >= len(features):
                axes.set_axis_off()
                continue
            values = activations[place]
            top = float(values.max()) or 1.0
            for c, mark in enumerate(looks):
                mine = values[labels == c]
                fires = mine[mine > 0]
                y = len(emotions) - 1 - c
                if len(fires):
                    box = axes.boxplot(
                        [fires], positions=[y], orientation="horizontal", widths=0.62, whis=(5, 95), showfliers=False,
                        patch_artist=True, manage_ticks=False,
                    )  # fmt: skip
                    for patch in box["boxes"]:
                        patch.set(facecolor=mark.color, edgecolor=INK, linewidth=0.6)
                    for part in (*box["whiskers"], *box["caps"]):
                        part.set(color=INK, linewidth=0.6)
                    for part in box["medians"]:
                        part.set(color=INK, linewidth=1.4)
                share = len(fires) / max(len(mine), 1)
                axes.text(
                    1.02, y, f"{share:.0%}", transform=axes.get_yaxis_transform(), va="center", color=MUTED
                )
            axes.set(xlim=(0, top * 1.03), ylim=(-0.6, len(emotions) - 0.4))
            axes.set_yticks(
                range(len(emotions) - 1, -1, -1), names if place % columns == 0 else [""] * len(names)
            )
            axes.tick_params(axis="y", length=0)
            axes.set_title(
                f"F{features[place]} ({short(emotions[chosen_for[place]], 10 if columns > 2 else 22)})"
            )
            axes.grid(axis="x")
        figure.supxlabel(
            "activation where it fires (embedding units); right: share of texts in which it fires", fontsize=8
        )
    return figure


def shuffled_counts(counts: Sequence[int], real: int, *, threshold: int | None = None) -> "Figure":
    """How many emotion features the same procedure finds under shuffled labels, beside the real count."""
    values = np.asarray(counts, dtype=float)
    with look():
        figure, axes = canvas(WIDTH * 0.8, 2.4)
        top = max(float(values.max(initial=0)), float(real), float(threshold or 0), 1.0)
        width = max(1, round(top / 60))
        edges = np.arange(0, top + 2 * width, width) - width / 2
        axes.hist(
            values,
            bins=edges,
            color=BAND,
            edgecolor=PAPER,
            linewidth=0.4,
            label=f"shuffled labels, n = {len(values)} repeats",
        )
        height = axes.get_ylim()[1]
        axes.axvline(real, color=ACCENT, lw=2, label=f"this study: {real}")
        p95 = float(np.percentile(values, 95)) if values.size else 0.0
        axes.axvline(p95, color=INK, lw=1, ls=(0, (1.2, 1.2)), label=f"shuffled, 95th percentile: {p95:.1f}")
        if threshold is not None:
            axes.axvline(threshold, color=WARN, lw=1, ls=(0, (5, 2)), label=f"criterion: {threshold}")
        axes.set(
            xlabel="emotion features found",
            ylabel="repeats",
            xlim=(-top * 0.03 - 0.5, top * 1.06),
            ylim=(0, height),
        )
        handles, names = axes.get_legend_handles_labels()
        legend_below(figure, handles, names, 2)
    return figure


def p_values(p: np.ndarray, q: np.ndarray | None, level: float) -> "Figure":
    """Histogram of the p-values of all features tested; under no effect it is flat at the dashed line."""
    p = np.asarray(p, dtype=float)
    with look():
        figure, axes = canvas(WIDTH * 0.8, 2.4)
        if p.size == 0:
            empty(axes, "no feature was tested")
            return figure
        bins = np.linspace(0, 1, 21)
        called = np.zeros(len(p), dtype=bool) if q is None else np.asarray(q, dtype=float) < level
        axes.hist(
            [p[called], p[~called]], bins=bins, stacked=True, color=[ACCENT, BAND], edgecolor=PAPER, linewidth=0.4,
            label=[f"q < {level:g} ({int(called.sum()):,})", f"q ≥ {level:g} ({int((~called).sum()):,})"],
        )  # fmt: skip
        axes.axhline(len(p) / 20, color=INK, lw=1, ls=(0, (4, 2)), label="expected if nothing is there")
        axes.set(
            xlabel=f"group permutation p, test texts (n = {len(p):,} features tested)",
            ylabel="features",
            xlim=(0, 1),
        )
        handles, names = axes.get_legend_handles_labels()
        order = [names.index(n) for n in names]
        legend_below(figure, [handles[i] for i in order], [names[i] for i in order])
    return figure


def selectivity_auroc(
    table: "pl.DataFrame", emotions: tuple[str, ...], *, min_selectivity: float = 2.0
) -> "Figure":
    """Selectivity against AUROC on test for every alive feature; emotion features in their emotion's colour."""
    import polars as pl

    alive = table.filter(pl.col("density") > 0)
    others = alive.filter(~pl.col("emotion_feature"))
    with look():
        figure, axes = canvas(WIDTH * 0.85, 3.7)
        handles, names = [], []
        grey = axes.scatter(
            others["auroc"],
            others["selectivity"],
            s=6,
            color=BAND,
            linewidths=0,
            rasterized=others.height > 1500,
        )
        handles.append(grey)
        names.append(f"not an emotion feature ({others.height:,})")
        for emotion, mark in zip(emotions, marks(len(emotions)), strict=True):
            mine = alive.filter(pl.col("emotion_feature") & (pl.col("emotion") == emotion))
            points = axes.scatter(
                mine["auroc"],
                mine["selectivity"],
                s=22,
                color=mark.color,
                marker=mark.marker,
                edgecolors=PAPER,
                linewidths=0.4,
            )
            handles.append(points)
            names.append(f"{short(emotion)} ({mine.height})")
        axes.axhline(min_selectivity, color=WARN, lw=1, ls=(0, (5, 2)))
        axes.axvline(0.5, color=GRID, lw=1, zorder=0)
        axes.annotate(
            f"selectivity {min_selectivity:g}", (1, min_selectivity), xycoords=("axes fraction", "data"),
            xytext=(0, 3), textcoords="offset points", ha="right", color=WARN,
        )  # fmt: skip
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set(xlabel="AUROC on test texts (0.5: chance)", ylabel="selectivity on test texts (log scale)")
        axes.grid(axis="y")
        legend_below(figure, handles, names)
    return figure
