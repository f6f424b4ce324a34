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
from typing import Any, Literal, NamedTuple

from moodlens.core import BadInput
from moodlens.settings.labels import label_key

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
Quoting = Mapping[Literal["escapechar", "quoting", "strict"], Any]
"""What quotes mean, as arguments of ``csv.reader``."""
_RFC: Quoting = {"strict": True}
_ESCAPED: Quoting = {"strict": True, "escapechar": "\\"}
_LITERAL: Quoting = {"strict": True, "quoting": csv.QUOTE_NONE}
_DOUBLES = r'"[^"]*+(?:""[^"]*+)*+"'
"""A cell in quotes by RFC 4180, where a quote within is doubled."""
_ESCAPES = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""A cell in quotes where a quote within stands after a backslash."""
_HEAD = 20
"""Lines of titles and comments that may stand above the names of the columns."""
_BROKEN = re.compile(r'"(?:[^"]|"")*"\s*[^"\s]')
"""A quoted cell that goes on after its quote."""

Find = Callable[[Sequence[str], str], int]
Row = tuple[list[str], int, int]
"""The cells, and the lines they begin at and end before."""


class _Doubt(ValueError):
    """This way of reading the quotes cannot be right; the message says where."""


class _Reading(NamedTuple):
    rows: list[Row]
    names: list[str]
    places: Mapping[str, int]
    literal: bool

    def cells(self, role: str) -> list[str | None]:
        return [_cell(cells[self.places[role]], self.literal) for cells, _, _ in self.rows]


class _Table(NamedTuple):
    lines: list[str]
    begin: int
    """The number of lines down to the names of the columns."""
    names: list[str]
    places: Mapping[str, int]
    """Role -> the column asked for."""
    delimiter: str

    def below(self) -> str:
        return "".join(self.lines[self.begin :])


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
    try:
        reading = _reading(_Table(lines, begin, names, places, delimiter))
    except _Doubt as doubt:
        raise BadInput(f"{path}: {doubt}") from doubt
    columns = {role: reading.cells(role) for role in asked}
    return columns, f"text separated by {DELIMITERS[delimiter]}" if len(names) > 1 else "lines"


def _reading(table: _Table) -> _Reading:
    """What all ways to read the quotes that may be meant come to.

    What a program wrote fits the grammar of its quotes from end to end, other files hardly ever by chance. So a file that fits is read
    by its grammar, but for one case: quotes go around lines that could all be rows, and every line of the file could be one, too. Then
    quotes may be characters, unless all cells have them.
    """
    fitting = _fitting(table)
    escapes = [_ESCAPED] if '\\"' in table.below() else []
    doubts: list[_Doubt] = []

    def tried(quotings: Sequence[Quoting], numbered: bool) -> Iterator[_Reading]:
        for quoting in quotings:
            try:
                yield _read(table, quoting, numbered)
            except _Doubt as doubt:
                doubts.append(doubt)

    # R's write.table gives its row numbers no name, so that every row is one cell longer than the header.
    for numbered in (False, True):
        readings = list(tried(fitting, numbered))
        if any(_unclosed(table, reading) is not None for reading in readings) and not _all_quoted(table):
            readings += tried([_LITERAL], numbered)
        if readings:
            return _agreed(table, readings)
    if fitting:
        raise doubts[0]
    for numbered in (False, True):
        readings, width = [], len(table.names) + numbered
        for reading in tried([_RFC, *escapes, _LITERAL], numbered):
            if (number := _unclosed(table, reading)) is None:
                readings.append(reading)
            else:
                doubts.append(_doubt(table, reading, number))
            lines = all(end - start == 1 and len(cells) >= width for cells, start, end in reading.rows)
            if lines and not escapes:
                break  # each line is a whole row, so that no other way can differ
        if readings:
            return _agreed(table, readings)
    raise doubts[0]


def _fitting(table: _Table) -> list[Quoting]:
    """The quotings by which every quote of the rows opens or closes a cell, or stands for a quote within one."""
    below = table.below()
    if '"' not in below:
        return [_RFC]
    end = f"{re.escape(table.delimiter)}\r\n"
    cells = [(_RFC, _DOUBLES, rf'[^"{end}]*+')]
    if re.search(r'(?<!\\)(?:\\\\)*\\"', below):  # else backslashes are characters
        cells.append((_ESCAPED, _ESCAPES, rf'(?:[^"\\{end}]|\\[^"])*+'))
    return [
        {**quoting, "strict": False}  # blanks may follow a quote that closes
        for quoting, quoted, plain in cells
        if re.fullmatch(rf"(?:(?:[ ]*+{quoted}[ ]*+|{plain})(?:[{end}]|\Z))*+", below, re.DOTALL)
    ]


def _all_quoted(table: _Table) -> bool:
    """Whether all names and cells but numbers are in quotes: who does so doubles the quotes of a text."""
    whole = table.lines[table.begin - 1].replace("\ufeff", "") + table.below()
    end = f"{re.escape(table.delimiter)}\r\n"
    names = rf"{_DOUBLES}(?:[{end}]{_DOUBLES}){{{len(table.names) - 1}}}"
    return re.fullmatch(rf"{names}(?:[{end}]++(?:{_DOUBLES}|[-+.\deE]*+))*+", whole) is not None


def _agreed(table: _Table, readings: Sequence[_Reading]) -> _Reading:
    """The first of them, if all say the same."""
    first, *others = readings
    names, rows = first.names, first.rows
    for other, (role, place) in itertools.product(others, first.places.items()):
        pairs = enumerate(itertools.zip_longest(first.cells(role), other.cells(role)))
        row = next((row for row, (a, b) in pairs if a != b), None)
        if row is not None:
            _, start, _ = (rows if row < len(rows) else other.rows)[row]
            raise _Doubt(
                f"row {row + 1} (line {start + 1}): column {names[place]!r}: its quotes or backslashes can be read in two ways; "
                'write quotes around every name and cell, and a quote within as "", or save the table as JSON lines or Parquet'
            )
    counted = all(cells[0] == str(number) for number, (cells, _, _) in enumerate(rows, 1))
    if rows and names is table.names and counted and all(len(cells) > len(names) for cells, _, _ in rows):
        raise _Doubt(
            f"row 1 (line {rows[0][1] + 1}): {len(names) + 1} cells, from a number to an empty one, for the {len(names)} columns "
            f"{', '.join(names[:_HEAD])}; name the numbers, or leave out the empty cells"
        )
    return first


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


def _read(table: _Table, quoting: Quoting, numbered: bool) -> _Reading:
    """The rows by one meaning of the quotes; ``numbered``: with a first cell that has no name."""
    names = ["", *table.names] if numbered else table.names
    places = {role: place + numbered for role, place in table.places.items()}
    rows = list(_rows(table, names, max(places.values()), quoting))
    reading = _Reading(rows, names, places, literal="quoting" in quoting)
    if numbered:
        numbers = {cells[0] for cells, _, _ in rows if cells[0].isdecimal() and len(cells) == len(names)}
        if len(numbers) < len(rows):
            raise _Doubt("the rows have no numbers")
    return reading


def _rows(table: _Table, names: list[str], last: int, quoting: Quoting) -> Iterator[Row]:
    """Rows that hold anything; all reach to the place ``last`` and none beyond the names."""
    lines, begin, _, _, delimiter = table
    below = lines[begin:]
    if "escapechar" in quoting:
        # Databases that escape quotes so write \\N for no value, which would become an N.
        no_value = re.compile(
            rf"(^|{re.escape(delimiter)})[ ]*\\N(?=[ ]*(?:{re.escape(delimiter)}|[\r\n]|$))"
        )
        below = [no_value.sub(r"\1", line) for line in below]
    reader = csv.reader(below, delimiter=delimiter, skipinitialspace=True, **quoting)
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


def _cell(cell: str, literal: bool) -> str:
    cell = cell.strip()
    if not (literal and len(cell) > 1 and cell[0] == cell[-1] == '"'):
        return cell
    around = cell.count('"') % 2 or re.fullmatch(_DOUBLES, cell)  # not in: "Happy" and "Sad"
    return cell[1:-1].replace('""', '"').strip() if around else cell


def _quoted_column(line: str, names: list[str], delimiter: str) -> str:
    cells = [cell.strip() for cell in line.split(delimiter)]
    places = (i for i, cell in enumerate(cells) if _opens(cell) or _BROKEN.match(cell))
    return names[min(next(places, 0), len(names) - 1)]


def _is_row(table: _Table, reading: _Reading) -> Callable[[str], bool]:
    """Whether a line alone could be a row, judged by the rows that are beyond doubt."""
    others = [place for role, place in reading.places.items() if role != "text"]
    literal, n = reading.literal, len(reading.names)
    sure = [c for c, start, end in reading.rows if end - start == 1 and not (literal and any(map(_opens, c)))]
    values = {place: {cells[place].strip() for cells in sure} for place in others}
    lengths = {len(cells) for cells in sure} or {n}

    def is_row(line: str) -> bool:
        cells = [cell.strip() for cell in line.split(table.delimiter)]
        if len(cells) not in lengths or n == 1:
            return False
        if table.delimiter == "\t":  # no text of a person holds one
            return True
        known = any(cells[place] in values[place] for place in others)
        return known or (n > 2 and not (literal and others))

    return is_row


def _unclosed(table: _Table, reading: _Reading) -> int | None:
    """The first row where a quote may open and not close, and has swallowed rows or, if literal, cut a text."""
    is_row: Callable[[str], bool] | None = None
    for number, (cells, start, end) in enumerate(reading.rows):
        if end - start > 1 or (reading.literal and any(map(_opens, cells))):
            is_row = is_row or _is_row(table, reading)
            if all(map(is_row, table.lines[start:end])) != reading.literal:
                return number
    return None


def _doubt(table: _Table, reading: _Reading, number: int) -> _Doubt:
    start = reading.rows[number][1]
    column = _quoted_column(table.lines[start], reading.names, table.delimiter)
    return _Doubt(
        f'row {number + 1} (line {start + 1}): column {column!r}: a quote opens and does not close; write it as ""'
    )
