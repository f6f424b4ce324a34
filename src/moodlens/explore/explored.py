"""A study as the explorer reads it: what stands, what is missing and which verb makes it, and arrays that many pages share."""

import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from moodlens.core import BadInput
from moodlens.pipeline.opened import OpenStudy
from moodlens.stats.contrast import unit_rows

if TYPE_CHECKING:
    import polars as pl
    from scipy import sparse

    from moodlens.embed.base import Encoder
    from moodlens.features.names.attribute import Spoken

T = TypeVar("T")
_ROWS = 1024
"""That are encoded at once: all codes of a large study do not fit the memory, those above zero do."""
STAGES = {
    "verdict": "verdict",
    "names": "names",
    "concepts": "concepts",
    "causal": "causal",
    "stability": "stability",
    "phase0": "probe",
    "transfer": "transfer",
    "untrained": "untrained",
    "sweep": "sweep",
}
"""Part of the page -> the stage that makes it."""


class Explored:
    """What every page is made of; made on first use, once for all who ask.

    Args:
        path: folder of a study whose features were found.

    Raises:
        BadInput: it is none, or what it holds is outdated or damaged.
    """

    def __init__(self, path: Path | str):
        self.study = OpenStudy.open(path).require("features")
        self._lock = threading.RLock()
        self.reading = threading.RLock()
        """Held while the encoder is at work: tokenizers serve one thread at a time."""
        self._made: dict[str, object] = {}

    def once(self, name: str, make: Callable[[], T]) -> T:
        """``make()``, once, whoever asks first."""
        with self._lock:
            if name not in self._made:
                self._made[name] = make()
            return self._made[name]  # type: ignore[return-value]

    @cached_property
    def missing(self) -> dict[str, str]:
        """Part of the page -> the verb that makes it."""
        folder, out = self.study.path, {}
        for part, name in STAGES.items():
            try:
                self.study.require(name)
            except BadInput:
                out[part] = f"moodlens {name} {folder.name}"
        if not (folder / "norms.json").is_file():
            out["norms"] = f"moodlens norms {folder.name} NORMS.csv"
        if self.study.settings.encoder.id == "precomputed":
            out["encoder"] = (
                "the embeddings were made elsewhere, so no other text can be read; set encoder.id to what made them"
            )
        elif not self._tells_words():
            out["encoder"] = (
                "the encoder gives a row for a text and none for its words, so none can be shown; moodlens score reads texts"
            )
        return out

    def _tells_words(self) -> bool:
        """Whether the encoder gives a state for each token."""
        try:
            return self.study.encoder_info.by_token
        except BadInput:  # the embeddings are to be made anew
            return True

    def has(self, part: str) -> bool:
        """Whether a part of the page has what it is made of."""
        return part not in self.missing

    @cached_property
    def table(self) -> "pl.DataFrame":
        """One row for each feature."""
        return self.study.features

    def column(self, name: str) -> list[Any]:
        """A column of the table; ``None`` everywhere where there is none."""
        known = name in self.table.columns
        return self.table[name].to_list() if known else [None] * self.table.height

    @cached_property
    def claimed(self) -> np.ndarray:
        """(m,) int, the claimed features, rising."""
        return np.flatnonzero(self.table["emotion_feature"].to_numpy().astype(bool))

    @cached_property
    def directions(self) -> np.ndarray:
        """(d_sae, d_in) float32, unit decoder rows."""
        return unit_rows(self.study.W_dec()).astype(np.float32)

    @property
    def codes(self) -> "sparse.csc_array":
        """(n, d_sae) float32, activations of every row."""

        def make() -> "sparse.csc_array":
            from scipy import sparse

            from moodlens.sae.model import encode_rows

            sae, x = self.study.sae(), self.study.x
            parts = [sparse.csr_array(encode_rows(sae, x[at : at + _ROWS])) for at in range(0, len(x), _ROWS)]
            return sparse.csc_array(sparse.vstack(parts))

        return self.once("codes", make)

    def activation(self, feature: int) -> np.ndarray:
        """(n,) float32, of one feature in every row."""
        codes = self.codes
        out = np.zeros(len(self.study.rows), dtype=np.float32)
        part = slice(codes.indptr[feature], codes.indptr[feature + 1])
        out[codes.indices[part]] = codes.data[part]
        return out

    def dense(self, features: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, m) float32, of a few features in every row."""
        return np.asarray(self.codes[:, np.asarray(features, dtype=int)].todense())

    @cached_property
    def test(self) -> np.ndarray:
        """Rows of test texts of any kind."""
        return self.study.rows.where("test", kinds=None)

    @property
    def encoder(self) -> "Encoder":
        """The study's encoder.

        Raises:
            BadInput: it cannot be had.
        """
        from moodlens.pipeline.score import study_encoder

        return self.once("encoder", lambda: study_encoder(self.study, self.study.settings.encoder))

    @property
    def speak(self) -> "Callable[[Sequence[str]], Spoken]":
        """Reads texts word by word, beyond what the mean training text brings."""
        from moodlens.features.names.attribute import speaker

        return self.once("speak", lambda: speaker(self.encoder, self.mean))

    @cached_property
    def mean(self) -> np.ndarray:
        """(d_in,) of the training texts: the mean text."""
        study = self.study
        return study.x[study.rows.where("train", kinds=None)].mean(axis=0)

    def check(self, feature: int) -> int:
        """The feature's number.

        Raises:
            BadInput: there is no such feature.
        """
        if not 0 <= feature < self.table.height:
            raise BadInput(f"feature {feature}: the SAE has features 0 to {self.table.height - 1}")
        return feature


def short(value: float | None, digits: int = 4) -> float | None:
    """A number in as many digits as a reader can use; None for what is none."""
    if value is None or not np.isfinite(value):
        return None
    return float(f"{float(value):.{digits}g}")


def shorts(values: np.ndarray | Sequence[float], digits: int = 4) -> list[float]:
    """Finite numbers in as many digits as a reader can use."""
    return [float(f"{value:.{digits}g}") for value in np.asarray(values, dtype=float).tolist()]
