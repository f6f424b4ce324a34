"""Stages side by side, on threads: each starts when what it needs is done, and never more than there are cores for.

Most of a stage is products and loops of numpy, which let go of the interpreter lock. A *wide* stage keeps every core
busy by itself and runs alone; two of the others run at a time, on half of the cores each and one thread of BLAS. They
get no more when they are alone: their products are small, threads that wait for each other after each cost more than
they bring, and what a stage finds must not depend on its company.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol

from moodlens.core import Progress
from moodlens.core.threads import blas_limit

MOST = 2
"""Stages at once. More would hold more arrays in memory, and little is left to run beside two."""
_SWITCH = 0.0005
"""Seconds after which a thread hands the interpreter on. With Python's 0.005, a stage of many short calls of numpy
would wait that long after each of them while the other one runs plain Python."""
_HEAVY = (
    "torch",
    "polars",
    "scipy.stats",
    "scipy.optimize",
    "sklearn.linear_model",
    "sklearn.model_selection",
)
"""Loaded before two stages run: limits on threads reach only what is loaded, and these import each other in circles,
which two threads must not do at once."""


class Task(Protocol):
    """What :func:`run_all` needs to know of a stage."""

    @property
    def name(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def wide(self) -> bool: ...


class Stopped(Exception):
    """Raised inside a stage, at its next report of progress, after the run was interrupted."""


def cores() -> int:
    """Cores that a study may use: ``OMP_NUM_THREADS``, else those this process may run on."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(tasks: Sequence[Task], do: Callable[[str, Progress], None], progress: Progress) -> None:
    """Call ``do(name, progress)`` for every task after those it needs; needs outside ``tasks`` are met already.

    An error stops the run: a task that is at work beside it is finished, no other is started, and the error is raised.
    An interruption does not wait: what runs beside it stops at its next report of progress.

    Args:
        tasks: in an order in which they could run one by one.
        do: does one. Wide tasks are done on the calling thread.
        progress: is called by one thread at a time.
    """
    n_cores = cores()
    if not tasks or n_cores < MOST:
        scheduler = _Scheduler(tasks, do, progress)
        scheduler.work()
        if scheduler.errors:
            raise scheduler.errors[0]
        return
    with _limits(n_cores):
        scheduler = _Scheduler(tasks, do, progress, n_cores)
        # A daemon: Ctrl-C must not wait for it. Files are renamed when they are whole, so none is left half-written.
        helpers = [
            threading.Thread(target=scheduler.work, kwargs={"wide": False}, name=f"stages-{i}", daemon=True)
            for i in range(1, min(MOST, sum(not task.wide for task in tasks)))
        ]
        for helper in helpers:
            helper.start()
        try:
            scheduler.work()
            for helper in helpers:
                helper.join()
        except BaseException as error:  # Ctrl-C comes here while this thread waits
            scheduler.stop(error)
            raise
    if scheduler.errors:
        raise scheduler.errors[0]


class _Scheduler:
    """The tasks that are left, those at work, and what went wrong. Without ``n_cores``, one thread does everything."""

    def __init__(
        self,
        tasks: Sequence[Task],
        do: Callable[[str, Progress], None],
        progress: Progress,
        n_cores: int | None = None,
    ) -> None:
        self.left, self.at_work = list(tasks), list[Task]()
        self.errors: list[BaseException] = []
        self._do, self._progress, self._n_cores = do, progress, n_cores
        self._changed, self._telling, self._loading = (
            threading.Condition(),
            threading.Lock(),
            threading.Lock(),
        )

    def work(self, *, wide: bool = True) -> None:
        """Do tasks as long as there are any that may start, on the calling thread. Errors are kept in ``errors``."""
        while (task := self._take(wide=wide)) is not None:
            try:
                self._one(task)
            except BaseException as error:
                self._done(task, error)
                if wide and not isinstance(error, Exception):
                    raise
            else:
                self._done(task)

    def stop(self, error: BaseException) -> None:
        """Start nothing more."""
        with self._changed:
            if error not in self.errors:
                self.errors.append(error)
            self._changed.notify_all()

    def _take(self, *, wide: bool) -> Task | None:
        """Wait for a task that may start and mark it as at work; None when there is nothing more to start."""
        with self._changed:
            while self.left and not self.errors:
                task = self._ready()
                if task is not None and (wide or not task.wide):
                    self.left.remove(task)
                    self.at_work.append(task)
                    return task
                self._changed.wait()
            return None

    def _ready(self) -> Task | None:
        if any(task.wide for task in self.at_work):
            return None
        unfinished = {task.name for task in (*self.left, *self.at_work)}
        ready = [task for task in self.left if unfinished.isdisjoint(task.needs)]
        # Wide ones first, so that the others find company later.
        wide = [task for task in ready if task.wide]
        if wide:
            return None if self.at_work else wide[0]
        return ready[0] if ready else None

    def _one(self, task: Task) -> None:
        if self._n_cores is None:
            self._do(task.name, self._report)
        elif task.wide:
            _take_cores(self._n_cores)
            self._do(task.name, self._report)
        else:
            with self._loading:
                for name in _HEAVY:
                    import_module(name)
            _take_cores(self._n_cores // MOST)
            with blas_limit(1):
                self._do(task.name, self._report)

    def _report(self, what: str, done: int, total: int) -> None:
        if any(not isinstance(error, Exception) for error in self.errors):
            raise Stopped
        with self._telling:
            self._progress(what, done, total)

    def _done(self, task: Task, error: BaseException | None = None) -> None:
        with self._changed:
            self.at_work.remove(task)
            if error is not None:
                self.errors.append(error)
            self._changed.notify_all()


@contextmanager
def pool() -> Iterator[Callable[..., Iterable[Any]]]:
    """``map`` for a wide stage: on :data:`MOST` threads that share the cores, with one thread of BLAS."""
    n_cores = cores()
    if n_cores < MOST:
        yield map
        return
    each = n_cores // MOST
    with (
        _limits(n_cores),
        blas_limit(1),
        ThreadPoolExecutor(MOST, initializer=_take_cores, initargs=(each,)) as threads,
    ):
        _take_cores(each)
        yield threads.map


def shared_map(function: Callable[..., Any], *items: Iterable[Any]) -> list[Any]:
    """``list(map(...))`` on a :func:`pool` of its own: what runs before and after it has all the threads."""
    with pool() as each:
        return list(each(function, *items))


def _take_cores(n: int) -> None:
    """Let OpenMP and torch start ``n`` threads in a call from this thread."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(n, user_api="openmp")
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(n)


@contextmanager
def _limits(n_cores: int) -> Iterator[None]:
    """Put back, at the end, what :func:`_take_cores` sets and how often threads take turns."""
    from threadpoolctl import threadpool_limits

    interval, torch = sys.getswitchinterval(), sys.modules.get("torch")
    threads = n_cores if torch is None else torch.get_num_threads()
    sys.setswitchinterval(_SWITCH)
    try:
        with threadpool_limits(n_cores, user_api="openmp"), blas_limit(n_cores):
            try:
                yield
            finally:
                _take_cores(n_cores)  # also for what was loaded meanwhile
    finally:
        sys.setswitchinterval(interval)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
