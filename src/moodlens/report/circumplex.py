"""The circumplex: where words, emotions and their concepts lie in valence and arousal."""

from pathlib import Path

import numpy as np

from moodlens.core import atomic_write
from moodlens.report.style import GRID, canvas, look, marks, save_png, short
from moodlens.study.records.norms import Norms

MARGIN = 0.25
"""How far the figure goes beyond the emotions and concepts, of their range; words beyond it are not shown."""
LETTER = 0.0135
"""Width of a letter, of the axes."""
FILES = ("circumplex.png", "circumplex.svg")


def draw_circumplex(folder: Path, record: Norms, valence: np.ndarray, arousal: np.ndarray) -> list[str]:
    """Draw rated words (n,) as dots, emotions as large marks and concepts by name; returns the files in ``folder``."""
    with look("circumplex"):
        figure, axes = canvas(5.6, 5.2)
        places = [p for p in record.places if p.valence is not None and p.arousal is not None]
        at = np.array([[p.valence, p.arousal] for p in places], dtype=float)
        low, high = (
            np.minimum(at.min(axis=0, initial=0.0), -0.1),
            np.maximum(at.max(axis=0, initial=0.0), 0.1),
        )
        low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
        axes.axhline(0, color=GRID, linewidth=0.7, zorder=0)
        axes.axvline(0, color=GRID, linewidth=0.7, zorder=0)
        axes.scatter(valence, arousal, s=2, color=GRID, linewidths=0, rasterized=True)
        emotions = list(dict.fromkeys(place.emotion for place in places))
        look_of = dict(zip(emotions, marks(max(len(emotions), 2)), strict=False))
        labels = [short(place.concept or place.emotion) for place in places]
        for place, label, (x, y), put in zip(
            places, labels, at, _apart((at - low) / (high - low), labels), strict=True
        ):
            mark, whole = look_of[place.emotion], not place.concept
            axes.scatter(x, y, s=60 if whole else 14, color=mark.color, marker=mark.marker)
            axes.annotate(
                label,
                (x, y),
                xytext=tuple(low + put * (high - low)),
                va="center",
                color=mark.color,
                fontweight="bold" if whole else "normal",
                arrowprops={
                    "arrowstyle": "-",
                    "color": mark.color,
                    "linewidth": 0.4,
                    "shrinkA": 0,
                    "shrinkB": 3,
                },
            )
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        axes.set_xlabel("valence, as read (SD of people's ratings)")
        axes.set_ylabel("arousal, as read (SD of people's ratings)")
        axes.set_title(f"{short(record.table)}: {record.n} rated words")
    save_png(figure, folder / FILES[0])
    with look("circumplex"), atomic_write(folder / FILES[1]) as tmp:
        figure.savefig(tmp, format="svg", metadata={"Date": None})
    return list(FILES)


def _apart(at: np.ndarray, labels: list[str]) -> np.ndarray:
    """Where the labels of points ``at (n, 2)`` begin, all in shares of the axes: near their points, over no other label."""
    put = np.empty_like(at)
    boxes: list[tuple[float, float, float]] = [(x - 0.015, x + 0.015, y) for x, y in at]
    for i in np.argsort(-at[:, 1], kind="stable"):
        width = LETTER * len(labels[i])
        spots = [
            (at[i, 0] + dx, at[i, 1] + side * step * 0.012)
            for step in range(40)
            for side in (1, -1)
            for dx in (0.025, -0.025 - width)
        ]
        free = (
            (x, y)
            for x, y in spots
            if 0 < x < 1 - width
            and not any(
                x < right and left < x + width and abs(y - height) < 0.035 for left, right, height in boxes
            )
        )
        put[i] = next(free, spots[0])
        boxes.append((put[i, 0], put[i, 0] + width, put[i, 1]))
    return put
