"""The clips of a folder, of a steering run or from anywhere: what they are, and their samples."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from moodlens.core import BadInput, read_json
from moodlens.core.sound import is_sound, read_sound, sound_files
from moodlens.steer.clips import read_clip
from moodlens.study.records.steer import CLIPS, Loudness, SteerProgress, SteerRun, SteerShard

if TYPE_CHECKING:
    import polars as pl


Values = Mapping[str, Any]
"""Named numbers, words or vectors of a clip; None where undefined."""


class Facts(BaseModel):
    """What is known of a clip: what its JSON says, which a steering run writes and others need not. Null: unknown."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    file: str = ""
    key: str | None = None
    prompt: str | None = None
    text: str | None = None
    method: str | None = None
    direction: str | None = None
    emotion: str | None = None
    coefficient: float | None = None
    amount: float | None = None
    seed: int | None = None
    loudness: Loudness = Loudness()
    sampling_rate: int | None = None
    samples: int | None = None
    sha256: str | None = None

    def row(self) -> Values:
        """As a row of a table of clips: the loudness has columns of its own, the hash none."""
        return self.model_dump(exclude={"loudness", "sha256"}) | self.loudness.model_dump()


@dataclass(frozen=True)
class Clip:
    """One sound file and what is known of it.

    Attributes:
        path: of the sound file.
        facts: what its JSON says.
        reference: the unsteered clip of the same prompt and seed; None where there is none. An unsteered clip is its
            own reference.
    """

    path: Path
    facts: Facts = field(default_factory=Facts)
    reference: "Clip | None" = None

    @cached_property
    def _read(self) -> tuple[np.ndarray, int]:
        return read_sound(self.path)

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self._read[1]

    @property
    def mono(self) -> np.ndarray:
        """``(samples,)`` float32, channels averaged."""
        return self._read[0].mean(axis=0)

    @property
    def prompt(self) -> str | None:
        """The neutral text the clip started from, where its JSON says so."""
        return self.facts.prompt


def is_run(folder: Path | str) -> bool:
    """Whether ``folder`` is a steering run, and not any folder of sounds with a file of that name in it."""
    folder = Path(folder)
    return (folder / SteerRun.file).is_file() and (
        (folder / CLIPS).is_dir() or not any(map(is_sound, folder.iterdir()))
    )


def check_whole(folder: Path | str) -> None:
    """Raise BadInput where a steering run was begun in ``folder`` and not ended, or is one of several shards."""
    folder = Path(folder)
    if (folder / SteerRun.file).is_file() or not (folder / CLIPS).is_dir():
        return
    if (folder / SteerShard.file).is_file():
        raise BadInput(f"{folder}: is a shard of a run; put all shards together first: moodlens merge")
    if (folder / SteerProgress.file).is_file():
        raise BadInput(
            f"{folder}: this steering run is not finished; run the same steer again, which goes on"
        )


def run_clips(out: Path | str) -> tuple[Path, tuple[str, ...]]:
    """The clips folder of a run and the keys that belong to it.

    Raises:
        BadInput: ``out`` is not a steering run.
    """
    out = Path(out)
    if not (out / SteerRun.file).is_file():
        raise BadInput(
            f"{out}: not a finished steering run (no {SteerRun.file}); make one with: moodlens steer"
        )
    return out / CLIPS, SteerRun.read(out).clips


def folder_clips(folder: Path | str, keys: Sequence[str] | None = None) -> list[Clip]:
    """The clips of a folder, sorted by file, each with its reference.

    Args:
        folder: holds sound files; a JSON file beside one says what it is, as ``moodlens steer`` writes them.
        keys: these clips of a run alone, each of which must be there, unchanged.

    Raises:
        BadInput: there is no sound file, a clip of ``keys`` is missing or changed, or a JSON file is none of a clip's.
    """
    folder = Path(folder)
    clips = [Clip(folder / f.file, f) for f in (_facts(folder) if keys is None else _run_facts(folder, keys))]
    plain = {(clip.prompt, clip.facts.seed): clip for clip in clips if clip.facts.method == "none"}
    return [Clip(c.path, c.facts, plain.get((c.prompt, c.facts.seed))) for c in clips]


def read_clips(folder: Path | str, keys: Sequence[str] | None = None) -> "pl.DataFrame":
    """The facts of :func:`folder_clips` as a table, one row a clip."""
    return clip_table(folder_clips(folder, keys))


def clip_table(clips: Sequence[Clip]) -> "pl.DataFrame":
    """The facts of ``clips``, one row each."""
    import polars as pl

    kinds = {str | None: pl.String, float | None: pl.Float64, int | None: pl.Int64, str: pl.String}
    fields = {**Facts.model_fields, **Loudness.model_fields}
    schema = {
        name: kinds[field.annotation] for name, field in fields.items() if name not in ("loudness", "sha256")
    }
    return pl.DataFrame([clip.facts.row() for clip in clips], schema=schema)


def _run_facts(folder: Path, keys: Sequence[str]) -> list[Facts]:
    facts = []
    for key in sorted(set(keys)):
        clip = read_clip(folder, key)
        if clip is None:
            raise BadInput(
                f"{folder / key}.wav: missing, or not as the run wrote it; run the same steering again to make it"
            )
        facts.append(Facts.model_validate(clip.model_dump()))
    return facts


def _facts(folder: Path) -> list[Facts]:
    files = sound_files(folder)
    stems = Counter(file.stem for file in files)
    facts = []
    for file in files:
        beside = file.with_name(f"{file.stem}.json")
        known = _read_facts(beside, file) if beside.is_file() else Facts()
        if stems[file.stem] > 1 and beside.is_file() and known.file != file.name:
            if not known.file:
                raise BadInput(
                    f"{beside}: may be about {stems[file.stem]} sound files; name one of them in it (file)"
                )
            known = Facts()
        # A hash that nobody checked says nothing of the sound.
        facts.append(known.model_copy(update={"file": file.name, "sha256": None}))
    return facts


def _read_facts(path: Path, sound: Path) -> Facts:
    cure = f"mend it, or move it away to score {sound.name} without it"
    try:
        value = read_json(path)
    except BadInput as error:
        raise BadInput(f"{error}; {cure}") from error
    if not isinstance(value, dict):
        raise BadInput(
            f"{path}: says nothing of {sound.name} (expected names such as prompt, method); {cure}"
        )
    try:
        return Facts.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Input ").removesuffix(" or instance of Loudness")
        raise BadInput(f"{path}: {place} of {sound.name} {message}; {cure}") from error
