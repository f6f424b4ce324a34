"""Run a study: its stages in order, each skipped where nothing it depends on has changed."""

import platform
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from moodlens.core.errors import BadInput
from moodlens.core.files import atomic_write
from moodlens.core.progress import Progress, silent
from moodlens.pipeline import tracking, transaction
from moodlens.pipeline.opened import OpenStudy
from moodlens.pipeline.schedule import run_all
from moodlens.pipeline.stage import Plan, Stage, dependents, needed, plan
from moodlens.pipeline.tracking import check_tracker, track
from moodlens.settings.base import to_yaml
from moodlens.settings.study import Settings, with_absolute_paths
from moodlens.study.state import (
    WORK,
    StageRecord,
    read_states,
    record_path,
    stamp_files,
    standing,
    write_state,
)
from moodlens.study.study import Study


def provenance() -> dict[str, str | None]:
    """The versions a result depends on."""
    packages = ("moodlens", "torch", "numpy", "scipy", "scikit-learn", "polars", "transformers")
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


class _Order(NamedTuple):
    """What :func:`run` was called for."""

    stages: tuple[Stage, ...]
    settings: Settings
    out: Path
    until: str | None
    force: bool


class _Asked(NamedTuple):
    """What settings ask of a study folder."""

    planned: Plan
    todo: list[Stage]
    text: str
    """study.yaml as it will be."""
    same_settings: bool
    """study.yaml says the same already, or there is none."""
    nothing: bool
    """Every file is as it should be."""


def run(
    settings: Settings,
    out: Path | str,
    *,
    until: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> OpenStudy:
    """Run a study into the folder ``out`` and return it.

    Either all of it takes effect or, where a stage fails, the study in ``out`` stays as it was; what was finished
    before a failure or a kill is used by the next run with the same settings. A study that has all that is asked for may
    lie where nothing can be written.

    Args:
        settings: what to run. Relative paths are made absolute, so that the folder may be used from anywhere.
        out: the study folder; made if absent, continued if present.
        until: the last stage to run, with all it needs; None runs everything.
        force: run ``until`` (or everything) again although nothing changed.
        progress: told which stage is at work and how far it is.

    Raises:
        BadInput: ``until`` is not a stage, another run is at work in ``out``, something is to be done there and it cannot
            be written, or some input cannot be used.
    """
    from moodlens.pipeline.stages import STAGES

    names = [each.name for each in STAGES]
    if until is not None and until not in names:
        raise BadInput(f"unknown stage {until!r}; known: {', '.join(names)}")
    out = Path(out)
    fresh = _claim(out)
    settings = with_absolute_paths(settings)
    order = _Order(STAGES, settings, out, until, force)
    try:
        check_tracker(settings.track)
        try:
            with transaction.locked(out):
                _run_locked(order, progress)
        except transaction.Unwritable as error:
            left = _left(order)
            if left:
                raise BadInput(
                    f"{error}, and there is left to do: {left}; copy the study to where it can be"
                ) from error
    except BaseException:
        if fresh and not read_states(out):
            shutil.rmtree(out, ignore_errors=True)
        raise
    return OpenStudy.open(out)


def _run_locked(order: _Order, progress: Progress) -> None:
    settings, out = order.settings, order.out
    transaction.finish_commit(out)
    before = _marks(out)
    transaction.clean(out)
    try:
        _run_stages(order, progress)
    except BaseException:
        transaction.drop_units(out)
        raise
    transaction.drop_units(out, all_of_them=order.until is None)
    if _marks(out) != before:
        track(Study(out), settings, out / tracking.FOLDER)


def _marks(out: Path) -> tuple[str, dict[str, float]]:
    """What changes whenever a run does anything: the settings, and when each stage began."""
    return _settings_text(out), {name: record.began for name, record in read_states(out).items()}


def _claim(out: Path) -> bool:
    """Make the folder if it is not there; returns whether it was not.

    Raises:
        BadInput: it is a file, or holds other things than a study.
    """
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out}: is a file; give a folder")
    if out.is_dir():
        known = ("study.yaml", transaction.COMMIT, transaction.LOCK)
        others = [path.name for path in out.iterdir() if path.name not in known]
        if others and not any((out / name).exists() for name in known):
            raise BadInput(
                f"{out}: holds files but no study.yaml; give an empty folder or an earlier study's"
            )
        return not others and not any((out / name).exists() for name in known)
    try:
        out.mkdir(parents=True)
    except OSError as error:
        raise BadInput(f"{out}: cannot make this folder: {error.strerror}") from error
    return True


def _ask(order: _Order) -> _Asked:
    stages, settings, out, until, force = order
    states = read_states(out)
    planned = plan(settings, out, stages, states)
    todo = _todo(stages, planned, out, states, until, force)
    text = to_yaml(settings.model_dump(mode="json") | {"provenance": provenance()})
    there = (out / "study.yaml").is_file()
    same_settings = not there or _settings_text(out) == _without_provenance(text)
    return _Asked(planned, todo, text, same_settings, not todo and same_settings and there)


def _left(order: _Order) -> str:
    """What a run would have to write, in words; empty where that is nothing."""
    if (order.out / transaction.COMMIT).is_dir():
        return "move what a killed run made into place"
    asked = _ask(order)
    if asked.nothing:
        return ""
    if asked.todo:
        return ", ".join(each.name for each in asked.todo)
    return "change study.yaml"


def _run_stages(order: _Order, progress: Progress) -> None:
    stages, settings, out, until, force = order
    from moodlens.pipeline.stages.imported import refuse_inside

    planned, todo, text, same_settings, nothing = _ask(order)
    if nothing:
        return  # a run that changes nothing leaves every file as it was
    refuse_inside(settings.imported, out)
    states = read_states(out)
    replaces = any(each.name in states for each in todo)
    if not replaces and same_settings:
        _do(stages, todo, planned, settings, out, out, text, progress)
        return
    work = transaction.begin(out, text)
    try:
        todo = _todo(stages, planned, work, read_states(work), until, force and not _continued(out, work))
        _do(stages, todo, planned, settings, work, out, text, progress)
    except BaseException:
        transaction.abandon(out)
        raise
    transaction.commit(out)


def _continued(out: Path, work: Path) -> bool:
    """Whether ``work`` holds stages that a killed run has finished."""
    before = {name: record.began for name, record in read_states(out).items()}
    return any(before.get(name) != record.began for name, record in read_states(work).items())


def _without_provenance(text: str) -> str:
    return text.partition("\nprovenance:")[0]


def _settings_text(folder: Path) -> str:
    try:
        return _without_provenance((folder / "study.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return ""


def _todo(
    stages: tuple[Stage, ...],
    planned: Plan,
    folder: Path,
    states: Mapping[str, StageRecord],
    until: str | None,
    force: bool,
) -> list[Stage]:
    """The stages to run, in order: what is asked for and does not stand, and what reads the files of those."""
    wanted = {each.name for each in stages} if until is None else needed(stages, until) | {until}
    todo: list[Stage] = []
    for each in stages:
        if each.name not in wanted:
            continue
        again = force and (until is None or each.name == until)
        again = again or any(other.name in each.needs for other in todo)
        if again or standing(folder, each.name, states, planned.keys).state != "done":
            todo.append(each)
    return todo


def _do(
    stages: tuple[Stage, ...],
    todo: list[Stage],
    planned: Plan,
    settings: Settings,
    folder: Path,
    home: Path,
    text: str,
    progress: Progress,
) -> None:
    """Run ``todo`` in ``folder``; study.yaml is written with the first stage that is done."""
    study = Study(folder, home=home, keys=planned.keys, memory=settings.engine.memory)
    by_name = {each.name: each for each in todo}

    def do(name: str, progress: Progress) -> None:
        each = by_name[name]
        before = read_states(folder).get(name)
        # Made anew under the same key, what was read from it is not told from what will be; under another it is.
        same = before is not None and before.key == planned.keys[name]
        for later in dependents(stages, name) if same else (name,):
            record_path(folder, later).unlink(missing_ok=True)
        study.forget(dependents(stages, name))
        readable = needed(stages, name)
        view = study.limited_to({*readable, name})
        began, start = time.time(), time.perf_counter()
        if each.labels and not settings.emotions:
            files: Iterable[str] = ()
            for left in before.files if before is not None else ():  # by the same study when it had labels
                (folder / left).unlink(missing_ok=True)
        else:
            files = each.work(view, each.section(settings), progress)
        record = StageRecord(
            key=planned.keys[name],
            needs={need: planned.keys[need] for need in sorted(readable)},
            files=stamp_files(folder, set(files)),
            inputs=dict(planned.inputs[name]),
            seconds=round(time.perf_counter() - start, 2),
            began=round(began, 2),
        )
        write_state(folder, name, record)
        _write_settings(folder, text)
        shutil.rmtree(home / WORK / name, ignore_errors=True)

    run_all(todo, do, progress)
    _write_settings(folder, text)


def _write_settings(folder: Path, text: str) -> None:
    path = folder / "study.yaml"
    if not path.is_file() or path.read_bytes() != text.encode():
        with atomic_write(path) as tmp:
            tmp.write_text(text, encoding="utf-8")
