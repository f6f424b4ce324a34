"""The training loop: one SAE, or many on the same rows.

Results never depend on the number of threads, nor on what is trained beside: torch works with one thread a call, and what
is shared out among more is cut into the same pieces for any number of them.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from threading import Event
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from moodlens.core import BadInput, Progress, digest, silent
from moodlens.core.threads import one_torch_thread, single_threads
from moodlens.sae.checkpoint import Checkpoint
from moodlens.sae.history import Epoch, OnEpoch
from moodlens.sae.left import Left
from moodlens.sae.model import SAE, calibrated_threshold, fold
from moodlens.sae.plain import Given, plan
from moodlens.sae.rows import CHUNK, Rows, Standard, as_rows, check_rows, chunks, measure
from moodlens.sae.state import (
    AUGMENT,
    ORDER,
    TrainingState,
    count_silence,
    dead_features,
    generator,
    initial_state,
    reinitialise,
)
from moodlens.sae.steps import MakeStepper, Plain, make_stepper
from moodlens.sae.trained import Trained
from moodlens.settings.sae import SAESettings

REVIVE_SAMPLE = 4096  # training rows looked at when dead features are aimed anew
BATCH = ("batchtopk", "matryoshka")  # sparse over a batch, so they need a calibrated threshold


def train(
    x_train: np.ndarray | Rows,
    x_val: np.ndarray | Rows,
    settings: SAESettings,
    *,
    seed: int,
    checkpoint: Path | str | None = None,
    on_epoch: OnEpoch | None = None,
    progress: Progress = silent,
    device: str = "cpu",
    plain: bool = False,
) -> Trained:
    """Train one sparse autoencoder on raw embeddings.

    Args:
        x_train: ``(n, d_in)`` raw embeddings, or a store that serves them.
        x_val: ``(n_val, d_in)`` held-out rows; the weights of the epoch that does best on them are kept.
        settings: see :class:`SAESettings`.
        seed: decides the starting weights and the order of the data, both.
        checkpoint: file for the state of training. If it exists training goes on from it, with the same result to the
            last bit as if it had never stopped. It stays when training ends; delete it once the SAE is saved.
        on_epoch: called with each epoch's entry of the history, such as :func:`jsonl_writer`.
        progress: called as ``progress("epochs", done, total)``.
        device: ``cpu`` or ``cuda``. On the CPU as many threads as torch is set to are used; the result is the same.
        plain: take the plain steps of :mod:`moodlens.sae.plain` instead of the fast ones.

    Raises:
        BadInput: rows that are not finite or of the wrong width, no validation rows, settings that do not fit,
            a checkpoint of another run, or a loss that is no longer finite.
    """
    with one_torch_thread() as threads:
        rows = prepare(x_train, x_val)
        trainer = Trainer(rows, settings, seed, device=device, plain=plain, threads=threads)
        kept = None if checkpoint is None else Checkpoint(checkpoint, trainer.key())
        trainer.state = (kept and kept.load()) or trainer.state

        def after(entry: Epoch) -> None:
            if on_epoch is not None:
                on_epoch(entry)
            progress("epochs", trainer.state.epoch, trainer.epochs)
            if kept is not None:
                kept.save_if_due(trainer.state, last=trainer.finished)

        return trainer.run(after)


def train_rest(
    x_train: np.ndarray | Rows,
    x_val: np.ndarray | Rows,
    settings: SAESettings,
    core: SAE,
    *,
    seed: int,
    progress: Progress = silent,
) -> Trained:
    """Train an SAE that reads the rows and rebuilds what fixed features, the ``core``, leave of them.

    :func:`moodlens.sae.consensus.join` makes one SAE of both. Arguments and errors as for :func:`train`.
    """
    with one_torch_thread() as threads:
        rows = prepare(x_train, x_val, core)
        trainer = Trainer(rows, settings, seed, threads=threads)
        return trainer.run(lambda _: progress("epochs", trainer.state.epoch, trainer.epochs))


class _Stopped(Exception):
    """Another member failed, or the user wants no more."""


def train_many(
    x_train: np.ndarray | Rows,
    x_val: np.ndarray | Rows,
    jobs: Sequence[tuple[SAESettings, int]],
    *,
    kept: Mapping[int, Trained] | None = None,
    keep: Callable[[int, Trained], None] | None = None,
    progress: Progress = silent,
    device: str = "cpu",
    plain: bool = False,
) -> list[Trained]:
    """Train one SAE per ``(settings, seed)``, with the same results, to the last bit, as training each alone.

    On the CPU each thread that torch may use trains a member of its own: nothing is shared but the rows, so no thread
    waits for another, and a member that stops early makes room for the next. The last members, fewer than threads, share
    the threads out evenly.

    Args:
        x_train, x_val: as for :func:`train`; checked and measured once.
        jobs: what to train.
        kept: number of a job -> what it gave before; it is not done again.
        keep: called with the number and the result of each job as it is finished, on the thread that did it.
        progress: called as ``progress("saes", done, total)``.
        device, plain: as for :func:`train`.

    Raises:
        BadInput: as :func:`train`, or there are no jobs.
    """
    if not jobs:
        raise BadInput("train_many: no jobs given")
    with one_torch_thread():
        rows = prepare(x_train, x_val)
    for settings, _ in jobs:
        settings.resolve(rows.data.rows, rows.d_in)
    results, stop = dict(kept or {}), Event()
    todo = [job for job in range(len(jobs)) if job not in results]

    def train_one(job: int, threads: int) -> Trained:
        def after(_: Epoch) -> None:
            if stop.is_set():
                raise _Stopped

        trained = Trainer(rows, *jobs[job], device=device, plain=plain, threads=threads).run(after)
        if keep is not None:
            keep(job, trained)
        return trained

    progress("saes", len(results), len(jobs))
    with one_torch_thread() as threads:
        threads = threads if device == "cpu" else 1
        whole = len(todo) - len(todo) % threads
        for members, each in ((todo[:whole], 1), (todo[whole:], threads // max(1, len(todo) - whole))):
            pool = single_threads(threads // each)
            try:
                running = {pool.submit(train_one, job, each): job for job in members}
                for done in as_completed(running):
                    results[running[done]] = done.result()
                    progress("saes", len(results), len(jobs))
            except BaseException:
                stop.set()
                raise
            finally:
                pool.shutdown(cancel_futures=True)
    return [results[job] for job in range(len(jobs))]


class Prepared(NamedTuple):
    """Rows that have been checked, and how they are centred."""

    data: Rows
    val: Rows
    standard: Standard
    d_in: int
    left: Left | None = None  # of the rows by fixed features, to be rebuilt instead of them


def prepare(x_train: np.ndarray | Rows, x_val: np.ndarray | Rows, core: SAE | None = None) -> Prepared:
    """Check both sets and measure the centring, and what a fixed ``core`` leaves."""
    data, val = as_rows(x_train, "x_train"), as_rows(x_val, "x_val")
    d_in = check_rows(data, "x_train")
    check_rows(val, "x_val", d_in)
    standard = measure(data)
    left = None if core is None or core.d_sae == 0 else Left.of(core, standard, data, val)
    return Prepared(data, val, standard, d_in, left)


class Trainer:
    """One SAE in training: ``state`` moves by whole epochs and holds all there is to save."""

    def __init__(
        self,
        rows: Prepared,
        settings: SAESettings,
        seed: int,
        *,
        device: str = "cpu",
        plain: bool = False,
        threads: int = 1,
        stepper: MakeStepper | None = None,
    ) -> None:
        """``stepper`` makes who takes the steps; None: the plain or the fast ones of this process."""
        self.data, self.val, self.standard, d_in, self.left = rows
        if self.left is not None and settings.augment > 0:
            raise BadInput("sae.augment: what a core leaves is known of whole rows only; set it to 0")
        self.settings, self.seed = settings.resolve(self.data.rows, d_in), seed
        assert self.settings.batch_size is not None
        assert self.settings.epochs is not None
        self.epochs = self.settings.epochs
        self.steps_per_epoch = math.ceil(self.data.rows / self.settings.batch_size)
        self.total = self.steps_per_epoch * self.epochs
        self.state: TrainingState = initial_state(self.settings, d_in, seed, self.data, self.standard)
        parts = self.state, self.settings, self.standard
        rates = np.array([plan(self.settings, step, self.total).learning_rate for step in range(self.total)])
        make = Plain if plain else stepper
        self.stepper = make_stepper(*parts, rates, device, threads) if make is None else make(*parts)
        self.val_variance = sum(
            float(np.square(self.standard.apply(block), dtype=np.float64).sum())
            for _, block in chunks(self.val)
        )

    def run(self, after: OnEpoch) -> Trained:
        """Train to the end; ``after`` each epoch is called with its entry of the history."""
        began = time.monotonic()
        while not self.finished:
            after(self.epoch())
        return self.result(time.monotonic() - began)

    @property
    def out_of_patience(self) -> bool:
        return self.state.epoch - 1 - self.state.best_epoch >= self.settings.patience

    @property
    def finished(self) -> bool:
        return self.state.epoch >= self.epochs or self.out_of_patience

    def key(self) -> str:
        """Identifies the run: data, settings and seed."""
        blocks = [block for rows in (self.data, self.val) for _, block in chunks(rows)]
        blocks += [] if self.left is None else [self.left.train, self.left.val]
        return digest(
            "moodlens sae 1", self.settings.model_dump(mode="json"), self.seed, *map(digest, blocks)
        )

    def batch(self, index: np.ndarray) -> Tensor:
        """Standardised rows ``(n, d_in)``, augmented if so set."""
        added = self.differences(len(index), self.state.step)
        return torch.from_numpy(self.standard.batch(self.data, index, added))

    def differences(self, n: int, step: int) -> np.ndarray | None:
        """``(n, d_in)``: for each row, a random multiple of the difference of two training rows, or zero.

        What one prompt says and another does not is a change that a third prompt could have seen too. Drawn by seed
        and step, so that resuming is exact. None if not so set.
        """
        if self.settings.augment == 0:
            return None
        draw = generator(self.seed, AUGMENT, step)
        i, j = draw.integers(0, self.data.rows, (2, n))
        share = self.settings.augment * draw.random(n) * (draw.random(n) < 0.5)
        # The mean cancels in a difference, so that only the scale is left of the standardisation.
        apart = np.asarray(self.data.batch(i) - self.data.batch(j), dtype=np.float32)
        return (share / self.standard.scale).astype(np.float32)[:, None] * apart

    @np.errstate(all="ignore")  # what overflows is said in one line
    def epoch(self) -> Epoch:
        """One pass over the training rows, then validation; returns the history entry."""
        state, settings = self.state, self.settings
        order = generator(self.seed, ORDER, state.epoch).permutation(self.data.rows)
        dead = dead_features(state, settings)
        fired = torch.zeros(state.d_sae, dtype=torch.bool)
        loss = unexplained = active = 0.0
        now, first = plan(settings, state.step, self.total), state.step
        self.stepper.load(state)
        for number, index in enumerate(np.array_split(order, self.steps_per_epoch)):
            now = plan(settings, first + number, self.total)
            added = self.differences(len(index), first + number)
            target = None if self.left is None else self.left.rows(index)
            result = self.stepper.step(self.data, index, now, dead, Given(added, target))
            self._check(result.loss)
            fired |= result.fired
            loss += result.loss * len(index)
            unexplained += result.unexplained * len(index)
            active += result.active
        self.stepper.sync()
        n = self.data.rows
        # A feature that is no number is never active, and so not in the loss.
        self._check(*(float(p.abs().max()) for p in state.parameters.values()))
        count_silence(state, fired)
        dead = dead_features(state, settings)
        reborn = self.revive(dead, done=state.step / self.total)
        val_loss, val_unexplained, val_l0 = self.validate()
        self._check(val_loss)
        entry = Epoch(
            epoch=state.epoch,
            step=state.step,
            loss=loss / n,
            explained_variance=_finite(1 - unexplained / n),
            l0=active / n,
            val_loss=val_loss,
            val_explained_variance=_finite(1 - val_unexplained),
            val_l0=val_l0,
            dead=int(dead.sum()),
            reborn=reborn,
            learning_rate=now.learning_rate,
            sparsity=now.l1 if settings.architecture == "l1" else now.k,
        )
        state.history.append(entry)
        if val_loss < state.best_loss:
            state.best_loss, state.best_epoch = val_loss, state.epoch
            state.best = {name: p.clone() for name, p in state.parameters.items()}
        state.epoch += 1
        return entry

    def _check(self, *values: float) -> None:
        if not all(map(math.isfinite, values)):
            s = self.settings
            raise BadInput(
                f"training diverged in epoch {self.state.epoch}: the loss is no longer finite; lower learning_rate "
                f"({s.learning_rate:g}) or encoder_init_scale ({s.encoder_init_scale:g})"
            )

    def revive(self, dead: Tensor, done: float) -> int:
        """Re-initialise dead features of an ``l1`` SAE, but not once decay has begun: they need time to learn."""
        if self.settings.architecture != "l1" or done >= 1 - self.settings.decay or not bool(dead.any()):
            return 0
        draw = generator(self.seed, ORDER, self.state.epoch + 1)
        index = draw.permutation(self.data.rows)[:REVIVE_SAMPLE]
        target = None if self.left is None else torch.from_numpy(self.left.rows(index))
        batch = self.batch(index), target
        reborn = reinitialise(self.state, dead, *batch, seed=self.seed, epoch=self.state.epoch)
        return len(reborn)

    def validate(self) -> tuple[float, float, float]:
        """``(loss at the final sparsity, unexplained share, L0)`` on the held-out rows.

        The final sparsity, because while it warms up an SAE with more active features would look better.
        """
        settings = self.settings
        self.stepper.load(self.state)
        unexplained = weighted = 0.0
        active = 0
        for start in range(0, self.val.rows, CHUNK):
            index = np.arange(start, min(start + CHUNK, self.val.rows))
            target = None if self.left is None else self.left.val[index]
            errors = self.stepper.errors(self.val, index, settings.k, target)
            unexplained += errors[0]
            active += errors[1]
            weighted += errors[2]
        n = self.val.rows
        loss = unexplained + (settings.l1_coefficient * weighted if settings.architecture == "l1" else 0.0)
        # Where the one held-out row is the train mean there is nothing to explain.
        share = unexplained / self.val_variance if self.val_variance > 0 else math.nan
        return loss / n, share, active / n

    def result(self, seconds: float) -> Trained:
        """Fold and calibrate the best weights."""
        state, settings = self.state, self.settings
        sae = fold(state.best, self.standard, settings, 0.0 if settings.architecture in BATCH else None)
        if sae.threshold is not None:
            sae.threshold.fill_(calibrated_threshold(sae, self.data, settings.k))
        return Trained(
            sae=sae,
            history=list(state.history),
            best_epoch=state.best_epoch,
            stopped="patience" if self.out_of_patience else "epochs",
            seed=self.seed,
            settings=settings,
            standard=self.standard,
            seconds=seconds,
        )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
