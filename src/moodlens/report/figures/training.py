"""Training and the sweep: did it converge, and what does sparsity cost?"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.report.figures.style import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    PAPER,
    WARN,
    WIDTH,
    canvas,
    legend_below,
    look,
)

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.figure import Figure


def training_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]], d_sae: int) -> "Figure":
    """Loss, explained variance, L0 and dead share over epochs, one line for each seed, train and validation.

    Args:
        histories: SAE name -> one entry an epoch (``epoch, loss, explained_variance, l0, dead`` and ``val_*``).
        d_sae: features of the dictionary, to turn the count of dead ones into a share.
    """
    panels = (
        ("Loss", "loss (scaled units)", "loss", "val_loss", 1.0),
        ("Explained variance", "explained variance", "explained_variance", "val_explained_variance", 1.0),
        ("L0", "active features per text", "l0", "val_l0", 1.0),
        ("Dead features", "share of dictionary (%)", "dead", None, 100.0 / d_sae),
    )
    with look():
        figure, grid = canvas(WIDTH, 4.4, 2, 2)
        for axes, (title, unit, key, val_key, scale) in zip(grid.flat, panels, strict=True):
            for number, history in enumerate(histories.values()):
                first = number == 0
                epochs = [entry["epoch"] + 1 for entry in history]
                for name, color, line in ((key, MUTED, (0, (3, 1.5))), (val_key, ACCENT, "-")):
                    if name is not None:
                        axes.plot(
                            epochs,
                            [_number(entry.get(name)) * scale for entry in history],
                            color=INK if val_key is None else color,
                            ls="-" if val_key is None else line,
                            lw=1.5 if first else 0.7,
                            alpha=1.0 if first else 0.55,
                        )
            axes.set(title=title, xlabel="epoch", ylabel=unit)
            axes.grid(axis="y")
        _cut_first_epochs(grid.flat[1])
        grid.flat[3].set_ylim(bottom=0)
        from matplotlib.lines import Line2D

        handles = [
            Line2D([], [], color=ACCENT, lw=1.5),
            Line2D([], [], color=MUTED, lw=1.5, ls=(0, (3, 1.5))),
            Line2D([], [], color=ACCENT, lw=0.7, alpha=0.55),
        ]
        others = len(histories) - 1
        names = ["validation", "train", f"other seeds ({others})"]
        legend_below(figure, handles[: 3 if others else 2], names[: 3 if others else 2])
    return figure


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _cut_first_epochs(axes: Any) -> None:
    """An untrained SAE explains less than nothing; keep that from squeezing everything else into a line."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.get_lines()])
    values = values[np.isfinite(values)]
    if values.size:
        low = max(values.min(), -0.1)
        axes.set_ylim(low - 0.02, max(values.max(), low + 0.1) + 0.02)


def sweep_pareto(frame: "pl.DataFrame", control: "Sequence[tuple[float, float]] | None" = None) -> "Figure":
    """Held-out explained variance against L0, one point for each SAE, the Pareto front joined, the chosen one ringed.

    Args:
        frame: ``explained_variance, explained_variance_train, l0, architecture, d_sae, pareto, chosen``.
        control: ``(components, explained_variance)`` of PCA on the same rows.
    """
    import polars as pl

    markers = dict(zip(("l1", "topk", "batchtopk", "matryoshka"), ("o", "s", "^", "D"), strict=True))
    with look():
        figure, axes = canvas(WIDTH * 0.8, 3.6)
        handles, names = [], []
        front = frame.filter(pl.col("pareto")).sort("l0")
        if front.height > 1:
            (line,) = axes.plot(front["l0"], front["explained_variance"], color=ACCENT, lw=1, zorder=1)
            handles.append(line)
            names.append("Pareto front")
        for architecture in frame["architecture"].unique(maintain_order=True):
            part = frame.filter(pl.col("architecture") == architecture)
            points = axes.scatter(
                part["l0"],
                part["explained_variance"],
                s=28,
                marker=markers.get(architecture, "v"),
                color=[ACCENT if p else BAND_INK for p in part["pareto"]],
                edgecolors=PAPER,
                linewidths=0.5,
                zorder=2,
            )
            points.set_label(architecture)
            from matplotlib.lines import Line2D

            handles.append(Line2D([], [], color=ACCENT, marker=markers.get(architecture, "v"), ls="", ms=5))
            names.append(f"{architecture} (n = {part.height})")
        chosen = frame.filter(pl.col("chosen"))
        if chosen.height:
            handles.append(
                axes.scatter(
                    chosen["l0"],
                    chosen["explained_variance"],
                    s=120,
                    facecolors="none",
                    edgecolors=WARN,
                    linewidths=1.5,
                )
            )
            names.append("chosen")
        if control:
            x, y = zip(*sorted(control), strict=True)
            (line,) = axes.plot(
                x, y, color=MUTED, lw=1, ls=(0, (4, 2)), marker="x" if len(x) < 8 else "", ms=5, zorder=1
            )
            handles.append(line)
            names.append("control: PCA with L0 components")
        axes.axhline(0, color=GRID, lw=0.8, zorder=0)
        l0 = frame["l0"].to_numpy()
        spread = float(l0.max() / max(l0.min(), 1e-9))
        if spread > 8:
            axes.set_xscale("log")
        axes.set(
            xlabel="L0: features active per text" + (" (log scale)" if spread > 8 else ""),
            ylabel="held-out explained variance",
        )
        top = max(1.0, float(frame["explained_variance"].max()))  # type: ignore[arg-type]
        bottom = min(0.0, max(-0.5, float(frame["explained_variance"].min())))  # type: ignore[arg-type]
        axes.set_ylim(bottom - 0.03, top + 0.03)
        axes.grid(axis="y")
        legend_below(figure, handles, names)
    return figure


BAND_INK = "#8a8a8a"
