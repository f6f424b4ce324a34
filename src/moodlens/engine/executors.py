"""Who does units: this process, processes beside it, a Ray cluster, or this job of a batch scheduler for its share."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import Field

from moodlens.core import BadInput
from moodlens.engine.units import Done, Unit, done, work
from moodlens.settings.engine import EngineSettings


class Executor(Protocol):
    """Does units, in any order."""

    @property
    def here(self) -> bool:
        """Units run in this process and may be given what cannot leave it."""
        ...

    def each(self, units: Sequence[Unit], folder: Path) -> Iterator[tuple[int, Done]]:
        """The number and record of every unit, as they are done; those that were done before come first."""
        ...


class Share(EngineSettings):
    """The engine of one of several jobs that share the units: it does every ``of``-th and leaves the rest."""

    number: int = Field(ge=1, description="this job, from 1")
    of: int = Field(ge=1, description="jobs (count)")


class ShareDone(Exception):
    """A share is done. What depends on the units of other jobs is left to a run after all of them."""

    def __init__(self, own: int, ready: int, total: int) -> None:
        super().__init__(f"{own} of {total} units are this job's; {ready} of {total} are done by now")
        self.own, self.ready, self.total = own, ready, total


class Here:
    """One after another, in this process."""

    here = True

    def each(self, units: Sequence[Unit], folder: Path) -> Iterator[tuple[int, Done]]:
        folder.mkdir(parents=True, exist_ok=True)
        for i, unit in enumerate(units):
            yield i, work(unit, folder)


class Pool:
    """Processes on this machine, each with its own share of the cores."""

    here = False

    def __init__(self, settings: EngineSettings) -> None:
        self.threads, self._retries = settings.threads, settings.retries
        self.workers = settings.workers or max(1, available_cores() // settings.threads)

    def each(self, units: Sequence[Unit], folder: Path) -> Iterator[tuple[int, Done]]:
        from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        left, finished = split_done(units, folder)
        yield from finished
        lost = 0
        while left:
            pool = ProcessPoolExecutor(
                min(self.workers, len(left)),
                mp_context=get_context("spawn"),
                initializer=_begin_worker,
                initargs=(self.threads,),
            )
            running: dict[Any, int] = {}
            try:
                while left or running:
                    while left and len(running) < 2 * self.workers:
                        running[pool.submit(work_with, self.threads, units[left[0]], folder)] = left[0]
                        del left[0]
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        record = future.result()
                        yield running.pop(future), record
            except BrokenProcessPool as error:
                lost += 1
                left = sorted([*left, *running.values()])
                if lost > self._retries:
                    raise BadInput(
                        f"workers died {lost} times, last at {units[left[0]].name} (out of memory?); what is done is kept: "
                        "give fewer engine.workers and run again"
                    ) from error
            except BaseException:
                for process in list((pool._processes or {}).values()):
                    process.terminate()  # what it was at is not worth waiting for
                raise
            finally:
                pool.shutdown(cancel_futures=True)


class ShareOf:
    """Every ``of``-th unit, on the cores of this machine; then :class:`ShareDone`."""

    here = False

    def __init__(self, settings: Share) -> None:
        self._number, self._of, self._pool = settings.number, settings.of, Pool(settings)

    def each(self, units: Sequence[Unit], folder: Path) -> Iterator[tuple[int, Done]]:
        own = units[self._number - 1 :: self._of]
        if self._pool.workers == 1:
            for i in split_done(own, folder)[0]:
                work_with(self._pool.threads, own[i], folder)
        else:
            for _ in self._pool.each(own, folder):
                pass
        ready = sum(done(unit, folder, check=False) is not None for unit in units)
        raise ShareDone(len(own), ready, len(units))
        yield  # a generator like the others


def split_done(units: Sequence[Unit], folder: Path) -> tuple[list[int], list[tuple[int, Done]]]:
    """Numbers of the units that are left, and those that are done with their records."""
    folder.mkdir(parents=True, exist_ok=True)
    records = [done(unit, folder) for unit in units]
    finished = [(i, record) for i, record in enumerate(records) if record is not None]
    return [i for i, record in enumerate(records) if record is None], finished


def available_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work_with(threads: int, unit: Unit, folder: Path) -> Done:
    """:func:`moodlens.engine.units.work` on so many threads."""
    from moodlens.core.threads import blas_limit

    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    if torch is not None:
        torch.set_num_threads(threads)
    try:
        with blas_limit(threads):
            return work(unit, folder)
    finally:
        if torch is not None:
            torch.set_num_threads(before)


def _begin_worker(threads: int) -> None:
    """Leave interruptions to the process that asked, and end with it however it ends."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for libraries that are not loaded yet
    import signal
    import threading
    from multiprocessing import connection, parent_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
