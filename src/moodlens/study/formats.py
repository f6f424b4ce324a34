"""What the files of a study hold, from the records and tables themselves: JSON schemas, and the tables of docs/formats.md.

``python -m moodlens.study.formats`` writes the tables into docs/formats.md anew, between ``<!-- generated: FILE -->`` and
``<!-- end -->``.
"""

import importlib
import pkgutil
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from moodlens.core.errors import BadInput
from moodlens.study import records as _records
from moodlens.study.record import Record, TableSchema

DOCS = Path("docs") / "formats.md"
_TYPES = {
    int: "int", float: "float", str: "text", bool: "true or false",
    "Int64": "int", "Float64": "float", "String": "text", "Boolean": "true or false",
}  # fmt: skip
_MARKED = re.compile(r"(?P<head><!-- generated: (?P<file>\S+) -->\n).*?(?P<end><!-- end -->)", re.DOTALL)


def formats() -> dict[str, type[Record] | TableSchema]:
    """File -> its record or table, for every file that a stage writes."""
    known: dict[str, type[Record] | TableSchema] = {}
    for module in pkgutil.iter_modules(_records.__path__, f"{_records.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            is_record = isinstance(value, type) and issubclass(value, Record) and value is not Record
            if is_record or isinstance(value, TableSchema):
                known[value.file] = value
    return dict(sorted(known.items()))


def json_schemas() -> dict[str, dict[str, object]]:
    """File -> JSON schema of a record, or the columns of a table with type, unit and meaning."""

    def schema(what: type[Record] | TableSchema) -> dict[str, object]:
        if isinstance(what, TableSchema):
            columns = {name: vars(column) for name, column in what.columns.items()}
            return {"stage": what.stage, "columns": columns}
        return {"stage": what.stage, **what.model_json_schema()}

    return {file: schema(what) for file, what in formats().items()}


def describe(what: type[Record] | TableSchema) -> str:
    """A Markdown table of the keys of a record, inner ones with a dot, or of the columns of a table."""
    if isinstance(what, TableSchema):
        rows = [
            (f"`{name}`", _TYPES.get(c.dtype, c.dtype), c.unit, c.meaning) for name, c in what.columns.items()
        ]
        return _table(("column", "type", "unit", "meaning"), rows)
    rows = [(f"`{key}`", kind, meaning) for key, kind, meaning in _keys(what, "", {}) if key != "version"]
    return _table(("key", "type", "meaning"), rows)


def _keys(part: type[BaseModel], start: str, seen: dict[type, str]) -> Iterator[tuple[str, str, str]]:
    """(key, type in words, meaning) of every field, those of inner records after the one that first holds them."""
    for name, field in part.model_fields.items():
        key, (kind, inner) = start + name, _kind(field.annotation)
        meaning = field.description or (inner.__doc__ or "" if inner else "")
        known = seen.get(inner) if inner else None
        kind += f", as `{known}`" if known else ""
        yield key, kind, " ".join(meaning.split()).removesuffix(".")
        # Settings are described where they are set.
        if inner is not None and known is None and not inner.__module__.startswith("moodlens.settings"):
            seen[inner] = key
            yield from _keys(inner, f"{key}.", seen)


def _kind(annotation: Any) -> tuple[str, type[BaseModel] | None]:
    """A type in words, and the record it is made of, if any."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(args[0])
    if origin in (Union, types.UnionType):
        kinds = [_kind(arg) for arg in args if arg is not type(None)]
        words = " or ".join(dict.fromkeys(kind for kind, _ in kinds))
        return words + (" or null" if type(None) in args else ""), next((k[1] for k in kinds if k[1]), None)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in args), None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object", annotation
    if isinstance(origin, type) and issubclass(origin, Mapping):
        kind, inner = _kind(args[1])
        return f"{_kind(args[0])[0]} -> {kind}", inner
    if isinstance(origin, type) and issubclass(origin, Sequence):
        kinds = [_kind(arg) for arg in args if arg is not Ellipsis]
        if Ellipsis in args or origin is not tuple:
            return f"list of {kinds[0][0]}", kinds[0][1]
        return "[" + ", ".join(kind for kind, _ in kinds) + "]", None
    return _TYPES.get(annotation, "any"), None


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )


def generate(text: str) -> str:
    """``text`` with every marked table made anew.

    Raises:
        BadInput: a mark names a file that no stage writes.
    """
    known = formats()

    def table(mark: re.Match[str]) -> str:
        if mark["file"] not in known:
            raise BadInput(f"{DOCS}: no stage writes {mark['file']!r}; known: {', '.join(known)}")
        return f"{mark['head']}{describe(known[mark['file']])}{mark['end']}"

    return _MARKED.sub(table, text)


def main(arguments: Sequence[str]) -> None:
    """Write the tables of docs/formats.md anew, or of the file that is given."""
    path = Path(arguments[0]) if arguments else DOCS
    path.write_text(generate(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
