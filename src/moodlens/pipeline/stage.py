"""A stage: one function with its name, its needs, its slice of the settings and what it says when it is done.

Its key, its summary and the advice to make its files anew follow from the one declaration; its verb from its line in
:data:`moodlens.pipeline.flow.FLOW`::

    @stage("pairs", needs=("features",), section=lambda s: s.validation.pairs, summary=pairs_summary)
    def pairs(study: Study, settings: PairSettings, progress: Progress) -> Iterable[str]: ...

A stage is given what its key hashes and nothing else: the study it gets reads only the files of its needs (and of
what these need), its settings are the section, and files outside the folder are those it declares as inputs.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from moodlens.core.files import digest
from moodlens.core.progress import Progress
from moodlens.core.version import __version__
from moodlens.settings.study import Settings
from moodlens.study.state import StageRecord, Stamp, stamp
from moodlens.study.study import Study

Summary = tuple[Mapping[str, object], list[str]]
"""What a verb prints: one JSON object, and lines for people."""
Work = Callable[[Study, Any, Progress], Iterable[str]]


@dataclass(frozen=True)
class Stage:
    """One arrow of the flow."""

    name: str
    work: Work
    """``work(study, section, progress)`` writes the files and returns their paths in the study folder."""
    needs: tuple[str, ...]
    section: Callable[[Settings], BaseModel | None]
    """The part of the settings that the stage is given and its key hashes."""
    inputs: Callable[[Any, Path], list[Path]]
    """``inputs(section, home)``: files outside the stages' own that it reads, some of which may not be there."""
    wide: bool
    """Keeps every core busy by itself, so it runs alone. Others run two at a time."""
    summary: Callable[[Study], Summary]
    labels: bool
    """Asks of labels, so there is nothing to do in a study of ratings alone."""


NO_LABELS = "no text of this study has a label, so this is not asked"


def _no_inputs(section: Any, home: Path) -> list[Path]:
    return []


def stage(
    name: str,
    *,
    summary: Callable[[Study], Summary],
    needs: tuple[str, ...] = (),
    section: Callable[[Settings], BaseModel | None] = lambda settings: None,
    inputs: Callable[[Any, Path], list[Path]] = _no_inputs,
    wide: bool = False,
    labels: bool = False,
) -> Callable[[Work], Stage]:
    """Declare the decorated function as a stage.

    A stage that asks of ``labels`` leaves no file, and says so, where no text has one.
    """

    def said(study: Study) -> Summary:
        return summary(study) if study.emotions or not labels else ({"asked": False}, [NO_LABELS])

    def declare(work: Work) -> Stage:
        return Stage(name, work, needs, section, inputs, wide, said, labels)

    return declare


def key_part(model: BaseModel | None) -> Any:
    """A section as what decides the result: without fields marked ``json_schema_extra={"in_key": False}``.

    Such fields say where something is (its content is hashed instead) or how long to wait for it.
    """
    if isinstance(model, BaseModel):
        return {
            name: key_part(getattr(model, name))
            for name, field in type(model).model_fields.items()
            if not isinstance(field.json_schema_extra, dict) or field.json_schema_extra.get("in_key", True)
        }
    if isinstance(model, (list, tuple)):
        return [key_part(item) for item in model]
    if isinstance(model, dict):
        return {name: key_part(item) for name, item in model.items()}
    if isinstance(model, float) and model.is_integer():
        return int(model)  # a default written 8 is read back as 8.0
    return model


@dataclass(frozen=True)
class Plan:
    """What the settings ask for."""

    keys: Mapping[str, str]
    inputs: Mapping[str, Mapping[str, Stamp]]
    """Stage -> absolute path -> what the file is now."""


def plan(
    settings: Settings, home: Path, stages: tuple[Stage, ...], states: Mapping[str, StageRecord]
) -> Plan:
    """The key of every stage: a hash of its section, its outside files and the keys of its needs.

    An outside file that is gone counts as it was when the stage read it, and so do all of them where none can be named: a
    finished study does not fall when a table or an encoder is moved away. One that the stage never read counts for
    nothing, so that a mistyped name is not taken for the file that was read before.
    """
    keys: dict[str, str] = {}
    inputs: dict[str, dict[str, Stamp]] = {}
    for each in stages:  # needs come first
        section = each.section(settings)
        known = states[each.name].inputs if each.name in states else {}
        paths = each.inputs(section, home)
        gone = all(str(path) in known and not path.is_file() for path in paths)
        stamps: dict[str, Stamp] = dict(known) if gone else {}
        for path in paths:
            seen = known.get(str(path))
            if path.is_file():
                stamps[str(path)] = stamp(path, seen)
            elif seen is not None:
                stamps[str(path)] = seen
        hashes = [file_stamp.sha256 for file_stamp in stamps.values()]
        keys[each.name] = digest(
            __version__, each.name, key_part(section), [keys[name] for name in each.needs], hashes
        )
        inputs[each.name] = stamps
    return Plan(keys, inputs)


def needed(stages: tuple[Stage, ...], name: str) -> set[str]:
    """The stages whose files ``name`` may read: its needs and all that these need, without itself."""
    by_name = {each.name: each for each in stages}
    names: set[str] = set()
    todo = list(by_name[name].needs)
    while todo:
        need = todo.pop()
        if need not in names:
            names.add(need)
            todo.extend(by_name[need].needs)
    return names


def dependents(stages: tuple[Stage, ...], name: str) -> list[str]:
    """``name`` and every stage that reads what it leaves, directly or through others, in order."""
    names = [name]
    for each in stages:
        if not set(names).isdisjoint(each.needs):
            names.append(each.name)
    return names
