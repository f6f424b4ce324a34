"""Settings as such: frozen models, the one reader of YAML, changes by ``a.b=c``, and what is wrong in one line."""

import difflib
import math
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from moodlens.core.errors import BadInput
from moodlens.core.text import is_text, read_text

LARGEST = 1_000_000
"""Bytes of the largest settings file, and the most values it may stand for once its aliases are written out."""

Values = Mapping[str, Any]
"""Settings as they were written, before a model has looked at them."""


class Frozen(BaseModel):
    """A group of settings: it cannot be changed, knows every name it is given, and holds finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _what_it_seems(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        for item in value if isinstance(value, (list, tuple)) else (value,):
            # Without this `seed: true` is 1.
            if isinstance(item, bool) and not {bool, Any} & set(_leaves(field.annotation)):
                raise ValueError("true and false are no numbers and no texts (put a text in quotes)")
            if isinstance(item, int) and abs(item) >= 2**63:
                raise ValueError("no array holds a number of this size")
            if isinstance(item, str) and not is_text(item):
                raise ValueError("holds bytes that are not UTF-8 text")
        return value


def _leaves(annotation: Any) -> Iterator[Any]:
    parts = get_args(annotation)
    if not parts:
        yield annotation
    for part in parts:
        yield from _leaves(part)


# -- YAML ----------------------------------------------------------------------------------------------------------

_CORE_SCHEMA = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("tag:yaml.org,2002:merge", r"<<", ["<"]),
)
"""The core schema of YAML 1.2: 010 is ten, 1e-3 is a number, yes and on are texts, and a date is a text."""


class _Reader(yaml.SafeLoader):
    """Knows the core schema and nothing else."""


class _Writer(yaml.SafeDumper):
    """Quotes what either version of YAML takes for more than a text, so that any reader gets the text back."""


_Reader.yaml_implicit_resolvers = {}
for _tag, _pattern, _starts in _CORE_SCHEMA:
    _Reader.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _starts)
    _Writer.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), _starts)


def _integer(reader: _Reader, node: yaml.ScalarNode) -> int:
    text = str(reader.construct_scalar(node))
    try:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    except ValueError as error:
        raise yaml.constructor.ConstructorError(None, None, "not a whole number", node.start_mark) from error


def _real(reader: _Reader, node: yaml.ScalarNode) -> float:
    text = str(reader.construct_scalar(node)).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


_Reader.add_constructor("tag:yaml.org,2002:int", _integer)
_Reader.add_constructor("tag:yaml.org,2002:float", _real)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML 1.2 text.

    Raises:
        BadInput: it is not YAML, sets a name twice, is nested too deeply, or its aliases explode.
    """
    reader = None
    try:
        reader = _Reader(text)
        node = reader.get_single_node()
        if node is None:
            return None
        _check(node, where, {})
        return reader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or error.context or "cannot be read"
        cure = "; indent with spaces" if "'\\t'" in problem else ""
        raise BadInput(f"{where}: not valid YAML{place}: {problem}{cure}") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{where}: not valid YAML: {str(error).splitlines()[0]}") from error
    except RecursionError as error:
        raise BadInput(f"{where}: nested too deeply") from error
    finally:
        if reader is not None:
            reader.dispose()


def _check(node: yaml.Node, where: str, sizes: dict[int, float]) -> float:
    """Raise BadInput for a name set twice and for more than :data:`LARGEST` values; returns how many it stands for."""
    if id(node) in sizes:
        return sizes[id(node)]
    sizes[id(node)] = math.inf  # stays while its own parts are looked at: an alias to itself has no end
    size = 1.0
    if isinstance(node, yaml.MappingNode):
        first: dict[tuple[str, str], int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = (key.tag, str(key.value))
            if isinstance(key, yaml.ScalarNode) and name in first:
                raise BadInput(f"{where}: {key.value!r} is set twice, in line {first[name]} and line {line}")
            first[name] = line
            size += _check(key, where, sizes) + _check(value, where, sizes)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_check(item, where, sizes) for item in node.value)
    if size > LARGEST:
        raise BadInput(f"{where}: its aliases stand for more than {LARGEST:,} values")
    sizes[id(node)] = size
    return size


def read_yaml(path: Path | str) -> dict[str, object]:
    """The settings in a YAML file.

    Raises:
        BadInput: the file is missing, not text, not YAML, or holds no settings.
    """
    loaded = parse_yaml(read_text(path, LARGEST), str(path))
    if not isinstance(loaded, dict):
        kind = "nothing" if loaded is None else f"a {_kind_of(loaded)}"
        raise BadInput(f"{path}: expected settings such as `seed: 0`, found {kind}")
    return loaded


def to_yaml(values: Values) -> str:
    """Settings as YAML that :func:`read_yaml` and any YAML 1.1 reader read back alike."""
    return yaml.dump(values, Dumper=_Writer, sort_keys=False, allow_unicode=True)


def _kind_of(value: Any) -> str:
    kinds = {bool: "boolean", int: "number", float: "number", str: "text", list: "list", tuple: "list"}
    return kinds.get(type(value), type(value).__name__)


# -- changes -------------------------------------------------------------------------------------------------------

_PART = re.compile(r"""\s*("[^"]*"|'[^']*'|[^.="']+)\s*([.=])""")


def _parse_change(change: str) -> tuple[list[str], Any]:
    """``"sae.k=16"`` -> ``(["sae", "k"], 16)``; a part with a point in it stands in quotes."""
    keys: list[str] = []
    start, end = 0, "."
    while end == ".":
        part = _PART.match(change, start)
        if part is None or not part[1].strip():
            raise BadInput(f"--set {change}: write it as name.name=value")
        text = part[1].strip()
        keys.append(text[1:-1] if text[0] in "\"'" else text)
        start, end = part.end(), part[2]
    return keys, parse_yaml(change[start:], f"--set {change}")


def apply_changes(values: Values, changes: Sequence[str]) -> dict[str, object]:
    """``{"sae": {"k": 8}}`` with ``["sae.k=16"]`` becomes ``{"sae": {"k": 16}}``; the input is left alone.

    Values are YAML; ``transfer.0.path=x`` changes the first entry of a list. Of two changes of one name the last holds.

    Raises:
        BadInput: a change is not ``name.name=value``, its value is not YAML, or it leads into a value without parts.
    """
    for change in changes:
        keys, value = _parse_change(change)
        values = _with(values, keys, value, change)
    return dict(values)


def _with(values: Any, keys: list[str], value: Any, change: str) -> Any:
    if not keys:
        return value
    first, *rest = keys
    if isinstance(values, (list, tuple)):
        if not first.isascii() or not first.isdigit() or int(first) >= len(values):
            raise BadInput(f"--set {change}: no entry {first!r} in a list of {len(values)}; the first is 0")
        at = int(first)
        return [*values[:at], _with(values[at], rest, value, change), *values[at + 1 :]]
    if values is None:
        values = {}
    if not isinstance(values, Mapping):
        raise BadInput(f"--set {change}: {first!r} leads into {values!r}, which has no parts to set")
    return {**values, first: _with(values.get(first), rest, value, change)}


# -- what is wrong, in one line ------------------------------------------------------------------------------------

M = TypeVar("M", bound=BaseModel)


def validate(model: type[M], values: Values, where: str, changes: Sequence[str] = ()) -> M:
    """``values`` as a ``model``. The first thing wrong becomes one line that names where it stands.

    Args:
        model: what the values are settings of.
        values: as they were written, ``changes`` already applied.
        where: the file (and section) they come from.
        changes: the ``a.b=c`` among them, so that a message names the one that is wrong.

    Raises:
        BadInput: a setting is unknown, missing, of the wrong type or out of range.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        place, sentence = _first(model, error)
        for change in changes:
            keys = tuple(_parse_change(change)[0])
            n = min(len(keys), len(place))
            # What settings are together has no place of its own; its sentence names them.
            told = (
                re.search(rf"(?<![\w.]){re.escape('.'.join(keys))}(?![\w.])", sentence) if not place else None
            )
            if told or (n and keys[:n] == place[:n]):
                where = f"--set {change}"
        raise BadInput(f"{where}: {sentence}") from error
    except RecursionError as error:
        raise BadInput(f"{where}: nested too deeply") from error


def _first(model: type[BaseModel], error: ValidationError) -> tuple[tuple[str, ...], str]:
    """The place of the first thing wrong, and a sentence about it."""
    # An unknown name comes first: it is often a slip, and why another is missing.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    place = tuple(part for part in first["loc"] if part != "[key]")
    return tuple(map(str, place)), _sentence(model, place, first)


def _sentence(model: type[BaseModel], place: tuple[int | str, ...], error: Any) -> str:
    name = ".".join(map(str, place))
    given, kind = error["input"], error["type"]
    shown = repr(given)
    got = f" (got {shown if len(shown) <= 80 else shown[:77] + '...'})"
    if kind == "extra_forbidden":
        word = str(place[-1])
        return f"unknown setting {name!r}{nearest(word, _names_at(model, place[:-1]), _paths(model))}"
    if kind == "missing":
        return f"{name!r} is missing"
    if kind == "invalid_key":
        return f"{name!r}: a name must be a text"
    if kind in ("model_type", "dict_type"):
        known = _names_at(model, place)
        return f"{name or 'file'}: expected settings{' among ' + ', '.join(known) if known else ''}{got}"
    if kind in ("tuple_type", "list_type"):
        return f"{name}: expected a list, such as [a, b]{got}"
    if kind == "string_type":
        return f"{name}: expected a text; put it in quotes{got}"
    if kind == "value_error" and not isinstance(given, (int, float, str)):
        got = ""  # a whole section or list: what is wrong with it stands in the message
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{name}: {message}{got}" if name else f"{message}{got}"


def nearest(word: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """``"; did you mean 'k'? known: k, d_sae"``: the end of a message about an unknown name.

    Args:
        word: the name that is unknown.
        known: the names that could stand in its place.
        elsewhere: full names of all settings, one of which may have been meant.
    """
    known = list(known)
    close = difflib.get_close_matches(word, known, 1) or [
        path for path in elsewhere if path.rpartition(".")[2] == word
    ]
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"{meant}{' ' if meant else '; '}known: {', '.join(known)}" if known else meant


def _arms(annotation: Any) -> list[Any]:
    """The types a value may have: those of a union, of ``X | None``, and of what is annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _arms(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [arm for part in get_args(annotation) for arm in _arms(part)]
    return [annotation]


def _inside(annotation: Any, part: int | str) -> list[Any]:
    """The types that stand under ``part`` of a value of this type."""
    arms: list[Any] = []
    for arm in _arms(annotation):
        inner = get_args(arm)
        if isinstance(arm, type) and issubclass(arm, BaseModel):
            if part in arm.model_fields:
                arms += _arms(arm.model_fields[str(part)].annotation)
        elif isinstance(part, int) and inner:
            fixed = get_origin(arm) is tuple and inner[-1] is not ...
            arms += _arms(inner[part]) if fixed and part < len(inner) else _arms(inner[0])
        elif get_origin(arm) in (dict, Mapping) and len(inner) == 2:
            arms += _arms(inner[1])
    return arms


def _names_at(model: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    """The setting names that exist where ``place`` leads."""
    here: list[Any] = [model]
    for part in place:
        # A part that leads nowhere is the tag of a union's arm, which pydantic puts between.
        here = [arm for branch in here for arm in _inside(branch, part)] or here
    return [
        name
        for branch in here
        if isinstance(branch, type) and issubclass(branch, BaseModel)
        for name in branch.model_fields
    ]


def _paths(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """The full names of all settings outside lists: ``seed``, ``sae``, ``sae.k`` ..."""
    for name, field in model.model_fields.items():
        yield before + name
        for arm in _arms(field.annotation):
            if isinstance(arm, type) and issubclass(arm, BaseModel):
                yield from _paths(arm, f"{before}{name}.")
