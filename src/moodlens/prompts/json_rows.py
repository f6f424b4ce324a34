"""Tables as JSON: an object a line, a list of objects, or one object of columns."""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moodlens.core import BadInput

Find = Callable[[Sequence[str], str], int]


class _Twice:
    """What a name holds that an object sets twice."""


def read_json_rows(
    path: Path, text: str, asked: Mapping[str, str], find: Find
) -> tuple[dict[str, list[str | None]], str]:
    """The values of the columns ``asked`` for (role -> name), and which kind of JSON the file is.

    Args:
        path: for messages.
        text: the file.
        asked: role -> name of the column.
        find: gives the place of a name among the names there are, or raises.

    Raises:
        BadInput: not JSON, no objects, or a column is missing or holds lists or objects.
    """
    rows, dialect = _documents(path, text)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise BadInput(f"{path}: row {number} is not a JSON object; write {{name: value}} for each row")
    if len(rows) == 1:
        rows = _turned(path, rows[0], asked["text"])
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {role: names[find(names, column)] for role, column in asked.items()}
    return {
        role: [_scalar(path, number, role, name, row.get(name)) for number, row in enumerate(rows, 1)]
        for role, name in columns.items()
    }, dialect


def _documents(path: Path, text: str) -> tuple[list[Any], str]:
    """The items of a list, one object, or an object a line."""
    lines = [(n, line) for n, line in enumerate(re.split(r"\r\n|\n|\r", text), 1) if line.strip()]
    try:
        first = _parse(path, lines[0][1], lines[0][0])
    except BadInput:  # the first line of something longer
        if len(lines) == 1:
            raise
        first = _parse(path, text)
        return first if isinstance(first, list) else [first], "JSON"
    if len(lines) == 1 and isinstance(first, list):
        return first, "JSON"
    return [first, *(_parse(path, line, n) for n, line in lines[1:])], "JSON lines"


def _parse(path: Path, text: str, line: int = 1) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1} is not valid JSON (column {error.colno})"
        raise BadInput(f"{path}: {place}") from error
    except (RecursionError, ValueError) as error:  # a thousand brackets, a number of thousands of digits
        raise BadInput(f"{path}: line {line} holds a value too large to read") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a name that is set twice holds that it is, so that only a column that is asked for minds."""
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        values |= {name: _Twice() for name, count in counts.items() if count > 1}
    return values


def _turned(path: Path, document: Mapping[str, object], text_column: str) -> Sequence[Mapping[str, object]]:
    """Rows of one object: of columns (lists, or values by row number), or around a list of rows."""
    column = document.get(text_column)
    if isinstance(column, dict):
        return [
            {name: of.get(key) for name, of in document.items() if isinstance(of, dict)} for key in column
        ]
    if isinstance(column, list):
        parts = {name: of for name, of in document.items() if isinstance(of, list)}
        if len(set(map(len, parts.values()))) > 1:
            raise BadInput(f"{path}: its columns differ in length; write one value a row")
        return [dict(zip(parts, values, strict=True)) for values in zip(*parts.values(), strict=True)]
    lists = [of for of in document.values() if isinstance(of, list) and of and isinstance(of[0], dict)]
    if column is None and len(lists) == 1:
        return [row if isinstance(row, dict) else {} for row in lists[0]]
    return [document]


def _scalar(path: Path, number: int, role: str, name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if role != "text" and isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)) and (role != "text" or value != value):
        return None if math.isnan(value) else repr(value)
    kind = {list: "a list", dict: "an object", _Twice: "two values"}.get(type(value), "a number")
    wanted = "text" if role == "text" else "one value"
    raise BadInput(f"{path}: row {number}: column {name!r} holds {kind}, not {wanted}")
