"""Threads for compiled loops and for torch's products.

What a loop or a product gives never depends on how many threads there are: a loop computes each of its elements from
start to end on one thread, and products are cut into the same pieces for any number of threads.
"""

import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np


class ThreadTeam:
    """Threads that share loops; their kernels must let go of the interpreter lock."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = single_threads(self.threads - 1) if self.threads > 1 else None

    def each(self, job: Callable[[int], Any], n: int) -> None:
        """Call ``job(i)`` for ``i`` in ``0..n``; a thread that is done takes the next."""
        left = iter(range(n))

        def work() -> None:
            for i in left:
                job(i)

        others = [self._pool.submit(work) for _ in range(min(self.threads, n) - 1)] if self._pool else []
        try:
            work()
        finally:
            wait(others)
        for other in others:
            other.result()

    def parallel_for(
        self, kernel: Callable[..., Any], n: int, *args: Any, weight: np.ndarray | None = None
    ) -> None:
        """Call ``kernel(lo, hi, *args)`` on parts of ``0..n``, one a thread.

        Args:
            kernel: a compiled loop.
            n: how many elements.
            args: for every call.
            weight: ``(n + 1,)``, work done before each element, rising, to make the parts equally heavy.
        """
        parts = min(self.threads, n)
        if parts < 2:
            kernel(0, n, *args)
            return
        if weight is None:
            edges = np.linspace(0, n, parts + 1).astype(np.int64)
        else:
            edges = np.searchsorted(weight, weight[-1] * np.arange(parts + 1) / parts)
            edges[0], edges[-1] = 0, n
        ranges = list(itertools.pairwise(edges.tolist()))
        self.each(lambda part: kernel(*ranges[part], *args), parts)


def single_threads(n: int) -> ThreadPoolExecutor:
    """A pool of ``n`` threads in which torch keeps to one thread a call.

    It must be said in each: a new thread takes what any thread has set last, and its first product, before torch has
    looked, as many threads as the process may have.
    """
    return ThreadPoolExecutor(n, initializer=_alone)


def _alone() -> None:
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


class _BlasLimits:
    """The limits that are held on numpy's BLAS, whose threads belong to the whole process: the least one counts.

    threadpoolctl alone does not do. Its limits are put back in the order in which blocks end, which is not that of two
    threads; and from version 3.8 only the first thread to set one has any effect, the others are ignored in silence.
    """

    def __init__(self) -> None:
        self._lock, self._held, self._before = Lock(), list[int](), dict[str, int]()

    def take(self, n: int) -> None:
        with self._lock:
            self._held.append(n)
            self._apply()

    def release(self, n: int) -> None:
        with self._lock:
            self._held.remove(n)
            self._apply()

    def _apply(self) -> None:
        from threadpoolctl import ThreadpoolController

        for library in ThreadpoolController().select(user_api="blas").lib_controllers:
            before = self._before.setdefault(library.filepath, library.num_threads)
            let_go = getattr(library, "clear_controlling_thread", None)
            if let_go is not None:
                let_go(force=True)
            library.set_num_threads(min(self._held) if self._held else before)
            if let_go is not None:
                let_go()
        if not self._held:
            self._before.clear()


_BLAS = _BlasLimits()


@contextmanager
def blas_limit(n: int) -> Iterator[None]:
    """Keep numpy's BLAS to ``n`` threads a call, in the whole process, or to fewer where another block asks for fewer.

    Blocks may be entered and left by several threads in any order.
    """
    _BLAS.take(n)
    try:
        yield
    finally:
        _BLAS.release(n)


@contextmanager
def one_torch_thread() -> Iterator[int]:
    """Keep torch to one thread a call, and yield how many it had.

    Its own threads spin on after a product and take the cores that a :class:`ThreadTeam` works on; and a product cut by
    the number of threads would depend on it in the last bit. Threads started inside inherit the limit. The same holds of
    numpy's BLAS, which is limited too.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with blas_limit(1):
            yield threads
    finally:
        torch.set_num_threads(threads)
