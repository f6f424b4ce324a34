"""The training loop: one SAE, or many on the same rows.

Results never depend on the number of threads, nor on what is trained beside: torch works with one thread a call, and what
is shared out among more is cut into the same pieces for any number of them.
"""

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from moodlens.core import BadInput, Progress, digest
from moodlens.core.progress import silent
from moodlens.core.threads import one_torch_thread
from moodlens.sae.files import load_state, save_state
from moodlens.sae.model import SAE, calibrated_threshold, fold
from moodlens.sae.plain import plan
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
from moodlens.sae.steps import Plain, make_stepper
from moodlens.settings.sae import SAESettings

OnEpoch = Callable[[dict[str, Any]], None]
REVIVE_SAMPLE = 4096  # training rows looked at when dead features are aimed anew


@dataclass(frozen=True)
class Trained:
    """A finished SAE and how it came to be."""

    sae: SAE
    history: list[dict[str, Any]]  # one dict an epoch
    best_epoch: int  # the epoch whose weights these are, counted from 0
    stopped: Literal["epochs", "patience"]
    seed: int
    settings: SAESettings  # resolved
    standard: Standard  # centring and scale, already folded into the weights
    seconds: float


CHECKPOINT_SECONDS = 30.0
"""Least time between two checkpoints."""


def train(
    x_train: np.ndarray | Rows,
    x_val: np.ndarray | Rows,
    settings: SAESettings,
    *,
    seed: int,
    checkpoint: Path | str | None = None,
    on_epoch: OnEpoch | None = None,
    progress: Progress | None = None,
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
    began = time.monotonic()
    data, val, standard, d_in = prepare(x_train, x_val)
    settings = settings.resolve(data.rows, d_in)
    with one_torch_thread() as threads:
        trainer = Trainer(
            data, val, standard, settings, d_in, seed, device=device, plain=plain, threads=threads
        )
        key = trainer.key() if checkpoint is not None else ""
        if checkpoint is not None and Path(checkpoint).exists():
            trainer.state = load_state(checkpoint, key)
        saved = time.monotonic()
        while not trainer.finished:
            entry = trainer.epoch()
            if on_epoch is not None:
                on_epoch(entry)
            (progress or silent)("epochs", trainer.state.epoch, trainer.epochs)
            if checkpoint is not None and (
                trainer.finished or time.monotonic() - saved >= CHECKPOINT_SECONDS
            ):
                save_state(trainer.state, checkpoint, key)
                saved = time.monotonic()
        return trainer.result(time.monotonic() - began)


def train_many(
    x_train: np.ndarray | Rows,
    x_val: np.ndarray | Rows,
    jobs: Sequence[tuple[SAESettings, int]],
    *,
    progress: Progress | None = None,
    device: str = "cpu",
    plain: bool = False,
) -> list[Trained]:
    """Train one SAE per ``(settings, seed)``, with the same results, to the last bit, as training each alone.

    On the CPU each thread that torch may use trains a member of its own: nothing is shared but the rows, so no thread
    waits for another, and a member that stops early makes room for the next. What is left over at the end, fewer
    members than threads, is trained one after another with all threads.

    Args:
        x_train, x_val: as for :func:`train`; checked and measured once.
        jobs: what to train.
        progress: called as ``progress("saes", done, total)``.
        device, plain: as for :func:`train`.

    Raises:
        BadInput: as :func:`train`, or there are no jobs.
    """
    if not jobs:
        raise BadInput("train_many: no jobs given")
    data, val, standard, d_in = prepare(x_train, x_val)
    resolved = [(settings.resolve(data.rows, d_in), seed) for settings, seed in jobs]
    report, results = progress or silent, dict[int, Trained]()

    def train_one(job: int, threads: int) -> Trained:
        settings, seed = resolved[job]
        began = time.monotonic()
        trainer = Trainer(
            data, val, standard, settings, d_in, seed, device=device, plain=plain, threads=threads
        )
        while not trainer.finished:
            trainer.epoch()
        return trainer.result(time.monotonic() - began)

    report("saes", 0, len(jobs))
    with one_torch_thread() as threads:
        side_by_side = len(jobs) - len(jobs) % threads if device == "cpu" and threads > 1 else 0
        pool = ThreadPoolExecutor(threads)
        try:
            running = {pool.submit(train_one, job, 1): job for job in range(side_by_side)}
            for done in as_completed(running):
                results[running[done]] = done.result()
                report("saes", len(results), len(jobs))
        finally:
            pool.shutdown(cancel_futures=True)
        for job in range(side_by_side, len(jobs)):
            results[job] = train_one(job, threads)
            report("saes", len(results), len(jobs))
    return [results[job] for job in range(len(jobs))]


def prepare(x_train: np.ndarray | Rows, x_val: np.ndarray | Rows) -> tuple[Rows, Rows, Standard, int]:
    """Check both sets and measure the centring: ``(train rows, validation rows, standard, d_in)``."""
    data, val = as_rows(x_train, "x_train"), as_rows(x_val, "x_val")
    d_in = check_rows(data, "x_train")
    check_rows(val, "x_val", d_in)
    return data, val, measure(data), d_in


class Trainer:
    """One SAE in training: ``state`` moves by whole epochs and holds all there is to save."""

    def __init__(
        self,
        data: Rows,
        val: Rows,
        standard: Standard,
        settings: SAESettings,
        d_in: int,
        seed: int,
        *,
        device: str = "cpu",
        plain: bool = False,
        threads: int = 1,
    ) -> None:
        assert settings.batch_size is not None
        assert settings.epochs is not None
        self.data, self.val, self.standard, self.settings, self.seed = data, val, standard, settings, seed
        self.epochs = settings.epochs
        self.steps_per_epoch = math.ceil(data.rows / settings.batch_size)
        self.state: TrainingState = initial_state(settings, d_in, seed, data, standard)
        total = self.steps_per_epoch * self.epochs
        rates = np.array([plan(settings, step, total).learning_rate for step in range(total)])
        self.stepper = (
            Plain(self.state, settings, standard)
            if plain
            else make_stepper(self.state, settings, standard, rates, device, threads)
        )
        self.val_variance = sum(
            float(np.square(standard.apply(block), dtype=np.float64).sum()) for _, block in chunks(val)
        )

    @property
    def out_of_patience(self) -> bool:
        return self.state.epoch - 1 - self.state.best_epoch >= self.settings.patience

    @property
    def finished(self) -> bool:
        return self.state.epoch >= self.epochs or self.out_of_patience

    def key(self) -> str:
        """Identifies the run: data, settings and seed."""
        blocks = [block for rows in (self.data, self.val) for _, block in chunks(rows)]
        return digest(
            "moodlens sae 1", self.settings.model_dump(mode="json"), self.seed, *map(digest, blocks)
        )

    def batch(self, index: np.ndarray) -> Tensor:
        """Standardised rows ``(n, d_in)``, augmented if so set; reading in row order is kinder to stores."""
        rows = self.standard.apply(self.data.batch(np.sort(index)))
        added = self.differences(len(rows), self.state.step)
        return torch.from_numpy(rows if added is None else rows + added)

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
    def epoch(self) -> dict[str, Any]:
        """One pass over the training rows, then validation; returns the history entry."""
        state, settings = self.state, self.settings
        order = generator(self.seed, ORDER, state.epoch).permutation(self.data.rows)
        total = self.steps_per_epoch * self.epochs
        dead = dead_features(state, settings)
        fired = torch.zeros(state.d_sae, dtype=torch.bool)
        loss = unexplained = active = 0.0
        now = plan(settings, state.step, total)
        first = state.step
        self.stepper.load(state)
        for number, index in enumerate(np.array_split(order, self.steps_per_epoch)):
            now = plan(settings, first + number, total)
            added = self.differences(len(index), first + number)
            result = self.stepper.step(self.data, index, now, dead, added)
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
        reborn = self.revive(dead, done=state.step / total)
        val_loss, val_unexplained, val_l0 = self.validate()
        self._check(val_loss)
        entry = {
            "epoch": state.epoch,
            "step": state.step,
            "loss": loss / n,
            "explained_variance": 1 - unexplained / n,
            "l0": active / n,
            "val_loss": val_loss,
            "val_explained_variance": 1 - val_unexplained,
            "val_l0": val_l0,
            "dead": int(dead.sum()),
            "reborn": reborn,
            "learning_rate": now.learning_rate,
            "sparsity": now.l1 if settings.architecture == "l1" else now.k,
        }
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
        reborn = reinitialise(
            self.state, dead, self.batch(index), self.settings, seed=self.seed, epoch=self.state.epoch
        )
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
            found = self.stepper.errors(self.val, index, settings.k)
            unexplained += found[0]
            active += found[1]
            weighted += found[2]
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


BATCH = ("batchtopk", "matryoshka")  # sparse over a batch, so they need a calibrated threshold
