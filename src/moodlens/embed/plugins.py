"""Encoders that others bring: a Python function, or a package with an entry point in the group ``moodlens.encoders``.

An entry point names ``load(name: str)``, given what stands behind the colon of ``encoder.id`` (``""`` where there is
none), which returns a function from a list of texts to their rows, (n, d_in). The function may have attributes:
``revision`` (str: what changes when its results do; without one the package's version), ``max_length`` (what it reads at
once), ``count`` (texts -> their lengths in tokens; without one lengths are in characters) and ``unit`` (bool: rows have
norm 1).
"""

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from moodlens.core import BadInput
from moodlens.embed.checkpoint import Functional

GROUP = "moodlens.encoders"
_OWN: dict[str, Functional] = {}
_RESERVED = frozenset({"api", "precomputed", "minilm", "t5", "musicgen", "t5gemma", "clap", "hf", "st"})


def add_encoder(
    name: str,
    function: Callable[[list[str]], Any],
    *,
    revision: str,
    max_length: int | None = None,
    count: Callable[[list[str]], list[int]] | None = None,
    unit: bool = False,
) -> None:
    """Make a Python function an encoder of this process: ``encoder.id`` is then ``name``.

    Args:
        name: letters, digits, ``-`` and ``_``; not one of moodlens' own kinds.
        function: a list of texts -> their rows, (n, d_in); given 256 texts at most.
        revision: change it whenever the function's results change: a study is checked against it.
        max_length: of what the function reads at once; longer texts are given in parts. None: any length.
        count: texts -> their lengths, in tokens; None: lengths are in characters.
        unit: whether its rows have norm 1.

    Raises:
        BadInput: the name cannot be used, the revision is empty, or nothing could be read at once.
    """
    if not name.replace("-", "").replace("_", "").isalnum() or name in _RESERVED:
        raise BadInput(f"encoder {name!r}: give it letters, digits, - and _, and none of moodlens' own names")
    if not revision:
        raise BadInput(f"encoder {name}: needs a revision, which changes when its results do")
    if max_length is not None and max_length < 1:
        raise BadInput(
            f"encoder {name}: max_length is {max_length}; expected a number from 1, or None for any length"
        )
    _OWN[name] = Functional(function, revision, unit=unit, max_length=max_length, count=count, brought=True)


def names() -> set[str]:
    """Encoders that were added, or that installed packages bring."""
    return {*_OWN, *(point.name for point in entry_points(group=GROUP))}


def known(name: str) -> bool:
    """Whether there is such a plug-in."""
    return name in _OWN or _point(name) is not None


def load(label: str, name: str, argument: str) -> Functional:
    """The plug-in ``name``, given what stands behind the colon.

    Raises:
        BadInput: there is none, or it cannot be loaded.
    """
    if name in _OWN:
        if argument:
            raise BadInput(f"{label}: was added as a function, which takes no argument; write {name}")
        return _OWN[name]
    point = _point(name)
    if point is None:
        raise BadInput(f"{label}: no package brings an encoder of this name")
    try:
        function = point.load()(argument)
    except BadInput:
        raise
    except Exception as error:  # other people's code raises of every kind
        raise BadInput(f"{label}: {point.value} cannot be loaded: {error or type(error).__name__}") from error
    if not callable(function):
        raise BadInput(f"{label}: {point.value} gave a {type(function).__name__}, not a function of texts")
    version = point.dist.version if point.dist is not None else "unknown"
    return Functional(
        function,
        str(getattr(function, "revision", None) or f"{point.value} {version}"),
        unit=bool(getattr(function, "unit", False)),
        max_length=getattr(function, "max_length", None),
        count=getattr(function, "count", None),
        brought=True,
    )


def _point(name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=GROUP, name=name)), None)
