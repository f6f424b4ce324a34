"""A study folder: where its files are, which stages are done, and the arrays the stages share.

Each finished stage leaves ``.stages/NAME.json`` with the key it was made for: a hash of its settings and of the
keys of the stages it reads. A stage is done when its key is unchanged and its files are there. Starting a stage
first removes its record and those of all that depends on it, so a killed run never mistakes old results for new.
"""

import threading
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, atomic_write, read_json, read_table, write_json
from moodlens.settings.base import to_yaml
from moodlens.settings.study import Settings, read_study

if TYPE_CHECKING:
    import polars as pl

    from moodlens.sae import SAE
    from moodlens.validate.readouts import Panel


_ARRAYS_OF = {"prompts": ("prompts", "labels", "groups", "splits", "kinds", "texts"), "embed": ("x",)}
"""Stage -> the cached arrays that come from its files."""


class Study:
    """Paths and cached arrays of one study. Stages that run side by side share it."""

    def __init__(self, path: Path | str, study: Settings):
        self.path = Path(path)
        self.study = study
        self._codes: dict[str, np.ndarray] = {}
        self._saes: dict[str, SAE] = {}
        self._panel: Panel | None = None
        self._reading = threading.RLock()  # what takes long or much memory is made once, not once a thread

    @classmethod
    def open(cls, path: Path | str, changes: Iterable[str] = ()) -> "Study":
        """Open an existing study folder.

        Raises:
            BadInput: it is not one.
        """
        path = Path(path)
        if not (path / "study.yaml").is_file():
            raise BadInput(
                f"{path}: not a study folder (no study.yaml); make one with: moodlens run --out {path}"
            )
        return cls(path, read_study(path / "study.yaml", list(changes)))

    # -- settings and stage records ------------------------------------------------------------------------------

    def write_settings(self, provenance: dict) -> None:
        """Write study.yaml: the settings in full, and the versions they ran with."""
        values = self.study.model_dump(mode="json") | {"provenance": provenance}
        text = to_yaml(values)
        path = self.path / "study.yaml"
        if path.is_file() and path.read_bytes() == text.encode():
            return  # a run that changes nothing leaves every file as it was
        with atomic_write(path) as tmp:
            tmp.write_text(text, encoding="utf-8")

    def _record(self, stage: str) -> Path:
        return self.path / ".stages" / f"{stage}.json"

    def is_done(self, stage: str, key: str) -> bool:
        """Whether ``stage`` was finished for this ``key`` and all its files are still there."""
        if not self._record(stage).is_file():
            return False
        record = read_json(self._record(stage))
        return record["key"] == key and all((self.path / file).exists() for file in record["files"])

    def mark_done(
        self, stage: str, key: str, files: Iterable[str], seconds: float, began: float | None = None
    ) -> None:
        """Record that ``stage`` is finished; ``began``: when, in seconds since 1970."""
        record = {"key": key, "files": sorted(files), "seconds": round(seconds, 2)}
        if began is not None:
            record["began"] = round(began, 2)
        write_json(self._record(stage), record)

    def forget(self, stages: Iterable[str]) -> None:
        """Remove the records of ``stages``, and the arrays read from their files."""
        stages = set(stages)
        for stage in stages:
            self._record(stage).unlink(missing_ok=True)
        with self._reading:
            for stage, names in _ARRAYS_OF.items():
                if stage in stages:
                    for name in names:
                        self.__dict__.pop(name, None)
            if "embed" in stages:
                self._panel = None
            for name in self._saes.keys() | self._codes.keys():
                if "sweep" in stages or ("train" in stages and name != "main"):
                    self._saes.pop(name, None)
                    self._codes.pop(name, None)

    def seconds(self) -> dict[str, float]:
        """How long each finished stage took."""
        return {name: record["seconds"] for name, record in self._records().items()}

    def elapsed(self) -> float:
        """Seconds in which any of the finished stages was at work; stages that ran side by side count once."""
        total, end = 0.0, float("-inf")
        records = self._records().values()
        for record in sorted(records, key=lambda one: one.get("began", 0.0)):
            if "began" not in record:  # of an earlier version
                total += record["seconds"]
                continue
            begin, stop = max(record["began"], end), record["began"] + record["seconds"]
            total += max(stop - begin, 0.0)
            end = max(end, stop)
        return round(total, 2)

    def _records(self) -> dict[str, dict]:
        return {file.stem: read_json(file) for file in sorted((self.path / ".stages").glob("*.json"))}

    # -- arrays ----------------------------------------------------------------------------------------------------

    @cached_property
    def prompts(self) -> "pl.DataFrame":
        """The prompt table; row i belongs to row i of ``x``."""
        return read_table(self.path / "prompts.parquet")

    @cached_property
    def x(self) -> np.ndarray:
        """Raw embeddings, ``(n, d_in)`` float32."""
        from moodlens.embed import EmbeddingStore

        store = EmbeddingStore.open(self.path / "embeddings")
        if store.rows != self.prompts.height:
            raise BadInput(
                f"{self.path / 'embeddings'}: {store.rows} rows for {self.prompts.height} prompts; "
                f"run: moodlens embed {self.path} --force"
            )
        return store.array()

    @cached_property
    def labels(self) -> np.ndarray:
        """Index into ``study.emotions``, -1 where there is none, ``(n,)`` int."""
        index = {emotion: i for i, emotion in enumerate(self.study.emotions)}
        return np.array([index.get(emotion, -1) for emotion in self.prompts["emotion"]], dtype=np.int64)

    @cached_property
    def groups(self) -> np.ndarray:
        """Group codes, ``(n,)`` int."""
        return np.unique(self.prompts["group"].to_numpy(), return_inverse=True)[1]

    @cached_property
    def splits(self) -> np.ndarray:
        """train, val, test or held_out, ``(n,)`` str."""
        return self.prompts["split"].to_numpy().astype(str)

    @cached_property
    def kinds(self) -> np.ndarray:
        """plain, neutral, unlabelled, negation or mixed, ``(n,)`` str."""
        return self.prompts["kind"].to_numpy().astype(str)

    @cached_property
    def texts(self) -> list[str]:
        """The prompts' texts."""
        return self.prompts["text"].to_list()

    def rows(self, *splits: str) -> np.ndarray:
        """Row numbers of the given splits."""
        return np.flatnonzero(np.isin(self.splits, splits))

    def sae(self, name: str = "main") -> "SAE":
        """The SAE in ``sae/NAME``, checked against the study's encoder."""
        from moodlens.sae import load_sae

        with self._reading:
            if name not in self._saes:
                self._saes[name] = load_sae(self.path / "sae" / name, encoder_id=self.encoder_info["encoder"])
            return self._saes[name]

    def decoder(self, name: str = "main") -> np.ndarray:
        """``W_dec`` of an SAE, ``(d_sae, d_in)`` float32."""
        return self.sae(name).W_dec.detach().numpy()

    @property
    def encoder_info(self) -> dict:
        """What made the embeddings: encoder, revision, pooling, max_length, dtype, d_in."""
        return read_json(self.path / "embeddings" / "manifest.json")["info"]

    def codes(self, name: str = "main") -> np.ndarray:
        """Activations of every prompt, ``(n, d_sae)`` float32."""
        from moodlens.sae import encode_rows

        with self._reading:
            if name not in self._codes:
                self._codes[name] = encode_rows(self.sae(name), self.x)
            return self._codes[name]

    @property
    def panel(self) -> "Panel":
        """The test rows that interventions are judged on, and readouts of other groups."""
        from moodlens.validate.readouts import make_panel

        with self._reading:
            if self._panel is None:
                usable = np.isin(self.kinds, ("plain", "neutral"))
                self._panel = make_panel(
                    self.x,
                    self.labels,
                    self.groups,
                    self.splits,
                    usable,
                    self.study.emotions,
                    seed=self.study.seed,
                )
            return self._panel

    def seed_names(self) -> list[str]:
        """Names of the SAEs trained with other seeds."""
        return sorted(
            (folder.name for folder in (self.path / "sae").glob("seed-*")),
            key=lambda name: int(name.split("-")[1]),
        )
