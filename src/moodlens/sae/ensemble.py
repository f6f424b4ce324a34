"""Many SAEs on the same rows: seeds of one setting, or the members of a sweep."""

import time
from collections.abc import Sequence

import numpy as np

from moodlens.engine import BadInput, Progress
from moodlens.engine.progress import silent
from moodlens.sae.config import SAESettings
from moodlens.sae.rows import Rows
from moodlens.sae.training import Trained, Trainer, prepare


def train_many(
    x_train: np.ndarray | Rows,
    x_val: np.ndarray | Rows,
    jobs: Sequence[tuple[SAESettings, int]],
    *,
    progress: Progress | None = None,
) -> list[Trained]:
    """Train one SAE per ``(settings, seed)``, with the same results as training each alone.

    Args:
        x_train, x_val: as for :func:`moodlens.sae.train`; checked and measured once.
        progress: called as ``progress("saes", done, total)``.

    Raises:
        BadInput: as :func:`moodlens.sae.train`, or there are no jobs.
    """
    if not jobs:
        raise BadInput("train_many: no jobs given")
    data, val, standard, d_in = prepare(x_train, x_val)
    resolved = [(settings.resolve(data.rows, d_in), seed) for settings, seed in jobs]
    results = []
    for done, (settings, seed) in enumerate(resolved):
        (progress or silent)("saes", done, len(jobs))
        began = time.monotonic()
        trainer = Trainer(data, val, standard, settings, d_in, seed)
        while not trainer.finished:
            trainer.epoch()
        results.append(trainer.result(time.monotonic() - began))
    (progress or silent)("saes", len(jobs), len(jobs))
    return results
