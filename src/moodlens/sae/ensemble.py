"""Many SAEs on the same rows: seeds of one setting, or the members of a sweep."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
import torch

from moodlens.core import BadInput, Progress
from moodlens.core.progress import silent
from moodlens.sae.rows import Rows
from moodlens.sae.training import Trained, Trainer, prepare
from moodlens.settings.sae import SAESettings


def train_many(
    x_train: np.ndarray | Rows,
    x_val: np.ndarray | Rows,
    jobs: Sequence[tuple[SAESettings, int]],
    *,
    progress: Progress | None = None,
    device: str = "cpu",
    plain: bool = False,
) -> list[Trained]:
    """Train one SAE per ``(settings, seed)``, with the same results as training each alone.

    On the CPU each thread that torch may use trains a member of its own: nothing is shared but the rows, so no thread
    waits for another, and a member that stops early makes room for the next. What is left over at the end, fewer
    members than threads, is trained one after another with all threads.

    Args:
        x_train, x_val: as for :func:`moodlens.sae.train`; checked and measured once.
        progress: called as ``progress("saes", done, total)``.
        device, plain: as for :func:`moodlens.sae.train`.

    Raises:
        BadInput: as :func:`moodlens.sae.train`, or there are no jobs.
    """
    if not jobs:
        raise BadInput("train_many: no jobs given")
    data, val, standard, d_in = prepare(x_train, x_val)
    resolved = [(settings.resolve(data.rows, d_in), seed) for settings, seed in jobs]
    threads = torch.get_num_threads()

    def one(job: int, threads: int) -> Trained:
        settings, seed = resolved[job]
        began = time.monotonic()
        trainer = Trainer(
            data, val, standard, settings, d_in, seed, device=device, plain=plain, threads=threads
        )
        while not trainer.finished:
            trainer.epoch()
        return trainer.result(time.monotonic() - began)

    report, results = progress or silent, {}
    report("saes", 0, len(jobs))
    side_by_side = len(jobs) - len(jobs) % threads if device == "cpu" else 0
    if threads > 1 and side_by_side:
        torch.set_num_threads(
            1
        )  # inherited by the workers: two teams of two threads would fight over two cores
        pool = ThreadPoolExecutor(threads)
        try:
            running = {pool.submit(one, job, 1): job for job in range(side_by_side)}
            for done in as_completed(running):
                results[running[done]] = done.result()
                report("saes", len(results), len(jobs))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)
    for job in range(len(jobs)):
        if job not in results:
            results[job] = one(job, threads)
            report("saes", len(results), len(jobs))
    return [results[job] for job in range(len(jobs))]
