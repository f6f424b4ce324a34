"""One look for every figure: sizes for print, one colour, marker and line style per emotion, no chartjunk.

Figures are drawn with matplotlib's object interface inside :func:`look`, so nothing global is changed. Text is at
least 8 pt, at the size the figure is printed.
"""

import colorsys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0
"""Width of a full-width figure, inches: the text width of a printed page."""
PAGE = 10.5
"""The tallest figure that fits a printed page, inches."""
DPI = 200
"""Of the PNG files."""
SIGNATURE = "moodlens report"
"""In the PNG files, so that a report removes what an earlier one left and nothing else."""
SMALL = 8.0
"""The smallest text, points."""
MAX_LABEL = 22
"""Characters of an emotion's name that a figure shows; tables show more of it."""
LETTER = 0.066
"""Width of a small letter, inches."""
DASHED, DOTTED = (0, (5, 1.5)), (0, (1.2, 1.2))

# These exact colours stand for roles: the report turns them into CSS colours that follow light and dark mode.
INK, MUTED, GRID, PAPER = "#222222", "#6b6b6b", "#dddddd", "#fefefe"
BAND = "#b9b9b9"
ACCENT = "#3b5b92"
FAINT = "#8a8a8a"
WARN = "#b5472f"

# Distinct under the common colour deficiencies, and every other one far apart in lightness, so that a grey print
# still tells neighbours apart (L* 72, 36, 60, 48, 78, 42, 66, 54).
_FIRST = ("#dfa000", "#1f4fa3", "#1fa187", "#c2452f", "#86c5ea", "#8a3f8f", "#9aa33a", "#8c6d4f")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
_LINES = ("-", DASHED, DOTTED, (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----", "++", "oo")


@dataclass(frozen=True)
class Mark:
    """How one emotion looks in every figure of a study."""

    color: str
    marker: str
    line: Any
    hatch: str


def marks(n: int) -> list[Mark]:
    """``n`` looks (2 to 50). Beyond eight, colour alone cannot tell them apart: marker and line style differ too."""
    return [Mark(_color(i), _MARKERS[i % 10], _LINES[i % 5], _HATCHES[i % 8]) for i in range(n)]


def _color(i: int) -> str:
    if i < len(_FIRST):
        return _FIRST[i]
    # Golden-angle hues, with lightness stepping through three levels.
    hue = (0.13 + i * 0.61803398875) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, (0.38, 0.62, 0.5)[i % 3], (0.75, 0.55, 0.45)[(i // 3) % 3])
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


_RC = {
    "font.family": ["DejaVu Sans"],
    "font.size": SMALL,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": SMALL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "hatch.linewidth": 0.6,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "path.simplify": True,
    "figure.autolayout": False,
    "figure.constrained_layout.use": False,
}


@contextmanager
def look(salt: str = "moodlens") -> Iterator[None]:
    """Draw or save in the report's look; ``salt`` makes the ids inside an SVG its own, and the same each time."""
    import matplotlib

    settings: Any = {**_RC, "svg.hashsalt": salt}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A label may hold an emoji or a script that the font lacks: the SVG keeps the text, only the PNG shows a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def canvas(
    width: float = WIDTH, height: float = 2.8, rows: int = 1, columns: int = 1, **grid: Any
) -> "tuple[Figure, Any]":
    """An Agg figure of ``width`` x ``height`` inches and its axes (one, or an array of them)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, **grid)


def short(name: str, limit: int = MAX_LABEL) -> str:
    """``name`` on one line, cut with an ellipsis where it is too long for a figure."""
    name = "".join(c for c in " ".join(name.split()) if c.isprintable())
    return name if len(name) <= limit else name[: limit - 1].rstrip() + "…"


def empty(axes: "Axes", why: str) -> None:
    """Say on the axes why there is nothing to see, instead of an empty frame."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes, color=MUTED, wrap=True)


def nothing(why: str) -> "Figure":
    """A low figure that says why there is nothing to see."""
    figure, axes = canvas(WIDTH, 1.2)
    empty(axes, why)
    return figure


def emotion_panels(emotions: Sequence[str], xlabel: str, *, first: str = "") -> "tuple[Figure, list[Axes]]":
    """A panel for each emotion, four or six in a row, on the same axes with a line at zero.

    The lowest panel of each column carries the axis, as a label of the whole figure would run into the legend:
    ``xlabel``, in the leftmost ``first``.
    """
    fit, height = (4, 1.75) if len(emotions) <= 16 else (6, 1.1)
    columns = min(len(emotions), fit)
    n_rows = -(-len(emotions) // columns)
    figure, grid = canvas(
        WIDTH, 0.8 + height * n_rows, n_rows, columns, squeeze=False, sharey=True, sharex=True
    )
    panels = list(grid.flat)
    for axes, emotion in zip(panels, emotions, strict=False):
        axes.axhline(0, color=GRID, lw=0.8, zorder=0)
        axes.set_title(short(emotion, 64 // fit))
        axes.grid(axis="y")
    for axes in panels[len(emotions) :]:
        axes.set_axis_off()
    for place, axes in enumerate(panels[: len(emotions)]):
        if place + columns >= len(emotions):
            axes.set_xlabel(first if first and place % columns == 0 and fit == 4 else xlabel)
            axes.xaxis.set_tick_params(labelbottom=True)
    return figure, panels[: len(emotions)]


def heat(
    axes: "Axes",
    values: np.ndarray,
    names: tuple[list[str], list[str]],
    label: str,
    form: str,
    *,
    diverging: bool = False,
    limits: tuple[float, float] | None = None,
) -> None:
    """A heatmap of vector cells, with its figures written in where there is room.

    Args:
        axes: alone in their figure.
        values: ``(r, c)``; NaN is left blank.
        names: of the rows and of the columns.
        label: what the colours count.
        form: how a figure is written, such as ``{:.2f}``.
        diverging: zero is white and the signs have colours of their own.
        limits: of the colours; otherwise the least and the largest value.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
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
    upright = 90 if heading(*names, figure.get_figwidth()) else 0
    axes.set_xticks(np.arange(values.shape[1]) + 0.5, names[1], rotation=upright)
    axes.set_yticks(np.arange(values.shape[0]) + 0.5, names[0])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(mesh, ax=axes, shrink=0.9, pad=0.02, aspect=25)
    bar.set_label(label)
    bar.outline.set_visible(False)  # type: ignore[operator]
    if values.shape[1] <= 12 and values.shape[0] <= 45:
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

    The colour bar is taken as 0.9 inches.
    """
    left, longest = (max((len(name) for name in names), default=1) * LETTER for names in (rows, columns))
    cell = (width - 0.9 - left) / max(len(columns), 1)
    return longest if longest + 0.06 > cell else 0.0


def legend_below(figure: "Figure", handles: list, labels: list[str], columns: int | None = None) -> None:
    """One legend under all panels, in as many columns as the names' lengths allow; the figure grows by what is long."""
    longest = max((len(label) for label in labels), default=1)
    fit = max(1, int(figure.get_figwidth() / (0.46 + 0.062 * longest)))
    columns = max(1, min(columns or fit, fit, len(labels)))
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.17 * max(rows - 3, 0))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def arrange(figure: "Figure") -> None:
    """Find the layout, at the resolution of the PNG, and keep it: it takes as long as drawing does."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    with look():
        figure.set_dpi(DPI)
        for axes in figure.axes:
            axes.apply_aspect()
        engine.execute(figure)
        # With any engine, even "none", matplotlib draws everything once more before it saves.
        figure.set_layout_engine(None)


def save_png(figure: "Figure", path: Path) -> None:
    """200 dpi on white, whole or not at all."""
    from moodlens.core import atomic_write

    arrange(figure)
    with look(), atomic_write(path) as tmp:
        # Level 3 takes half the time of the default and a tenth more bytes.
        figure.savefig(
            tmp,
            format="png",
            dpi=DPI,
            facecolor="white",
            metadata={"Software": SIGNATURE},
            pil_kwargs={"compress_level": 3},
        )


def is_ours(path: Path) -> bool:
    """Whether :func:`save_png` wrote this file."""
    with path.open("rb") as file:
        return b"Software\0" + SIGNATURE.encode() in file.read(1024)
