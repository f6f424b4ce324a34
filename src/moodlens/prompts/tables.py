"""Users' own texts: what is read from a table, and what was dropped, joined and renamed on the way."""

from collections.abc import Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING

from moodlens.core import BadInput
from moodlens.core.labels import SCALES
from moodlens.prompts.between import agree
from moodlens.prompts.cells import read_cells, table_name
from moodlens.prompts.checks import Place, check_emotions, check_ids, refuse_parted, remarks, split_names
from moodlens.prompts.copies import copy_keys, folded, join_groups, without_numbers
from moodlens.prompts.grammar import COLUMNS
from moodlens.prompts.hub import table_file
from moodlens.prompts.labels import merged_spellings, one_spelling
from moodlens.prompts.ratings import rating_column, read_ratings
from moodlens.prompts.report import TableReport
from moodlens.settings.labels import INVISIBLE, MISSING, NEUTRAL
from moodlens.settings.study import Table

if TYPE_CHECKING:
    import polars as pl


def read_tables(
    tables: Sequence[Table], *, emotions: Sequence[str], generated: "pl.DataFrame | None" = None
) -> tuple[list["pl.DataFrame"], list[TableReport]]:
    """Read a study's tables; over all of them and the ``generated`` prompts ids differ, labels agree, and copies share a group.

    Returns:
        The frames, ``generated`` first if there is one, and what was found in each table.

    Raises:
        BadInput: a table cannot be used, or an emotion has no text.
    """
    import polars as pl

    frames = [] if generated is None else [generated]
    reports: list[TableReport] = []
    names: set[str] = set()
    ids = {name for frame in frames for name in frame["id"]}
    for number, table in enumerate(tables, 1):
        name = table_name(table_file(table.path))[0]
        name = f"{name}~{number}" if name in names else name
        frame, report = read_prompts(table, emotions=emotions, name=name)
        if not ids.isdisjoint(frame["id"]):
            frame = frame.with_columns(id=pl.format("{}/{}", pl.lit(name), "id"))
        names.add(name)
        ids.update(frame["id"])
        frames.append(frame)
        reports.append(report)
    frames, reports = agree(frames, reports)
    labels = {label for frame in frames for label in frame["emotion"].unique() if label is not None}
    if labels and (absent := [emotion for emotion in emotions if emotion not in labels]):
        raise BadInput(
            f"study: no text is labelled {', '.join(absent)}; add such texts or take it from emotions"
        )
    keys = [copy_keys(frame["text"]) for frame in frames]
    if generated is not None and tables:  # what the grammar groups changes only where a table holds its text
        held = {key for part in keys[1:] for key in part}
        keys[0] = pl.Series([key if key in held else None for key in keys[0]], dtype=pl.String)
    groups = join_groups(chain(*(frame["group"] for frame in frames)), chain(*keys))
    ends = accumulate(frame.height for frame in frames)
    return [
        frame.with_columns(group=pl.Series(groups[end - frame.height : end], dtype=pl.String))
        for frame, end in zip(frames, ends, strict=True)
    ], reports


def read_prompts(
    table: Table, *, emotions: Sequence[str] = (), name: str | None = None
) -> tuple["pl.DataFrame", TableReport]:
    """Read a table of texts into the columns that generated prompts have.

    Rows are counted from 1 in messages, header and blank lines not included. A row without a text is left out. A row
    without a label, or whose label another row of the same text contradicts, has kind ``unlabelled``; one labelled
    neutral has kind ``neutral``, unless ``emotions`` lists that word. Copies of a text are one group.

    Args:
        table: the file and its columns. A missing group makes a group of its own; a missing split is left for
            :func:`assign_splits` to deal.
        emotions: the labels there may be, spelled as they shall be. Empty: any 2 to 50.
        name: begins the ids and groups of rows that have none; the file's own by default.

    Returns:
        The frame, with ratings, if there are any, beside the columns of generated prompts, and what was dropped, joined and renamed.

    Raises:
        BadInput: the file, a column or a value cannot be used; the message names the place and the cure.
    """
    import polars as pl

    path = table_file(table.path)
    asked = {
        key.removesuffix("_column"): column
        for key, column in table
        if key.endswith("_column") and column is not None
    }
    rated = [scale for scale in SCALES if scale in asked]
    asked |= {scale: rating_column(path, scale, asked[scale]) for scale in rated}
    place = Place(path, asked)
    cells = read_cells(path, asked)
    if cells.frame.is_empty():
        raise BadInput(f"{path}: has no rows")
    rows = cells.frame.select(pl.int_range(1, pl.len() + 1).alias("row"), *map(_tidy, asked))
    rows = rows.filter(pl.col("text").is_not_null())
    if rows.is_empty():
        raise place.bad("text", " holds no text")
    rows = rows.with_columns(pl.lit(None, pl.String).alias(role) for role in COLUMNS if role not in asked)
    spellings, concepts = one_spelling(rows["emotion"], emotions), one_spelling(rows["concept"])
    rows = rows.with_columns(
        key=copy_keys(rows["text"]),
        folded=folded(rows["text"]),
        own=pl.format("{}-{}", pl.lit(name or table_name(path)[0]), "row"),
        emotion=pl.Series([spellings.get(label) for label in rows["emotion"]], dtype=pl.String),
        concept=pl.Series([concepts.get(concept) for concept in rows["concept"]], dtype=pl.String),
        split=split_names(rows, place),
    )
    check_ids(rows, place)
    several = pl.col("emotion").drop_nulls().n_unique().over("folded") > 1
    contradictory = rows.filter(several & pl.col("emotion").is_not_null())
    rows = rows.with_columns(emotion=pl.when(~several).then("emotion"))
    ratings = [
        pl.Series(scale, read_ratings(path, asked[scale], rows["row"], rows[scale]), dtype=pl.Float64)
        for scale in rated
    ]
    # Several ratings of one text are one observation of it: their mean.
    averaged = rows.select("key").with_columns(ratings).with_columns(pl.col(rated).mean().over("key"))
    check_emotions(rows, place, emotions, contradictory.height)
    refuse_parted(rows, "group", "groups", place)
    refuse_parted(rows, "split", "splits", place)
    neutral = (pl.col("emotion") == NEUTRAL) & (NEUTRAL not in emotions)
    kind = pl.when(pl.col("emotion").is_null()).then(pl.lit("unlabelled")).otherwise(pl.lit("plain"))
    groups = join_groups(rows["group"].fill_null(rows["own"]), rows["key"])
    frame = rows.with_columns(
        id=pl.coalesce("id", "own"),
        emotion=pl.when(~neutral).then("emotion"),
        concept=pl.when(pl.col("emotion").is_not_null() & ~neutral).then("concept"),
        kind=pl.when(neutral).then(pl.lit("neutral")).otherwise(kind),
        split=pl.col("split").fill_null(""),
        group=pl.Series(groups, dtype=pl.String),
        source=pl.lit(path.name),
        **{scale: averaged[scale] for scale in rated},
    )
    copies = rows["key"].value_counts()["count"]
    kinds = frame["kind"]
    report = TableReport(
        file=path.name,
        dialect=cells.dialect,
        encoding=cells.encoding,
        n_read=cells.frame.height,
        n_without_text=cells.frame.height - rows.height,
        n_without_label=int((kinds == "unlabelled").sum()),
        n_neutral=int((kinds == "neutral").sum()),
        n_contradictory=contradictory.height,
        n_duplicates=rows.height - len(copies),
        n_merged_groups=int((copies > 1).sum()),
        n_rated={asked[ratings_of.name]: len(ratings_of) - ratings_of.null_count() for ratings_of in ratings},
        n_averaged=sum(
            int(((ratings_of - averaged[ratings_of.name]).abs() > 1e-9).sum()) for ratings_of in ratings
        ),
        n_numbered=len(copies) - without_numbers(rows["key"]).n_unique(),
        labels_merged=merged_spellings(spellings),
        remarks=tuple(remarks(rows, contradictory, place)),
    )
    return frame.select(*COLUMNS, *rated), report


def _tidy(role: str) -> "pl.Expr":
    """A column without blanks at its ends and without what cannot be seen; null where it says that nothing is there."""
    import polars as pl

    if role in SCALES:  # what is no number is told as it stands
        return pl.col(role)
    if role == "emotion":  # what its spellings mean is told, and depends on the labels that the study lists
        return pl.col(role).str.strip_chars()
    cell = pl.col(role).str.replace_all(INVISIBLE, "").str.strip_chars()
    if (
        role == "group"
    ):  # as two programs write one name: composed or not, and a whole number beside empty cells as 7.0
        cell = cell.str.normalize("NFC").str.replace(r"^([+-]?\d+)\.0*$", "${1}")
    missing = [""] if role == "id" else sorted(MISSING)  # an id may be any word
    return pl.when(~cell.str.to_lowercase().is_in(missing)).then(cell).alias(role)
