"""What is done in a study folder: for each finished stage the key it was made for and the content of its files.

``.stages/NAME.json`` holds a :class:`StageRecord`. A stage stands while its key and the content of its files do:
sizes and times are compared first, hashes where they differ, so that a copy of a study is not made anew and a
file that was swapped, edited or cut short is noticed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from moodlens.core.errors import BadInput
from moodlens.core.files import file_sha256, read_json, write_json
from moodlens.core.inside import is_inside
from moodlens.study.record import Part

FOLDER = ".stages"
WORK = ".work"
"""In the study's own folder: WORK/STAGE holds the finished units of a stage that is not finished."""


class Stamp(Part):
    """What a file was when it was last looked at."""

    size: int = Field(description="bytes")
    mtime_ns: int = Field(description="last change, nanoseconds since 1970")
    sha256: str = Field(description="of its bytes")


class StageRecord(Part):
    """A finished stage."""

    key: str = Field(
        description="hash of the stage's settings, of the outside files it read and of the keys of its needs"
    )
    needs: dict[str, str] = Field(description="stage -> its key, for every stage whose files were read")
    files: dict[str, Stamp] = Field(description="path in the study folder -> what was written")
    inputs: dict[str, Stamp] = Field(description="absolute path -> what was read from outside the folder")
    seconds: float = Field(description="how long it took (s)")
    began: float = Field(description="when it began, seconds since 1970")

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, Stamp]) -> dict[str, Stamp]:
        # A run removes files that a stage no longer writes, so no name may lead out of the folder.
        if not all(map(is_inside, files)):
            raise ValueError("a file outside the study's folder")
        return files


def stamp(path: Path, known: Stamp | None = None) -> Stamp:
    """Look at a file; where size and time are as ``known``, its hash is taken from there."""
    status = path.stat()
    if known is not None and (status.st_size, status.st_mtime_ns) == (known.size, known.mtime_ns):
        return known
    return Stamp(size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=file_sha256(path))


def record_path(folder: Path, stage: str) -> Path:
    """Where the record of ``stage`` is."""
    return folder / FOLDER / f"{stage}.json"


def read_states(folder: Path) -> dict[str, StageRecord]:
    """The records in a study folder. One that cannot be read counts as absent: its stage is made anew."""
    states = {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        try:
            states[path.stem] = StageRecord.model_validate(read_json(path))
        except (BadInput, ValidationError):
            continue
    return states


def write_state(folder: Path, stage: str, record: StageRecord) -> None:
    """Mark a stage as finished."""
    write_json(record_path(folder, stage), record.model_dump())


def stamp_files(folder: Path, files: Iterable[str]) -> dict[str, Stamp]:
    """Stamps of the files that a stage has just written."""
    return {name: stamp(folder / name) for name in sorted(files)}


def changed_files(folder: Path, record: StageRecord, *, deep: bool = False) -> dict[str, str]:
    """File -> what is wrong with it, for every file of a stage that is not as the stage left it.

    Args:
        deep: compare hashes even where size and time are the same.
    """
    faults = {}
    for name, written in record.files.items():
        path = folder / name
        if not path.is_file():
            faults[name] = "missing"
        elif path.stat().st_size != written.size:
            faults[name] = f"{path.stat().st_size} bytes, not {written.size}"
        elif stamp(path, None if deep else written).sha256 != written.sha256:
            faults[name] = "changed"
    return faults


@dataclass(frozen=True)
class Standing:
    """Whether the files of a stage can be believed."""

    stage: str
    state: str
    """done, missing (never finished), outdated (settings or what it reads have changed) or damaged (its files have)."""
    faults: Mapping[str, str]
    """File -> what is wrong, where damaged."""


def standing(
    folder: Path,
    stage: str,
    states: Mapping[str, StageRecord],
    keys: Mapping[str, str] | None,
    *,
    deep: bool = False,
) -> Standing:
    """Whether ``stage`` is finished, for these settings, and its files are as it left them.

    Args:
        states: of :func:`read_states`.
        keys: stage -> the key that the study's settings ask for; None: any, as long as the chain holds.
    """
    record = states.get(stage)
    if record is None:
        own = record_path(folder, stage)
        broken = {f"{FOLDER}/{own.name}": "not readable"} if own.is_file() else {}
        return Standing(stage, "damaged" if broken else "missing", broken)
    chain = all(name in states and states[name].key == key for name, key in record.needs.items())
    if not chain or (keys is not None and keys.get(stage, record.key) != record.key):
        return Standing(stage, "outdated", {})
    faults = changed_files(folder, record, deep=deep)
    return Standing(stage, "damaged" if faults else "done", faults)


def seconds(states: Mapping[str, StageRecord]) -> dict[str, float]:
    """How long each finished stage took, in the order in which they began."""
    return {name: record.seconds for name, record in sorted(states.items(), key=lambda item: item[1].began)}


def elapsed(states: Mapping[str, StageRecord]) -> float:
    """Seconds in which any of the finished stages was at work; stages that ran side by side count once."""
    total, end = 0.0, float("-inf")
    for record in sorted(states.values(), key=lambda record: record.began):
        begin, stop = max(record.began, end), record.began + record.seconds
        total += max(stop - begin, 0.0)
        end = max(end, stop)
    return round(total, 2)
