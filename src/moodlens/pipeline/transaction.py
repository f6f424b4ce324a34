"""Commands are transactions: what fails leaves the study as it was, what is killed is finished by the next run.

A run that would replace something works in ``DIR/.next``, a tree of hard links to the study's files: every file is
written by rename, so the links' originals stay untouched. When the last stage is done the folder is renamed to
``DIR/.commit``, which decides it, and its files are moved into place; a kill in between is made good by whoever opens
the study next. A run that only adds what is missing needs none of this and works in the study itself.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from moodlens.core.errors import BadInput
from moodlens.core.files import read_json, write_json
from moodlens.core.inside import is_inside, refuse_links
from moodlens.core.text import reason
from moodlens.study.state import FOLDER, WORK, read_states

NEXT, COMMIT, LOCK, GONE = ".next", ".commit", ".lock", "gone.json"
WORTH_KEEPING = 10.0
"""Seconds of finished stages for which a failed run leaves a folder."""
_OUTSIDE = (NEXT, COMMIT, LOCK, WORK, "steer", "track", "notes.db", "notes.db-wal", "notes.db-shm")
"""Not written by stages, so no part of a transaction."""


class Unwritable(BadInput):
    """A study's folder lies where nothing can be written."""


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Keep every other run out of the folder.

    Raises:
        Unwritable: the lock cannot be written.
        BadInput: another run is at work in it, or a link in it leads out of it.
    """
    from filelock import FileLock, Timeout

    refuse_links(home)

    lock = FileLock(home / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BadInput(f"{home}: another run is at work in it; wait for it or give another --out") from error
    except OSError as error:
        raise Unwritable(f"{home}: cannot be written ({reason(error)})") from error
    try:
        yield
    finally:
        lock.release()


def begin(home: Path, settings: str) -> Path:
    """The folder to work in: what a killed run with the same settings left, or a new tree of links.

    Args:
        settings: study.yaml as it will be.
    """
    work = home / NEXT
    plan = work / "study.yaml"
    if plan.is_file() and plan.read_text(encoding="utf-8") == settings:
        return work
    shutil.rmtree(work, ignore_errors=True)
    for source in home.iterdir():
        if source.name in _OUTSIDE:
            continue
        if source.is_dir():
            shutil.copytree(source, work / source.name, copy_function=_link)
        else:
            work.mkdir(exist_ok=True)
            _link(source, work / source.name)
    work.mkdir(exist_ok=True)
    plan.unlink(missing_ok=True)
    plan.write_text(settings, encoding="utf-8")
    return work


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target)


def abandon(home: Path) -> None:
    """Forget what a failed run made, unless its finished stages took long: then the next run continues there."""
    work = home / NEXT
    if not work.is_dir():
        return
    before = {name: state.began for name, state in read_states(home).items()}
    made = [state for name, state in read_states(work).items() if before.get(name) != state.began]
    if sum(state.seconds for state in made) <= WORTH_KEEPING:
        shutil.rmtree(work, ignore_errors=True)


def clean(home: Path) -> None:
    """Remove what killed runs were writing; to be called by the one that holds the folder."""
    for left in home.rglob(".*.tmp"):
        first = left.relative_to(home).parts[0]
        if first not in (WORK, "steer"):  # others may be at work there
            left.unlink(missing_ok=True)


def drop_units(home: Path, *, all_of_them: bool = False) -> None:
    """Forget finished units of stages that are not finished, unless they took long: then the next run uses them."""
    from moodlens.engine.units import seconds_in

    folder = home / WORK
    if folder.is_dir() and (all_of_them or sum(map(seconds_in, folder.iterdir())) <= WORTH_KEEPING):
        shutil.rmtree(folder, ignore_errors=True)


def commit(home: Path) -> None:
    """Let what was made in ``DIR/.next`` take effect."""
    work = home / NEXT
    gone = sorted({name for state in read_states(home).values() for name in state.files})
    write_json(work / GONE, [name for name in gone if not (work / name).exists()])
    os.rename(work, home / COMMIT)
    finish_commit(home)


def finish_commit(home: Path) -> None:
    """Move the files of a decided transaction into place; nothing to do where there is none."""
    source = home / COMMIT
    if not source.is_dir():
        return
    if (source / GONE).is_file():
        gone = read_json(source / GONE)
        if not isinstance(gone, list) or not all(map(is_inside, gone)):
            raise BadInput(f"{source / GONE}: not what a run wrote; remove {source}")
        for name in gone:
            (home / name).unlink(missing_ok=True)
        for state in (home / FOLDER).glob("*.json"):
            if not (source / FOLDER / state.name).exists() and (source / FOLDER).is_dir():
                state.unlink()
        (source / GONE).unlink()
    for path in sorted(source.rglob("*"), key=lambda path: path.name == "study.yaml"):
        if path.is_file():
            target = home / path.relative_to(source)
            if target.exists() and target.samefile(path):
                continue  # a link to what is there already
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
    for folder in sorted((home / "sae").glob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    shutil.rmtree(source)
