"""From a study folder to ``report.html`` (one file, nothing fetched), ``report.md`` and ``figures/``."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodlens.core import atomic_write
from moodlens.report.document import Cell, Listing, Report, cut
from moodlens.report.subject import Subject
from moodlens.report.topics import TOPICS, opening
from moodlens.study.study import Study

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

    from moodlens.settings.study import Settings


def render(study: Study, settings: "Settings | None" = None) -> list[Path]:
    """Write the report of a study: ``report.html``, ``report.md`` and the figures as PNG.

    The same study gives the same bytes. What was not measured is said, with the command that measures it.

    Args:
        study: what to report on, and where to.
        settings: what it was run with; None reads study.yaml.

    Returns:
        The paths of ``report.html``, ``report.md`` and the figures.

    Raises:
        BadInput: a damaged file, or a folder that cannot be written.
    """
    from moodlens.report.svg import inline_svg

    report = compose(Subject(study, settings or study.settings))
    drawn = draw(report)
    paths = write_png(drawn, study.path / "figures")
    alts = {picture.name: picture.alt for picture in report.pictures}
    svgs = {name: inline_svg(figure, f"figure-{name}", alts[name]) for name, figure in drawn.items()}
    texts = {"report.html": to_html(report, svgs), "report.md": to_markdown(report, set(drawn))}
    for name, text in texts.items():
        with atomic_write(study.path / name) as tmp:
            tmp.write_text(text, encoding="utf-8", newline="\n")
    return [*(study.path / name for name in texts), *paths]


def compose(subject: Subject) -> Report:
    """The report as a tree of blocks, before it is written in any format."""
    sentence, tone = opening.verdict_sentence(subject)
    sections = (topic.section(subject) for topic in TOPICS)
    return Report(
        opening.first_line(subject),
        cut(subject.settings.name),
        sentence,
        tone,
        tuple(section for section in sections if section is not None),
        opening.warning(subject),
    )


def draw(report: Report) -> "dict[str, Figure]":
    """The figures of a report, by name."""
    return {picture.name: picture.draw() for picture in report.pictures}


def write_png(figures: "dict[str, Figure]", folder: Path) -> list[Path]:
    """Write the figures; one that an earlier report left and this one does not have is removed."""
    from moodlens.report.style import is_ours, save_png

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        if old.stem not in figures and is_ours(old):
            old.unlink()
    paths = [folder / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        save_png(figure, path)
    return paths


def to_html(report: Report, svgs: dict[str, str]) -> str:
    """The report as one HTML page; ``svgs`` are the figures as trusted ``<svg>`` elements."""
    from markupsafe import Markup

    environment = _environment(autoescape=True)
    style = (Path(__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    page = environment.get_template("report.html.j2").render(
        report=report,
        figures={name: Markup(svg) for name, svg in svgs.items()},
        style=Markup(style),
    )
    return re.sub(r"\n\s*\n+", "\n", page).strip() + "\n"


def to_markdown(report: Report, figures: set[str]) -> str:
    """The report as Markdown; ``figures`` are the names of the files in ``figures/``."""
    text = _environment(autoescape=False).get_template("report.md.j2").render(report=report, figures=figures)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment(*, autoescape: bool) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("moodlens.report"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters |= {"inline": inline, "mathml": Markup, "md": md, "mdcell": md_cell, "fence": fence}
    return environment


def inline(text: str) -> "Markup":
    """Escape ``text`` and set what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = str(text).split("`")
    # An odd number of backticks would leave one open: then none of them means code.
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts)
    )


# Besides signs of emphasis, links and tables: what some readers make a link of by itself.
_MD_SPECIAL = re.compile(r"([\\*_\[\]#|~$@]|:(?=//)|(?<=www)\.)")


def md(text: str) -> str:
    """Escape ``text`` for Markdown (also for readers that allow HTML); what stands between backticks stays code."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:
        parts = [str(text).replace("`", "'")]
    escaped = [
        f"`{part}`"
        if i % 2
        else _MD_SPECIAL.sub(r"\\\1", part.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
        for i, part in enumerate(parts)
    ]
    return "".join(escaped)


def md_cell(cell: str | Cell) -> str:
    """A table cell in Markdown; a verdict's word is set in bold."""
    if isinstance(cell, Cell):
        return f"**{md(cell.text)}**" if cell.tone != "none" else md(cell.text)
    return md(cell)


def fence(listing: Listing) -> str:
    """A fenced block whose fence is longer than any run of backticks inside."""
    runs = [len(run) for run in re.findall(r"`+", listing.text)]
    ticks = "`" * max(3, max(runs, default=0) + 1)
    return f"{ticks}{listing.language}\n{listing.text}\n{ticks}"
