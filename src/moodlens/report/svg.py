"""A figure as SVG that can stand inside an HTML page beside others, in light and in dark."""

import re
from io import StringIO
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from moodlens.report.style import BAND, GRID, INK, MUTED, PAPER, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROLES = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    PAPER: "var(--paper)",
    BAND: "var(--band)",
}


def inline_svg(figure: "Figure", name: str, alt: str) -> str:
    """The figure as an ``<svg>`` element: no XML header, no metadata, no URL, ids that start with ``name``.

    Args:
        figure: what to draw.
        name: unique in the page; letters, digits and hyphens.
        alt: what the figure shows, for people who cannot see it.
    """
    buffer = StringIO()
    with look(name):
        figure.savefig(
            buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text).replace("xlink:href=", "href=")
    # matplotlib names every group, some names twice; only what something points to needs an id.
    used = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text))
    used = {link or reference for link, reference in used}
    text = re.sub(
        r'\sid="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text
    )
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    # Verdana is as wide as DejaVu Sans, where that is not installed.
    text = text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif")
    for color, role in _ROLES.items():
        text = text.replace(color, role)
    text = re.sub(r"\n\s*", "\n", text).strip()
    title = f'<title id="{name}-title">{escape(alt)}</title>'
    head, body = text.split(">", 1)
    head = re.sub(r'\s(version|role)="[^"]*"', "", head)
    return f'{head} role="img" aria-labelledby="{name}-title">{title}{body}'
