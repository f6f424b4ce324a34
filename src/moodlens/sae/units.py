"""SAEs as units of work: each is trained by whoever is free, from a store that all workers see, and kept until it is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moodlens.core import Progress, digest, read_json, silent
from moodlens.core.threads import one_torch_thread
from moodlens.embed.store import EmbeddingStore
from moodlens.engine import Executor, Unit, done, work
from moodlens.engine.units import result_path
from moodlens.sae.rows import ArrayRows, Rows
from moodlens.sae.trained import Trained, load_trained, save_trained
from moodlens.sae.training import Prepared, Trainer, prepare, train_many
from moodlens.settings.sae import SAESettings

Job = tuple[SAESettings, int]
"""Settings and seed."""


@dataclass(frozen=True)
class StoreRows:
    """Some rows of a store, by number, as rows to train on."""

    store: EmbeddingStore
    numbers: np.ndarray
    """(n,) int64; one that stands twice counts twice."""

    @property
    def rows(self) -> int:
        return len(self.numbers)

    def batch(self, row_indices: np.ndarray) -> np.ndarray:
        return self.store.batch(self.numbers[row_indices])


@dataclass(frozen=True)
class Source:
    """Training and validation rows as any worker finds them."""

    folder: Path
    """of the store, absolute; all workers see it"""
    train: np.ndarray
    """(n,) row numbers"""
    val: np.ndarray
    """(n_val,) row numbers"""
    memory: float
    """GiB of rows that a process may hold"""

    @property
    def key(self) -> str:
        """What decides the rows: the content of the store and their numbers."""
        return digest(read_json(self.folder / "manifest.json").get("shards"), self.train, self.val)

    def rows(self) -> tuple[Rows, Rows]:
        """Both; held in memory where they fit."""
        store = EmbeddingStore.open(self.folder)
        n_bytes = (len(self.train) + len(self.val)) * 4 * (store.d_in or 0)
        fits = n_bytes <= self.memory * 2**30
        parts = (StoreRows(store, numbers) for numbers in (self.train, self.val))
        train, val = (ArrayRows(part.store.batch(part.numbers)) if fits else part for part in parts)
        return train, val


class Units:
    """Trains SAEs with an executor; what is done is kept in ``folder``.

    Args:
        executor: who trains.
        folder: where finished SAEs lie.
        source: the rows.
    """

    def __init__(self, executor: Executor, folder: Path, source: Source) -> None:
        self._executor, self._folder, self._source = executor, folder, source

    def train(
        self,
        x_train: np.ndarray | Rows,
        x_val: np.ndarray | Rows,
        jobs: Sequence[Job],
        *,
        progress: Progress = silent,
    ) -> list[Trained]:
        """As :func:`moodlens.sae.training.train_many`, which this process takes; others read the rows from the store.

        Args:
            x_train, x_val: the rows of the source.
            jobs: settings and seed of each.
            progress: called as ``progress("saes", done, total)``.
        """
        units = self._units(jobs)
        if not self._executor.here:
            train_units([(self, jobs)], progress)
            return [load_trained(result_path(unit, self._folder)) for unit in units]
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = {
            i: load_trained(result_path(unit, self._folder))
            for i, unit in enumerate(units)
            if done(unit, self._folder) is not None
        }

        def keep(i: int, trained: Trained) -> None:
            work_unit = units[i]
            work(Unit(work_unit.name, work_unit.key, _keep, {"trained": trained}), self._folder)

        return train_many(x_train, x_val, jobs, kept=kept, keep=keep, progress=progress)

    def _units(self, jobs: Sequence[Job]) -> list[Unit]:
        rows, n = self._source.key, len(self._source.train)
        d_in = EmbeddingStore.open(self._source.folder, verify=False).d_in or 0
        return [
            Unit(
                f"SAE {i + 1}",
                digest("sae 1", rows, settings.resolve(n, d_in).model_dump(mode="json"), seed),
                train_unit,
                {"source": self._source, "settings": settings, "seed": seed},
            )
            for i, (settings, seed) in enumerate(jobs)
        ]


def train_units(wanted: Sequence[tuple[Units, Sequence[Job]]], progress: Progress = silent) -> None:
    """Have the SAEs of several sources trained side by side; what is finished is found again by :meth:`Units.train`."""
    units = [unit for units_of_source, jobs in wanted for unit in units_of_source._units(jobs)]
    first = wanted[0][0]
    progress("saes", 0, len(units))
    for n, _ in enumerate(first._executor.each(units, first._folder), 1):
        progress("saes", n, len(units))


def train_unit(path: Path, *, source: Source, settings: SAESettings, seed: int) -> Mapping[str, float]:
    """The work of a unit: train one SAE and write all of it to ``path``."""
    rows = _prepared(source)
    with one_torch_thread() as threads:
        trained = Trainer(rows, settings, seed, threads=threads).run(lambda _: None)
    save_trained(trained, path)
    return {"seconds": trained.seconds}


def _keep(path: Path, *, trained: Trained) -> Mapping[str, float]:
    save_trained(trained, path)
    return {}


_held: dict[str, Prepared] = {}


def _prepared(source: Source) -> Prepared:
    """Once a process for each set of rows, of which one is held: they are read, checked and measured."""
    key = digest(source.key, str(source.folder), source.memory)
    if key not in _held:
        _held.clear()
        _held[key] = prepare(*source.rows())
    return _held[key]
