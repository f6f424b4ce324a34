"""Ratings of texts on continuous scales: which columns hold them, and which cells are numbers."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from moodlens.core.errors import BadInput
from moodlens.core.labels import SCALES as SCALES
from moodlens.prompts.cells import read_cells
from moodlens.settings.labels import MISSING, label_key

KNOWN = {
    "text": ("word", "words", "text", "caption", "description"),
    "valence": ("valence", "VAL", "V.Mean.Sum", "V.Mean", "Valence.Mean", "valence_mean", "mean_valence", "VAL_M", "V"),
    "arousal": ("arousal", "ARO", "AROU", "A.Mean.Sum", "A.Mean", "Arousal.Mean", "arousal_mean", "mean_arousal", "ARO_M", "A"),
}  # fmt: skip
"""Role -> the columns that published norms have for it; case makes no difference."""
LEAST = 20
"""Rated texts that a table must have; fewer say nothing of any feature."""


def known_columns(path: Path, role: str) -> list[str]:
    """The columns of ``path`` that published norms have for ``role``.

    Raises:
        BadInput: the file cannot be read.
    """
    names = []
    for name in KNOWN.get(role, ()):
        try:
            read_cells(path, {role: name})
        except BadInput as error:
            if "has no column" not in str(error):
                raise
        else:
            names.append(name)
    return names


def the_column(path: Path, role: str, names: Sequence[str], setting: str) -> str | None:
    """The one of :func:`known_columns`; None where there is none.

    Raises:
        BadInput: there are several, whose values may be opposite; ``setting`` names one.
    """
    if len(names) > 1:
        listed = " and ".join(map(repr, names))
        raise BadInput(f"{path}: columns {listed} may each hold {role}; name one by {setting}")
    return names[0] if names else None


def rating_column(path: Path, scale: str, asked: str) -> str:
    """The column that ``asked`` names; the scale's own name also stands for those that published norms have for it.

    Raises:
        BadInput: the file cannot be read, or several of those are there and none has the scale's own name.
    """
    if label_key(asked) != scale:
        return asked
    names = known_columns(path, scale)
    if scale in names:
        return scale
    return the_column(path, scale, names, f"{scale}_column") or asked


def read_number(path: Path, column: str, row: int, cell: str | None) -> float:
    """A cell as a number; NaN where it says that nothing is there.

    Raises:
        BadInput: it holds anything else.
    """
    text = (cell or "").strip()
    if label_key(text) in MISSING:
        return math.nan
    try:
        value = math.inf if "_" in text else float(text)  # Python reads 4_5 as 45
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise BadInput(f"{path}: row {row}: column {column!r}: {text[:60]!r} is no number")
    return value


def read_ratings(
    path: Path, column: str, rows: Iterable[int], cells: Iterable[str | None]
) -> list[float | None]:
    """The ratings of texts on one scale; None where a text has none.

    Args:
        path: the table, for messages.
        column: its name there.
        rows: the number of each row.
        cells: as they stand in the table.

    Raises:
        BadInput: a cell is no number, too few texts are rated, or all ratings are equal.
    """
    values = [read_number(path, column, row, cell) for row, cell in zip(rows, cells, strict=True)]
    known = [value for value in values if math.isfinite(value)]
    if len(known) < LEAST:
        raise BadInput(
            f"{path}: column {column!r}: {len(known)} texts have a rating; {LEAST} or more are needed"
        )
    if min(known) == max(known):
        raise BadInput(
            f"{path}: column {column!r} is {known[0]:g} wherever there is a rating; ratings must differ"
        )
    return [value if math.isfinite(value) else None for value in values]
