"""The figure of two generators steered with the same directions: a panel for each emotion, a dot for each direction."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moodlens.report import style

if TYPE_CHECKING:
    from moodlens.judge.together import Together

MOST = 4
"""Panels in one row."""


def draw_together(found: "Together", path: Path) -> None:
    """Write the figure as PNG, SVG or PDF, by the path's ending.

    Grey: random directions. Dashed: their 95th percentile in each model; what both models show lies above and to the right.
    """
    n = len(found.emotions)
    columns = min(n, MOST)
    rows = -(-n // columns)
    with style.look():
        figure, axes = style.canvas(
            height=0.6 + 1.9 * rows * style.WIDTH / 7, rows=rows, columns=columns, squeeze=False
        )
        methods = list(dict.fromkeys(row.method for row in found.rows if row.p is not None))
        looks = dict(zip(methods, style.marks(max(len(methods), 2)), strict=False))
        for axis, emotion in zip(axes.flat, found.emotions, strict=False):
            here = [row for row in found.rows if row.emotion == emotion]
            chance = np.array([row.effects for row in here if row.method == "random"])
            axis.axhline(0, color=style.GRID, lw=0.7)
            axis.axvline(0, color=style.GRID, lw=0.7)
            axis.axvline(np.quantile(chance[:, 0], 0.95), color=style.MUTED, lw=0.7, ls=style.DASHED)
            axis.axhline(np.quantile(chance[:, 1], 0.95), color=style.MUTED, lw=0.7, ls=style.DASHED)
            axis.scatter(*chance.T, s=10, color=style.BAND, label="random")
            for method in methods:
                dots = np.array([row.effects for row in here if row.method == method])
                if len(dots):
                    mark = looks[method]
                    axis.scatter(*dots.T, s=26, color=mark.color, marker=mark.marker, label=method)
            axis.set_title(style.short(emotion))
        for axis in list(axes.flat)[n:]:
            axis.set_axis_off()
        unit = f"shift of {found.readout}, sd of unsteered clips"
        figure.supxlabel(f"{style.short(Path(found.models[0]).name, 40)}: {unit}", fontsize=style.SMALL)
        figure.supylabel(style.short(Path(found.models[1]).name, 40), fontsize=style.SMALL)
        handles, labels = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=min(len(labels), 5))
        figure.savefig(path, dpi=style.DPI)
