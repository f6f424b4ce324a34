"""Tables as delimited text: separators, titles, comments and quotes as the programs of this world write them.

Python's own ``csv`` reads them, since it tells in which line a quote went wrong and polars does not.
"""

import csv
import io
import itertools
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from moodlens.core import BadInput
from moodlens.settings.labels import label_key

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
Quoting = Mapping[Literal["escapechar", "quoting"], Any]
"""Arguments of ``csv.reader``."""
_RFC: Quoting = {}
_ESCAPED: Quoting = {"escapechar": "\\"}
_LITERAL: Quoting = {"quoting": csv.QUOTE_NONE}
_HEAD = 20
"""Lines of titles and comments that may stand above the names of the columns."""
_BROKEN = re.compile(r'"(?:[^"]|"")*"\s*[^"\s]')
"""A quoted cell that goes on after its quote."""

Find = Callable[[Sequence[str], str], int]
Row = tuple[list[str], int, int]
"""The cells, and the lines they begin at and end before."""


class _Doubt(ValueError):
    """This way of reading the quotes cannot be right; the message says where."""


def read_delimited(
    path: Path, text: str, asked: Mapping[str, str], find: Find
) -> tuple[dict[str, list[str | None]], str]:
    """The cells of the columns ``asked`` for (role -> name), and what separates them.

    Args:
        path: for messages.
        text: the file.
        asked: role -> name of the column.
        find: gives the place of a name among the names there are, or raises.

    Raises:
        BadInput: a column is missing, or a row cannot be read without doubt.
    """
    csv.field_size_limit(sys.maxsize)  # the default refuses texts of 128 KiB
    lines = io.StringIO(text, newline="").readlines()
    delimiter, begin, names = _header(lines, asked.values())
    places = {role: find(names, column) for role, column in asked.items()}
    doubts: list[_Doubt] = []
    # R's write.table gives its row numbers no name, so that every row is one cell longer than the header.
    for numbered, quoting in itertools.product((False, True), _quotings(text, delimiter)):
        known = ["", *names] if numbered else names
        moved = {role: place + numbered for role, place in places.items()}
        try:
            rows = list(_rows(lines, begin, known, max(moved.values()), delimiter, quoting))
            if numbered and len({cells[0] for cells, _, _ in rows if cells[0].isdecimal()}) < len(rows):
                continue
            _refuse_unclosed(lines, rows, known, moved, delimiter, literal="quoting" in quoting)
        except _Doubt as doubt:
            doubts.append(doubt)
            continue
        literal = "quoting" in quoting
        columns = {
            role: [_cell(cells, place, literal) for cells, _, _ in rows] for role, place in moved.items()
        }
        return columns, f"text separated by {DELIMITERS[delimiter]}" if len(names) > 1 else "lines"
    raise BadInput(f"{path}: {doubts[0]}")


def _quotings(text: str, delimiter: str) -> tuple[Quoting, ...]:
    """What quotes may mean: RFC 4180, escapes by a backslash, or characters like any other; what is likelier comes first."""
    if '\\"' not in text:
        return _RFC, _LITERAL
    # By the RFC such a quote would end its cell, and what stands in the next line of a text would be a row.
    at_an_end = re.search(rf'(?<!\\)(?:\\\\)*\\"[ ]*(?:{re.escape(delimiter)}|[\r\n])', text)
    return (_ESCAPED, _RFC, _LITERAL) if at_an_end else (_RFC, _ESCAPED, _LITERAL)


def _header(lines: list[str], asked: Collection[str]) -> tuple[str, int, list[str]]:
    """The separator, the number of lines down to the names of the columns, and the names.

    Names are the first row that holds everything asked for; above it stand titles, comments and blank lines only.
    """
    wanted = {label_key(column) for column in asked}
    candidates: list[tuple[bool, int, int, str, list[str]]] = []
    for delimiter in DELIMITERS:
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        for row in itertools.islice(reader, _HEAD):
            names = _names(row)
            title = sum(map(bool, names)) < 2 or names[0].startswith("#")
            whole = wanted <= set(map(label_key, names))
            if whole or not title:
                candidates.append((not whole, reader.line_num, -len(names), delimiter, names))
                break
    if not candidates:
        return ",", 1, [" ".join(lines[0].split())]
    _, begin, _, delimiter, names = min(candidates)
    return delimiter, begin, names


def _names(row: Sequence[str]) -> list[str]:
    return [" ".join(name.replace("\ufeff", "").split()) for name in row]


def _rows(
    lines: list[str], begin: int, names: list[str], last: int, delimiter: str, quoting: Quoting
) -> Iterator[Row]:
    """Rows that hold anything; all reach to the place ``last`` and none beyond the names."""
    below = lines[begin:]
    if (
        "escapechar" in quoting
    ):  # databases that escape quotes so write \\N for no value, which would become an N
        no_value = re.compile(
            rf"(^|{re.escape(delimiter)})[ ]*\\N(?=[ ]*(?:{re.escape(delimiter)}|[\r\n]|$))"
        )
        below = [no_value.sub(r"\1", line) for line in below]
    reader = csv.reader(below, delimiter=delimiter, skipinitialspace=True, strict=True, **quoting)
    commented = any(line.startswith("#") for line in lines[: begin - 1])
    end, number = begin, 0
    while True:
        start = end
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            place = f"row {number + 1} (line {start + 1}): column {_quoted_column(lines[start], names, delimiter)!r}"
            raise _Doubt(
                f'{place}: a quote opens and does not close, or text follows it; write a quote within a text as ""'
            ) from error
        end = begin + reader.line_num
        if not any(map(str.strip, row)) or (commented and len(row) < len(names) and row[0].startswith("#")):
            continue
        if len(names) > 1 and _names(row) == names:  # tables put end to end, each with its header
            continue
        number += 1
        place = f"row {number} (line {start + 1})"
        if any(map(str.strip, row[len(names) :])) or len(row) <= last:
            many = "1 cell" if len(row) == 1 else f"{len(row)} cells"
            cure = (
                f"column {names[len(row)]!r} is missing; write an empty cell, and quotes around a text that holds line breaks"
                if len(row) <= last
                else f"write quotes around a text that holds {delimiter!r}"
            )
            raise _Doubt(f"{place}: {many} for the {len(names)} columns {', '.join(names[:_HEAD])}; {cure}")
        yield row, start, end


def _opens(cell: str) -> bool:
    cell = cell.strip()
    return cell.startswith('"') and cell.count('"') % 2 == 1 and not cell.endswith('"')


def _cell(cells: list[str], place: int, literal: bool) -> str | None:
    if place >= len(cells):
        return None
    cell = cells[place].strip()
    if literal and len(cell) > 1 and cell[0] == cell[-1] == '"':
        return cell[1:-1].replace('""', '"')
    return cell


def _quoted_column(line: str, names: list[str], delimiter: str) -> str:
    cells = [cell.strip() for cell in line.split(delimiter)]
    places = (i for i, cell in enumerate(cells) if _opens(cell) or _BROKEN.match(cell))
    return names[min(next(places, 0), len(names) - 1)]


def _refuse_unclosed(
    lines: list[str],
    rows: list[Row],
    names: list[str],
    places: Mapping[str, int],
    delimiter: str,
    *,
    literal: bool,
) -> None:
    """Refuse quotes that open and do not close, where they may have swallowed rows or, ``literal``, cut a text."""
    others = [place for role, place in places.items() if role != "text"]
    sure = [
        cells for cells, start, end in rows if end - start == 1 and not (literal and any(map(_opens, cells)))
    ]
    values = {place: {cells[place].strip() for cells in sure} for place in others}

    def is_row(line: str) -> bool:
        cells = [cell.strip() for cell in line.split(delimiter)]
        if len(cells) != len(names) or len(names) == 1:
            return False
        if delimiter == "\t":  # no text holds one
            return True
        return any(cells[place] in values[place] for place in others) if others else len(names) > 2

    for number, (cells, start, end) in enumerate(rows, 1):
        over_lines = end - start > 1 and all(map(is_row, lines[start:end]))
        if over_lines or (literal and any(map(_opens, cells)) and not is_row(lines[start])):
            column = _quoted_column(lines[start], names, delimiter)
            raise _Doubt(
                f'row {number} (line {start + 1}): column {column!r}: a quote opens and does not close; write it as ""'
            )
