"""One piece of work: a function of its arguments alone, whose result is a file under the hash of what decides it.

A unit's file is written under a temporary name, synced and renamed; then its record is, in the same way. It is done if
the record is there and the file has the size that the record says and, where another process or an earlier run wrote it,
the hash. That is the whole rule by which any run goes on, whoever was at work before: this process, a pool, other
machines, or a job of a batch scheduler. Two that do the same unit at once write the same bytes.
"""

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moodlens.core import BadInput, atomic_write, file_sha256, read_json, write_json
from moodlens.core.version import __version__


@dataclass(frozen=True)
class Unit:
    """A piece of work.

    Attributes:
        name: what it is called in messages, such as ``shard 3``.
        key: hash of all that decides the result.
        function: ``function(path, **arguments)`` writes the file and returns facts for the record; of a module, so that
            another process finds it.
        arguments: what the function is given; small, or lying on a disk that all workers see.
        version: of moodlens that asks for it; another one may do it otherwise.
    """

    name: str
    key: str
    function: Callable[..., Mapping[str, float]]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    version: str = __version__


class Done(BaseModel):
    """What was done."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(description="hash of all that decided the result")
    size: int = Field(description="of the file (bytes)")
    sha256: str = Field(description="of the file")
    seconds: float = Field(description="how long it took (s)")
    facts: dict[str, int | float] = Field(
        description="numbers that the function says of its result; `seconds` among them stands above"
    )


def result_path(unit: Unit, folder: Path) -> Path:
    """Where the result of a unit lies."""
    return folder / f"{unit.key}.safetensors"


def done(unit: Unit, folder: Path, *, check: bool = True) -> Done | None:
    """The record of a unit, if its file stands; else None, and it is to be done.

    Args:
        unit: which.
        folder: where results lie.
        check: compare the hash too.
    """
    path = result_path(unit, folder)
    try:
        record = Done.model_validate(read_json(path.with_suffix(".json")))
        if record.key != unit.key or path.stat().st_size != record.size:
            return None
        return record if not check or file_sha256(path) == record.sha256 else None
    except (BadInput, ValidationError, OSError):
        return None


def work(unit: Unit, folder: Path) -> Done:
    """Do a unit, unless it is done; returns its record.

    Raises:
        BadInput: what the unit's function raises, the disk is full, the folder is not seen from here, or the version of
            moodlens is another one.
    """
    from safetensors import SafetensorError

    if not folder.is_dir():
        raise BadInput(
            f"{folder}: not seen from {platform.node()}; all machines must see the study folder under one path"
        )
    if unit.version != __version__:
        raise BadInput(
            f"{platform.node()} has moodlens {__version__}, not {unit.version}; install one version everywhere"
        )
    record = done(unit, folder)
    if record is not None:
        return record
    path, began = result_path(unit, folder), time.perf_counter()
    with atomic_write(path) as tmp:
        try:
            facts = dict(unit.function(tmp, **unit.arguments))
        except SafetensorError as error:  # how it reports a full disk
            raise OSError(str(error)) from error
        record = Done(
            key=unit.key,
            size=tmp.stat().st_size,
            sha256=file_sha256(tmp),
            seconds=facts.pop("seconds", time.perf_counter() - began),
            facts=facts,
        )
    write_json(path.with_suffix(".json"), record.model_dump())
    return record


def seconds_in(folder: Path) -> float:
    """How long the finished units in ``folder`` took (s)."""
    total = 0.0
    for path in folder.glob("*.json"):
        with suppress(BadInput, ValidationError):
            total += Done.model_validate(read_json(path)).seconds
    return total
