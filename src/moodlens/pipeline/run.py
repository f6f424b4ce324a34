"""Run a study: its stages in order, each skipped where nothing it depends on has changed."""

import platform
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import moodlens
from moodlens.core import BadInput, Progress, digest, read_json, silent
from moodlens.pipeline.schedule import run_all
from moodlens.settings.study import Settings
from moodlens.study.study import Study


@dataclass(frozen=True)
class Stage:
    """One arrow of the flow: what it reads, which settings decide it, and the files it leaves."""

    name: str
    needs: tuple[str, ...]
    settings: Callable[[Settings], Any]
    work: Callable[[Study, Progress], Iterable[str]]
    """Writes the files and returns their paths relative to the study folder."""
    wide: bool = False
    """Keeps every core busy by itself, so it runs alone. Others run two at a time (:mod:`moodlens.pipeline.schedule`)."""


def keys(study: Settings, stages: tuple[Stage, ...]) -> dict[str, str]:
    """Stage name -> hash of its settings and of the keys of what it needs (stages come in order)."""
    found: dict[str, str] = {}
    for stage in stages:
        found[stage.name] = digest(
            moodlens.__version__, stage.name, stage.settings(study), [found[name] for name in stage.needs]
        )
    return found


def provenance() -> dict[str, Any]:
    """The versions a result depends on."""
    packages = ("moodlens", "torch", "numpy", "scipy", "scikit-learn", "polars", "transformers")
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        **versions,
    }


def run(
    study: Settings,
    out: Path | str,
    *,
    until: str | None = None,
    force: bool = False,
    progress: Progress = silent,
) -> Study:
    """Run ``study`` into the folder ``out`` and return it.

    Args:
        study: what to run.
        out: the study folder; made if absent, continued if present.
        until: the last stage to run, with all it needs; None runs everything.
        force: run ``until`` (or everything) again although nothing changed.
        progress: told which stage is at work and how far it is.

    Raises:
        BadInput: ``until`` is not a stage, or some input cannot be used.
    """
    from moodlens.pipeline.stages_table import STAGES

    names = [stage.name for stage in STAGES]
    if until is not None and until not in names:
        raise BadInput(f"unknown stage {until!r}; known: {', '.join(names)}")
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out}: is a file; give a folder")
    if out.is_dir() and any(out.iterdir()) and not (out / "study.yaml").is_file():
        raise BadInput(f"{out}: holds files but no study.yaml; give an empty folder or an earlier study's")
    folder = Study(out, study)
    folder.write_settings(provenance())
    wanted = _wanted(STAGES, until)
    key_of = keys(study, STAGES)
    by_name = {stage.name: stage for stage in STAGES}
    todo: list[Stage] = []
    for stage in STAGES:
        redo = force and (until is None or stage.name == until)
        # What reads the files of a stage that runs has to run after it.
        redo = redo or any(other.name in stage.needs for other in todo)
        if stage.name in wanted and (redo or not folder.is_done(stage.name, key_of[stage.name])):
            todo.append(stage)

    def do(name: str, progress: Progress) -> None:
        folder.forget(_dependents(STAGES, name))
        began, start = time.time(), time.perf_counter()
        files = list(by_name[name].work(folder, progress))
        folder.mark_done(name, key_of[name], files, time.perf_counter() - start, began)

    run_all(todo, do, progress)
    return folder


def _wanted(stages: tuple[Stage, ...], until: str | None) -> set[str]:
    by_name = {stage.name: stage for stage in stages}
    if until is None:
        return set(by_name)
    found: set[str] = set()
    todo = [until]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo.extend(by_name[name].needs)
    return found


def _dependents(stages: tuple[Stage, ...], first: str) -> list[str]:
    """``first`` and every stage that reads what it leaves, directly or through others (stages come in order)."""
    found = [first]
    for stage in stages:
        if not set(found).isdisjoint(stage.needs):
            found.append(stage.name)
    return found


def stage_states(folder: Study) -> dict[str, str]:
    """Stage name -> done, stale or missing."""
    from moodlens.pipeline.stages_table import STAGES

    key_of = keys(folder.study, STAGES)
    states = {}
    for stage in STAGES:
        record = folder.path / ".stages" / f"{stage.name}.json"
        if not record.is_file():
            states[stage.name] = "missing"
        else:
            states[stage.name] = "done" if read_json(record)["key"] == key_of[stage.name] else "stale"
    return states
