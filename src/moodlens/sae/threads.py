"""Compiled loops on several threads: the range is cut in parts, one a thread."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class Crew:
    """Calls ``kernel(lo, hi, *args)`` on parts of ``0..n`` at once; the kernels let go of the interpreter lock."""

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None

    def run(self, kernel: Callable[..., Any], n: int, *args: Any, weight: np.ndarray | None = None) -> None:
        """Work on ``0..n``. ``weight`` ``(n + 1,)``: work done before each item, rising, to make parts equally heavy."""
        parts = min(self.threads, n)
        if self._pool is None or parts < 2:
            kernel(0, n, *args)
            return
        if weight is None:
            edges = np.linspace(0, n, parts + 1).astype(np.int64)
        else:
            edges = np.searchsorted(weight, weight[-1] * np.arange(parts + 1) / parts)
            edges[0], edges[-1] = 0, n
        jobs = [
            self._pool.submit(kernel, int(lo), int(hi), *args) for lo, hi in itertools.pairwise(edges[1:])
        ]
        kernel(0, int(edges[1]), *args)
        for job in jobs:
            job.result()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep torch to one thread a call: its own threads would spin on after it and take our threads' cores."""
        threads = torch.get_num_threads()
        if self._pool is None or threads == 1:
            yield
            return
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
