"""What may not be in a user's table, and what is worth a remark: one line that names the row and the cure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from moodlens.core import BadInput
from moodlens.prompts.labels import in_order, twins
from moodlens.prompts.splits import SPLITS, split_named
from moodlens.settings.labels import NEUTRAL, check_labels

if TYPE_CHECKING:
    import polars as pl

MIN_EMOTIONS, MAX_EMOTIONS = 2, 50
BIG_GROUP = 0.5
"""Share of the rows from which on a group is worth a remark."""


@dataclass(frozen=True)
class Place:
    """A file and the names of its columns by role, for messages."""

    path: Path
    asked: Mapping[str, str]

    def bad(self, role: str, text: str, row: int | None = None) -> BadInput:
        """What to raise about the column of a role."""
        return BadInput(f"{self.path}: {f'row {row}: ' if row else ''}column {self.asked[role]!r}{text}")


def check_ids(rows: "pl.DataFrame", place: Place) -> None:
    """Refuse empty and repeated ids, where the table has any."""
    first: dict[str, int] = {}
    for row, name in rows.select("row", "id").iter_rows() if "id" in place.asked else ():
        if name is None:
            raise place.bad("id", " is empty; fill it in or leave the row out", row)
        if name in first:
            raise place.bad("id", f" repeats {name!r} of row {first[name]}; ids must differ", row)
        first[name] = row


def split_names(rows: "pl.DataFrame", place: Place) -> "pl.Series":
    """The splits under the names that the program uses."""
    import polars as pl

    known = {word: split_named(word) for word in rows["split"].unique() if word is not None}
    if None in known.values():
        row, word = next(
            pair for pair in rows.select("row", "split").iter_rows() if known.get(pair[1], "") is None
        )
        raise place.bad("split", f": unknown split {word!r}; use {', '.join(SPLITS)}", row)
    return pl.Series([known.get(word) for word in rows["split"]], dtype=pl.String)


def check_emotions(rows: "pl.DataFrame", place: Place, emotions: Sequence[str], n_contradictory: int) -> None:
    """Refuse labels that are too few, too many, reserved or, if there are ``emotions``, none of them."""
    if "emotion" not in place.asked:
        return
    labels = rows["emotion"].drop_nulls()
    labelled_emotions = in_order(
        label for label in labels.unique() if label != NEUTRAL or NEUTRAL in emotions
    )
    if emotions and (unknown := [label for label in labelled_emotions if label not in emotions]):
        row = rows.filter(rows["emotion"] == unknown[0])["row"][0]
        raise BadInput(
            f"{place.path}: labels not among the study's emotions: {', '.join(unknown[:10])} (row {row}, column "
            f"{place.asked['emotion']!r}); they are {', '.join(emotions)}"
        )
    try:
        check_labels(labelled_emotions)
    except ValueError as error:
        raise place.bad("emotion", f": {error}") from error
    enough = bool(len(labels)) if emotions else MIN_EMOTIONS <= len(labelled_emotions) <= MAX_EMOTIONS
    if not enough:
        some = (
            f" ({', '.join(labelled_emotions[:5])}{', ...' if len(labelled_emotions) > 5 else ''})"
            if labelled_emotions
            else ""
        )
        beside = f" beside {NEUTRAL}" if len(labels) > labels.is_in(labelled_emotions).sum() else ""
        beside += " that no row of the same text contradicts" if n_contradictory else ""
        raise place.bad(
            "emotion",
            f" holds {len(labelled_emotions)} different label{'' if len(labelled_emotions) == 1 else 's'}{some}{beside}; "
            f"{MIN_EMOTIONS} to {MAX_EMOTIONS} are needed",
        )


def refuse_parted(rows: "pl.DataFrame", role: str, several: str, place: Place) -> None:
    """Refuse copies of a text that the table puts into ``several`` groups or splits."""
    import polars as pl

    parted = rows.filter(pl.col(role).is_not_null()).filter(pl.col(role).n_unique().over("key") > 1)
    if parted.height:
        example = parted.filter(pl.col("key") == parted["key"][0]).unique(role, maintain_order=True)
        (a, first), (b, second) = example.select("row", role).head(2).rows()
        n = parted["key"].n_unique()
        raise place.bad(
            role,
            f" parts copies: {n} text{'s are' if n > 1 else ' is'} in several {several} (rows {a} and {b}: {first!r} and "
            f"{second!r}); give copies one {role}, or leave them out",
        )


def remarks(rows: "pl.DataFrame", contradictory: "pl.DataFrame", place: Place) -> Iterator[str]:
    """What is odd about the labels, those that were taken away and those that are left, and the groups that the table gives."""
    yield from _twin_names(rows, "emotion", "labels", "punctuation", place)
    yield from _twin_names(rows, "group", "groups", "case or blanks", place)
    if not contradictory.is_empty():
        same = contradictory.filter(contradictory["folded"] == contradictory["folded"][0])
        (a, first), (b, second) = (
            same.unique("emotion", keep="first", maintain_order=True).select("row", "emotion").rows()[:2]
        )
        yield (
            f"{contradictory.height} rows whose text has different labels count as unlabelled (rows {a} and {b}: {first} "
            f"and {second})"
        )
    if "group" not in place.asked or rows.height < 3:
        return
    column, sizes = place.asked["group"], rows["group"].drop_nulls().value_counts(sort=True)
    if len(sizes) == rows.height:
        yield f"column {column!r} differs in every row, so it groups nothing"
    elif len(sizes) < 3:
        yield f"column {column!r} holds {len(sizes)} different groups, too few to deal to three splits"
    elif sizes["count"][0] > BIG_GROUP * rows.height:
        yield f"group {sizes['group'][0]!r} of column {column!r} holds {sizes['count'][0] / rows.height:.0%} of the rows"


def _twin_names(rows: "pl.DataFrame", role: str, several: str, differ: str, place: Place) -> Iterator[str]:
    """Names of a column that look like one name written in two ways, with an example."""
    if role not in place.asked:
        return
    if pairs := twins(rows[role].drop_nulls().unique(), punctuation=role == "emotion"):
        (first, second), n = pairs[0], len(pairs)
        yield (
            f"{n} {several if n > 1 else several[:-1]} of column {place.asked[role]!r} {'differ' if n > 1 else 'differs'} from "
            f"another in {differ} alone ({first!r} and {second!r}); write them alike if they are one"
        )
