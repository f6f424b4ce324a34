"""Interventions: what happens to the readouts when features are changed, beside features and directions that are random."""

from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.report.figures.embedding import heading, heat
from moodlens.report.figures.style import (
    ACCENT,
    BAND,
    GRID,
    INK,
    MUTED,
    WARN,
    WIDTH,
    canvas,
    empty,
    legend_below,
    look,
    short,
)

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure

SUBJECTS = {
    "family": ("SAE family", ACCENT, "-", "o"),
    "difference_in_means": ("difference-in-means (ceiling)", INK, (0, (5, 1.5)), "s"),
    "random_feature": ("random matched features", MUTED, (0, (1.2, 1.2)), "^"),
    "random_direction": ("random directions, same norm", WARN, (0, (3, 1, 1, 1)), "v"),
}


UNITS = {"probe": "change of log-odds (probe)", "centroid": "change of cosine (centroid)"}
"""What an effect on each readout is counted in."""


def dose_response(frame: "pl.DataFrame", emotions: tuple[str, ...], *, readout: str) -> "Figure":
    """Effect of adding an emotion's family, over doses, with its interval, beside controls at the same dose.

    Args:
        frame: interventions.parquet.
        readout: ``probe`` or ``centroid``.
    """
    import polars as pl

    rows = frame.filter((pl.col("kind") == "transplant") & (pl.col("readout") == readout))
    # The family of an emotion, read where it was added; ``target`` names the readout where it is another emotion.
    rows = rows.filter(pl.col("target").is_null() | (pl.col("target") == pl.col("emotion")))
    present = [e for e in emotions if rows.filter(pl.col("emotion") == e).height]
    with look():
        if not present:
            figure, axes = canvas(WIDTH, 1.2)
            empty(axes, "no transplant was measured")
            return figure
        columns = min(len(present), 4)
        n_rows = -(-len(present) // columns)
        figure, grid = canvas(
            WIDTH, 0.8 + 1.75 * n_rows, n_rows, columns, squeeze=False, sharey=True, sharex=True
        )
        seen: dict[str, Any] = {}
        for axes, emotion in zip(grid.flat, present, strict=False):
            mine = rows.filter(pl.col("emotion") == emotion)
            _control_band(axes, mine, seen)
            for subject, (label, color, line, marker) in SUBJECTS.items():
                part = _mean_by_dose(mine.filter(pl.col("subject") == subject))
                if part.height == 0:
                    continue
                dose, effect = part["dose"].to_numpy(), part["effect"].to_numpy()
                if subject == "family" and part["ci_low"].null_count() < part.height:
                    axes.fill_between(dose, part["ci_low"], part["ci_high"], color=color, alpha=0.22, lw=0)
                (drawn,) = axes.plot(dose, effect, color=color, ls=line, marker=marker, ms=3.5, lw=1.3)
                seen[label] = drawn
            axes.axhline(0, color=GRID, lw=0.8, zorder=0)
            axes.set_title(short(emotion, 20))
            _dose_axis(axes, rows["dose"].unique().sort().to_list())
            axes.grid(axis="y")
        for axes in list(grid.flat)[len(present) :]:
            axes.set_axis_off()
        # A label of the whole figure would run into the legend, so the lowest panel of each column carries it.
        for column in range(columns):
            lowest = max(row for row in range(n_rows) if row * columns + column < len(present))
            grid[lowest, column].set_xlabel("dose" if column else "dose (typical activations)")
            grid[lowest, column].xaxis.set_tick_params(labelbottom=True)
        figure.supylabel(UNITS.get(readout, f"change of {readout}"), fontsize=8)
        legend_below(figure, list(seen.values()), list(seen))
    return figure


def _dose_axis(axes: Any, doses: list[float]) -> None:
    """Doses double from one to the next: a logarithmic axis with the doses themselves as ticks."""
    above = [dose for dose in doses if dose > 0]
    if len(above) > 2 and max(above) / min(above) >= 4:
        # Dose 0 stands one step left of the smallest.
        axes.set_xscale("symlog", base=2, linthresh=min(above), linscale=1)
        axes.minorticks_off()
        axes.set_xticks(doses, [f"{dose:g}" for dose in doses])


def _control_band(axes: Any, rows: "pl.DataFrame", seen: dict[str, Any]) -> None:
    """The mean to 99th percentile of the controls that were drawn for the family."""
    import polars as pl

    family = rows.filter((pl.col("subject") == "family") & pl.col("control_p99").is_not_null()).sort("dose")
    if family.height:
        band = axes.fill_between(
            family["dose"], family["control_mean"], family["control_p99"], color=BAND, alpha=0.6, lw=0
        )
        seen["control: mean to 99th percentile"] = band


def _mean_by_dose(rows: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    columns = [pl.col(c).cast(pl.Float64).mean() for c in ("effect", "ci_low", "ci_high")]
    return rows.group_by("dose").agg(columns).sort("dose")


def which_moves_which(effects: np.ndarray, emotions: tuple[str, ...], *, unit: str) -> "Figure":
    """Effect of adding the family of each emotion (rows) on the readout of each emotion (columns), ``(C, C)``."""
    n = len(emotions)
    with look():
        names = [short(e) for e in emotions]
        width = float(np.clip(2.6 + 0.62 * n, 4.2, WIDTH))
        figure, axes = canvas(width, float(np.clip(1.2 + 0.36 * n, 2.4, 7)) + heading(names, names, width))
        heat(figure, axes, np.asarray(effects, dtype=float), names, names, unit, "{:+.2f}", diverging=True)
        axes.set(xlabel="readout of", ylabel="family added")
    return figure


def moves_matrix(
    frame: "pl.DataFrame", emotions: tuple[str, ...], *, readout: str
) -> tuple[np.ndarray, float | None]:
    """The matrix of :func:`which_moves_which` at dose 1 (or the dose nearest to it), NaN where not measured."""
    import polars as pl

    rows = frame.filter(
        (pl.col("kind") == "transplant") & (pl.col("subject") == "family") & (pl.col("readout") == readout)
    )
    out = np.full((len(emotions), len(emotions)), np.nan)
    if rows.height == 0:
        return out, None
    doses = rows["dose"].unique().to_list()
    dose = min(doses, key=lambda d: (abs(d - 1), d))
    for row in rows.filter(pl.col("dose") == dose).iter_rows(named=True):
        target = row["target"] or row["emotion"]
        if row["emotion"] in emotions and target in emotions:
            out[emotions.index(row["emotion"]), emotions.index(target)] = row["effect"]
    return out, dose


STEERING_LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1)))
STEERING_COLORS = (ACCENT, INK, MUTED, WARN, "#1fa187")


def steering_dose(rows: list[dict[str, Any]], emotions: tuple[str, ...]) -> "Figure | None":
    """Effect over the coefficient, a panel for each emotion and a line for each method; None where there is no dose.

    Args:
        rows: of results.json; reads ``method, emotion, coefficient, effect`` and ``ci``; other rows are passed over.
    """
    wanted = ("method", "emotion", "coefficient", "effect")
    rows = [row for row in rows if all(row.get(key) is not None for key in wanted)]
    present = [e for e in emotions if any(row["emotion"] == e for row in rows)]
    if not present:
        return None
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    columns = min(len(present), 4)
    n_rows = -(-len(present) // columns)
    with look():
        figure, grid = canvas(
            WIDTH, 0.8 + 1.75 * n_rows, n_rows, columns, squeeze=False, sharey=True, sharex=True
        )
        seen: dict[str, Any] = {}
        for axes, emotion in zip(grid.flat, present, strict=False):
            for place, method in enumerate(methods):
                mine = [row for row in rows if row["emotion"] == emotion and row["method"] == method]
                mine.sort(key=lambda row: row["coefficient"])
                if not mine:
                    continue
                x, y = [row["coefficient"] for row in mine], [row["effect"] for row in mine]
                color = STEERING_COLORS[place % 5]
                if all(row.get("ci") for row in mine):
                    axes.fill_between(
                        x, *zip(*(row["ci"] for row in mine), strict=True), color=color, alpha=0.15, lw=0
                    )
                (drawn,) = axes.plot(
                    x, y, color=color, ls=STEERING_LINES[place % 5], marker="o", ms=3, lw=1.3
                )
                seen[short(method.replace("_", " "))] = drawn
            axes.axhline(0, color=GRID, lw=0.8, zorder=0)
            axes.set_title(short(emotion, 20))
            axes.set_xlabel("coefficient")
            axes.grid(axis="y")
        for axes in list(grid.flat)[len(present) :]:
            axes.set_axis_off()
        figure.supylabel("effect", fontsize=8)
        legend_below(figure, list(seen.values()), list(seen))
    return figure
