"""Threads for compiled loops and for torch's products.

What a loop or a product gives never depends on how many threads there are: a loop computes each of its elements from
start to end on one thread, and products are cut into the same pieces for any number of threads.
"""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import numpy as np


class ThreadTeam:
    """Threads that share loops; their kernels must let go of the interpreter lock."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

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


@contextmanager
def one_torch_thread() -> Iterator[int]:
    """Keep torch to one thread a call, and yield how many it had.

    Its own threads spin on after a product and take the cores that a :class:`ThreadTeam` works on; and a product cut by
    the number of threads would depend on it in the last bit. Threads started inside inherit the limit. The same holds of
    numpy's BLAS, which is limited too.
    """
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield threads
    finally:
        torch.set_num_threads(threads)
