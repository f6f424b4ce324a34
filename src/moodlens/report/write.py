"""From a study folder to ``report.html`` (one file, nothing fetched), ``report.md`` and ``figures/``."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodlens.core import atomic_write
from moodlens.report.document import Block, Cell, Fold, Listing, Picture, Report, Section
from moodlens.report.evidence import Evidence, read_evidence
from moodlens.report.sections import carries, data, found, methods, opening, proof, steering

if TYPE_CHECKING:
    import numpy as np
    from markupsafe import Markup

SECTIONS: tuple[Callable[[Evidence], Section | None], ...] = (
    opening.verdict,
    opening.next_steps,
    data.texts,
    data.phase0,
    data.sae,
    data.sweep,
    found.features,
    proof.names,
    found.controls,
    proof.causality,
    proof.stability,
    carries.generalization,
    proof.orthogonality,
    steering.steering,
    methods.methods,
    methods.reproducibility,
)


def render(study_dir: Path | str, *, codes: "np.ndarray | None" = None) -> tuple[Path, Path]:
    """Write the report of a study: ``report.html``, ``report.md`` and the figures as PNG.

    The same folder gives the same bytes. What was not measured is said, with the command that measures it.

    Args:
        study_dir: the study folder.
        codes: ``(n, d_sae)`` activations of its prompts, where they are at hand; computed otherwise.

    Returns:
        The paths of ``report.html`` and ``report.md``.

    Raises:
        BadInput: not a study folder, a damaged file, or a folder that cannot be written.
    """
    from moodlens.report.figures import build
    from moodlens.report.figures.build import write_png
    from moodlens.report.figures.svg import inline_svg

    evidence = read_evidence(study_dir, codes=codes)
    report = compose(evidence)
    drawn = build(evidence)
    write_png(drawn, evidence.folder / "figures")
    alts = {picture.name: picture.alt for picture in pictures(report.sections)}
    svgs = {
        name: inline_svg(figure, f"figure-{name}", alts.get(name, name)) for name, figure in drawn.items()
    }
    html, md = to_html(report, svgs), to_markdown(report, set(drawn))
    paths = evidence.folder / "report.html", evidence.folder / "report.md"
    for path, text in zip(paths, (html, md), strict=True):
        with atomic_write(path) as tmp:
            tmp.write_text(text, encoding="utf-8", newline="\n")
    return paths


def compose(evidence: Evidence) -> Report:
    """The report as a tree of blocks, before it is written in any format."""
    sentence, tone = opening.verdict_sentence(evidence)
    return Report(
        opening.first_line(evidence),
        opening.plain_text(evidence.name),
        sentence,
        tone,
        tuple(section for make in SECTIONS if (section := make(evidence)) is not None),
        opening.warning(evidence),
    )


def pictures(sections: tuple[Section, ...]) -> list[Picture]:
    """All pictures of the report, in order."""
    found: list[Picture] = []

    def walk(blocks: tuple[Block, ...]) -> None:
        for block in blocks:
            if isinstance(block, Picture):
                found.append(block)
            elif isinstance(block, Fold):
                walk(block.blocks)

    for section in sections:
        walk(section.blocks)
        found.extend(pictures(section.sections))
    return found


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


_MD_SPECIAL = re.compile(r"([\\*_\[\]#|~$])")


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
