"""A whole training by all processes of a process group, and the checkpoint that the first of them keeps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from moodlens.core import BadInput, Progress, digest, silent
from moodlens.core.threads import one_torch_thread
from moodlens.sae.checkpoint import Checkpoint, tensors_of, without_tensors
from moodlens.sae.history import Epoch
from moodlens.sae.rows import Rows
from moodlens.sae.sliced import Sliced
from moodlens.sae.state import TrainingState
from moodlens.sae.trained import Trained
from moodlens.sae.training import Trainer, prepare
from moodlens.settings.sae import SAESettings


def train_sliced(
    x_train: np.ndarray | Rows,
    x_val: np.ndarray | Rows,
    settings: SAESettings,
    *,
    seed: int,
    checkpoint: Path | None = None,
    on_start: Callable[[int], None] = lambda _: None,
    progress: Progress = silent,
) -> Trained:
    """As :func:`moodlens.sae.training.train`, by all processes of the default process group, each with all arguments.

    Args:
        x_train: ``(n, d_in)`` raw embeddings, or a store that serves them; every process sees all, and reads its slices.
        x_val: held-out rows, likewise.
        settings: ``batch_size`` is that of all processes together.
        seed: decides weights and order.
        checkpoint: as for ``train``. Only the first process reads and writes it; the number of processes may change,
            which changes the order of sums.
        on_start: called with the number of epochs that the checkpoint holds, before the first step.
        progress: called as ``progress("epochs", done, total)``.

    Returns:
        The same in every process.

    Raises:
        BadInput: as ``train``, or a batch has fewer rows than there are processes.
    """
    rows, world = prepare(x_train, x_val), dist.get_world_size()
    resolved = settings.resolve(rows.data.rows, rows.d_in)
    assert resolved.batch_size is not None
    smallest = rows.data.rows // -(-rows.data.rows // resolved.batch_size)
    if smallest < world:
        raise BadInput(
            f"{world} processes share batches of {smallest} rows: raise batch_size, or start at most {smallest}"
        )
    with one_torch_thread():
        trainer, kept = Trainer(rows, settings, seed, stepper=Sliced), None
        if checkpoint is not None and dist.get_rank() == 0:
            kept = Checkpoint(checkpoint, digest("sliced", trainer.key()))
        trainer.state = _of_first(None if kept is None else kept.load(), trainer.state)
        on_start(trainer.state.epoch)
        progress("epochs", trainer.state.epoch, trainer.epochs)

        def after(_: Epoch) -> None:
            progress("epochs", trainer.state.epoch, trainer.epochs)
            if kept is not None:
                kept.save_if_due(trainer.state, last=trainer.finished)

        return trainer.run(after)


def _of_first(found: TrainingState | None, start: TrainingState) -> TrainingState:
    """What the first process ``found``, in all of them; where it found nothing, the ``start`` that all have."""
    sent = [None if found is None else without_tensors(found)]
    dist.broadcast_object_list(sent)
    if sent[0] is None:
        return start
    state = found
    if state is None:
        best = {name: torch.empty_like(p) for name, p in start.parameters.items()}
        groups = {"parameters": start.parameters, "mean": start.mean, "square": start.square, "best": best}
        state = replace(sent[0], **groups, age=start.age, silent=start.silent)
    tensors = tensors_of(state)
    for name in sorted(tensors):
        dist.broadcast(tensors[name], 0)
    return state
