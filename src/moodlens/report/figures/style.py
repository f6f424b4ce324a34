"""One look for every figure: sizes for print, one colour, marker and line style per emotion, no chartjunk.

Figures are drawn with matplotlib's object interface inside :func:`look`, so nothing global is changed. Text is at
least 8 pt, at the size the figure is printed.
"""

import colorsys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0
"""Width of a full-width figure, inches: the text width of a printed page."""
PAGE = 10.5
"""The tallest figure that fits a printed page, inches."""
DPI = 200
"""Of the PNG files."""
SMALL = 8.0
"""The smallest text, points."""
MAX_LABEL = 22
"""Characters of an emotion's name that a figure shows; the tables show all of it."""

# These exact colours stand for roles: the report turns them into CSS colours that follow light and dark mode.
INK, MUTED, GRID, PAPER = "#222222", "#6b6b6b", "#dddddd", "#fefefe"
BAND = "#b9b9b9"
ACCENT = "#3b5b92"
WARN = "#b5472f"

# Distinct under the common colour deficiencies, and every other one far apart in lightness, so that a grey print
# still tells neighbours apart (L* 72, 36, 60, 48, 78, 42, 66, 54).
_FIRST = ("#dfa000", "#1f4fa3", "#1fa187", "#c2452f", "#86c5ea", "#8a3f8f", "#9aa33a", "#8c6d4f")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
_LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
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


def legend_below(figure: "Figure", handles: list, labels: list[str], columns: int | None = None) -> None:
    """One legend under all panels, in as many columns as the names' lengths allow."""
    longest = max((len(label) for label in labels), default=1)
    fit = max(1, int(figure.get_figwidth() / (0.46 + 0.062 * longest)))
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(columns or fit, fit, max(len(labels), 1))
    )


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
        figure.savefig(tmp, format="png", dpi=DPI, facecolor="white", pil_kwargs={"compress_level": 3})
