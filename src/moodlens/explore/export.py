"""One file that shows a study without a server or a network."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Literal

from moodlens.core import BadInput, Progress, atomic_write, silent
from moodlens.explore.answers import Comparison, NotesFile
from moodlens.explore.brief import Briefs
from moodlens.explore.clips import clip_runs
from moodlens.explore.compare import compare
from moodlens.explore.explored import Explored
from moodlens.explore.feature import feature_page, page_texts, shown_rows
from moodlens.explore.feature_records import ClipRuns, FeaturePage
from moodlens.explore.notes import notes_file
from moodlens.explore.overview import overview, prompts
from moodlens.explore.page import packed, with_data
from moodlens.explore.records import Can, FeatureTable, Overview, Prompts
from moodlens.explore.spans import spoken
from moodlens.explore.table import feature_table
from moodlens.pipeline.target import check_kept
from moodlens.study.record import Part

MB = 1_000_000
_AT_ONCE = 32
_IN_FILE = Can(text=False, steer=False, notes=True, blind=False, compare=False, generate=False)


class ExportFile(Part):
    """What an exported file holds."""

    format: Literal["moodlens-explorer"] = "moodlens-explorer"
    version: int = 1
    overview: Overview
    features: FeatureTable
    details: dict[int, FeaturePage]
    prompts: Prompts
    notes: NotesFile
    compare: Comparison | None
    clips: ClipRuns


@dataclass(frozen=True)
class Step:
    """How much of a study goes into a file."""

    core_texts: int | None
    """Texts of each core feature that is not claimed; None: it has no page."""
    rest_texts: int | None
    """Of each other feature."""
    all_texts: bool
    """Whether texts that stand on no page are in it."""
    words: str
    """What is left out."""


STEPS = (
    Step(5, 5, True, ""),
    Step(5, 2, True, "all but two texts of each feature that may not be claimed"),
    Step(
        5,
        2,
        False,
        "all but two texts of each feature that may not be claimed, and texts that stand on no page",
    ),
    Step(5, None, False, "the pages of features that may not be claimed, and texts that stand on no page"),
    Step(None, None, False, "the pages of features that are not claimed, and texts that stand on no page"),
)
"""Taken in turn until the file is small enough. Claimed features are never cut."""


@dataclass(frozen=True)
class Exported:
    """A file that was written."""

    path: Path
    size: int
    """bytes"""
    left_out: str
    """In words; empty where nothing is."""


def write_page(
    explored: Explored,
    path: Path,
    html: str,
    *,
    other: Explored | None = None,
    limit: float = 4.0,
    progress: Progress = silent,
) -> Exported:
    """Write the page with everything on the study in it.

    Args:
        explored: the study.
        path: of the file.
        html: the built page.
        other: a study to compare with.
        limit: MB that the file may have; what is left out to reach it is told in the file, by :data:`STEPS`.
        progress: counts claimed features.

    Raises:
        BadInput: the claimed features alone are more than ``limit``, or the file is the study's own or cannot be written.
    """
    if path.is_dir():
        raise BadInput(f"{path}: is a folder; name a file")
    check_kept(path, explored.study)
    claimed = _claimed_pages(explored, progress)
    briefs = Briefs(explored)
    beside = None if other is None else compare(explored, other)
    page = b""
    for step in STEPS:
        content = _content(explored, claimed, briefs, beside, step)
        page = with_data(html, packed(content.model_dump_json())).encode()
        if len(page) <= limit * MB:
            with atomic_write(path) as tmp:
                tmp.write_bytes(page)
            return Exported(path, len(page), step.words)
    raise BadInput(
        f"{path}: the claimed features alone take {len(page) / MB:.1f} MB; allow more with --limit {ceil(len(page) / MB)}"
    )


def _claimed_pages(explored: Explored, progress: Progress) -> dict[int, FeaturePage]:
    features, out = explored.claimed.tolist(), {}
    for at in range(0, len(features), _AT_ONCE):
        some = features[at : at + _AT_ONCE]
        progress("pages of claimed features", at, len(features))
        if explored.has("encoder"):
            spoken(explored, [text for feature in some for text in page_texts(explored, feature)])
        out |= {feature: feature_page(explored, feature, exported=True) for feature in some}
    progress("pages of claimed features", len(features), len(features))
    return out


def _content(
    explored: Explored, claimed: dict[int, FeaturePage], briefs: Briefs, beside: Comparison | None, step: Step
) -> ExportFile:
    details = dict(claimed)
    core = explored.study.core_size
    for feature in range(explored.table.height):
        n = step.core_texts if feature < core else step.rest_texts
        if feature not in details and n is not None:
            details[feature] = briefs.page(feature, n)
    whole = overview(explored, compare=beside is not None)
    left_out = (f"To keep this file small, it leaves out {step.words}.",) if step.words else ()
    return ExportFile(
        overview=whole.model_copy(
            update={
                "exported": True,
                "can": _IN_FILE.model_copy(update={"compare": beside is not None}),
                "left_out": left_out,
            }
        ),
        features=feature_table(explored),
        details=dict(sorted(details.items())),
        prompts=_texts(explored, details.values() if not step.all_texts else None, whole),
        notes=notes_file(explored),
        compare=beside,
        clips=clip_runs(explored, exported=True),
    )


def _texts(explored: Explored, pages: Iterable[FeaturePage] | None, whole: Overview) -> Prompts:
    every = prompts(explored)
    if pages is None:
        return every
    shown = {row for page in pages for row in shown_rows(page)}
    if whole.map is not None and whole.map.texts is not None:
        shown |= set(whole.map.texts.row)
    return every.model_copy(
        update={"text": [text if row in shown else None for row, text in enumerate(every.text)]}
    )
