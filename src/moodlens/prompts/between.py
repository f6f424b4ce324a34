"""Several tables in one study: one spelling of a concept, no text with two labels, and what their groups share."""

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING

from moodlens.prompts.copies import folded
from moodlens.prompts.grammar import SOURCE
from moodlens.prompts.labels import one_spelling
from moodlens.prompts.report import TableReport

if TYPE_CHECKING:
    import polars as pl

_SHOWN = 3


def agree(
    frames: Sequence["pl.DataFrame"], reports: Sequence[TableReport]
) -> tuple[list["pl.DataFrame"], list[TableReport]]:
    """Frames that agree with each other; what had to change is said in the report of the later table.

    A text whose label another frame contradicts is unlabelled in both, as within one table. Concepts get one spelling,
    the grammar's where it has one.

    Args:
        frames: of prompts; generated ones first, if there are any.
        reports: of the last ``len(reports)`` frames.
    """
    import polars as pl

    first = len(frames) - len(reports)
    known = [name for frame in frames[:first] for name in frame["concept"].drop_nulls().unique().sort()]
    spelled = one_spelling(chain(*(frame["concept"] for frame in frames)), known)
    parts = [
        frame.with_columns(
            pl.col("concept").replace_strict(spelled, default=None, return_dtype=pl.String),
            frame=pl.lit(number),
            folded=folded(frame["text"]),
        )
        for number, frame in enumerate(frames)
    ]
    rows = pl.concat(parts, how="diagonal_relaxed").with_row_index("row")
    several = pl.col("emotion").drop_nulls().n_unique().over("folded") > 1
    parted = rows.filter(several & pl.col("emotion").is_not_null())
    labelled = pl.when(~several)
    rows = rows.with_columns(
        labelled.then("emotion").alias("emotion"),
        labelled.then("concept").alias("concept"),
        kind=pl.when(several & (pl.col("kind") == "plain")).then(pl.lit("unlabelled")).otherwise("kind"),
    ).drop("row", "frame", "folded")
    ends = list(accumulate(frame.height for frame in frames))
    agreed = [rows[end - frame.height : end] for frame, end in zip(frames, ends, strict=True)]
    remarks = _contradictions(parted, [report.file for report in reports], first)
    for number, shared in _shared_groups(frames[first:], reports):
        remarks.setdefault(number, []).append(shared)
    counts = dict(parted.group_by("frame").len().iter_rows())
    told = [
        report.model_copy(
            update={
                "n_contradictory": report.n_contradictory + counts.get(first + i, 0),
                "n_without_label": report.n_without_label + counts.get(first + i, 0),
                "remarks": (*report.remarks, *remarks.get(i, ())),
            }
        )
        for i, report in enumerate(reports)
    ]
    return agreed, told


def _contradictions(parted: "pl.DataFrame", files: Sequence[str], first: int) -> dict[int, list[str]]:
    """Number of a table -> what to say of its texts that another table or the grammar labels differently."""
    lines: dict[int, list[str]] = {}
    for number in range(len(files)):
        texts = parted.filter(parted["frame"] == first + number)
        if texts.is_empty():
            continue
        text, own = texts.select("text", "emotion").row(0)
        others = parted.filter((parted["folded"] == texts["folded"][0]) & (parted["emotion"] != own))
        other, place = others.select("emotion", "frame").row(0)
        whose = SOURCE if place < first else files[place - first]
        lines[number] = [
            f"{texts.height} texts that another source labels differently count as unlabelled there and here "
            f"({text[:60]!r}: {own} here, {other} in {'the ' if whose == SOURCE else ''}{whose})"
        ]
    return lines


def _shared_groups(frames: Sequence["pl.DataFrame"], reports: Sequence[TableReport]) -> list[tuple[int, str]]:
    """Tables whose groups an earlier table names too, with what to say: rows of one name are one group."""
    lines, seen = [], dict[str, str]()
    for number, (frame, report) in enumerate(zip(frames, reports, strict=True)):
        names = frame["group"].unique(maintain_order=True).to_list()
        both = [name for name in names if name in seen]
        if both:
            some = ", ".join(both[:_SHOWN]) + (", ..." if len(both) > _SHOWN else "")
            lines.append(
                (number, f"{len(both)} groups are also in {seen[both[0]]} and are one with them ({some})")
            )
        seen |= {name: report.file for name in names if name not in seen}
    return lines
