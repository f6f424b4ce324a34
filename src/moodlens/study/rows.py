"""The rows of a study: one object for what stands beside every embedding and every code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core.errors import BadInput
from moodlens.core.labels import NEUTRAL as NEUTRAL
from moodlens.core.labels import SCALES as SCALES
from moodlens.core.labels import UNKNOWN as UNKNOWN

if TYPE_CHECKING:
    import polars as pl

PLAIN = ("plain", "neutral")
"""Kinds whose label says all there is to say: what statistics and readouts are fitted and judged on."""
KINDS = (*PLAIN, "unlabelled", "negation", "mixed")
DEV = ("train", "val")
"""Splits on which things are chosen; what is chosen is judged on others."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Texts with label, group, split and kind; row i belongs to row i of the embeddings and of the codes.

    Indexing cuts every column: ``rows[rows.where("test")]``.
    """

    texts: np.ndarray
    """(n,) str objects."""
    label: np.ndarray
    """(n,) int64: index into ``emotions``, :data:`NEUTRAL` or :data:`UNKNOWN`."""
    group: np.ndarray
    """(n,) int64 codes; rows of one group are not independent and never straddle a split."""
    split: np.ndarray
    """(n,) str: train, val, test or held_out."""
    kind: np.ndarray
    """(n,) str, one of :data:`KINDS`."""
    concept: np.ndarray
    """(n,) str objects: what the emotion is about; "" where none is known."""
    copy: np.ndarray
    """(n,) int64 codes; rows of one code are copies of one text, and so one observation."""
    valence: np.ndarray
    """(n,) float64 ratings in any range; NaN where nobody rated the text."""
    arousal: np.ndarray
    """(n,) float64, likewise."""
    emotions: tuple[str, ...]
    """Names of the labels, in order; none in a study of ratings alone."""

    def __post_init__(self) -> None:
        n = len(self.label)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "emotions" and value.shape != (n,):
                raise BadInput(f"rows: {field.name} has shape {value.shape}, but there are {n} labels")
        if n and (self.label.min() < UNKNOWN or self.label.max() >= len(self.emotions)):
            raise BadInput(
                f"rows: labels run from {self.label.min()} to {self.label.max()}, for {len(self.emotions)} emotions"
            )

    @classmethod
    def of(
        cls,
        label: Sequence[int] | np.ndarray,
        *,
        emotions: tuple[str, ...],
        group: Any = None,
        split: Any = "train",
        kind: Any = None,
        texts: Any = None,
        concept: Any = None,
        copy: Any = None,
        ratings: "Mapping[str, Sequence[float] | np.ndarray] | None" = None,
    ) -> "Rows":
        """Rows from arrays or single values: without groups each row is its own, kinds follow from the labels.

        A row of unknown emotion is never plain or neutral, so that what reads :data:`PLAIN` rows reads known ones.

        Args:
            label: ``(n,)`` int.
            emotions: names of the labels, at least two; none in a study of ratings alone.
            group: ``(n,)`` of any type, or None.
            split: ``(n,)`` str, or one for all.
            kind: ``(n,)`` str, or None: plain, neutral, or unlabelled where the label is unknown.
            texts: ``(n,)`` str, or None: empty texts.
            concept: ``(n,)`` str or None, or None: no row has one.
            copy: ``(n,)`` of any type, or None: no row is a copy of another.
            ratings: scale -> ``(n,)`` numbers, NaN where there is none; a scale that is absent has none.
        """
        label = np.asarray(label, dtype=np.int64)
        n = len(label)
        if kind is None:
            kind = np.select([label >= 0, label == NEUTRAL], ["plain", "neutral"], "unlabelled")
        kind = np.broadcast_to(np.asarray(kind, dtype=str), (n,))
        kind = np.where((label == UNKNOWN) & np.isin(kind, PLAIN), "unlabelled", kind)
        return cls(
            texts=np.array([""] * n if texts is None else list(texts), dtype=object),
            label=label,
            group=_codes(group, n),
            split=np.broadcast_to(np.asarray(split, dtype=str), (n,)),
            kind=kind,
            concept=np.array([""] * n if concept is None else [name or "" for name in concept], dtype=object),
            copy=_codes(copy, n),
            **{
                scale: np.asarray((ratings or {}).get(scale, np.full(n, np.nan)), dtype=np.float64)
                for scale in SCALES
            },
            emotions=tuple(emotions),
        )

    @classmethod
    def from_frame(cls, frame: "pl.DataFrame", emotions: tuple[str, ...]) -> "Rows":
        """Rows of a prompt table (:data:`moodlens.prompts.grammar.COLUMNS`).

        An emotion that is not among ``emotions`` is unknown. Copies are those of :mod:`moodlens.prompts.copies`.
        """
        import polars as pl

        from moodlens.prompts.copies import copy_keys

        index = {emotion: i for i, emotion in enumerate(emotions)}
        kind = frame["kind"].to_list()
        label = [
            index.get(emotion, NEUTRAL if what == "neutral" else UNKNOWN)
            for emotion, what in zip(frame["emotion"].to_list(), kind, strict=True)
        ]
        return cls.of(
            label,
            emotions=emotions,
            group=frame["group"].to_list(),
            split=frame["split"].to_list(),
            kind=kind,
            texts=frame["text"].to_list(),
            concept=frame["concept"].to_list() if "concept" in frame.columns else None,
            copy=copy_keys(frame["text"]).to_list(),
            ratings={
                scale: frame[scale].cast(pl.Float64).fill_null(np.nan).to_numpy()
                for scale in SCALES
                if scale in frame.columns
            },
        )

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, rows: Any) -> "Rows":
        """The rows at ``rows`` (numbers, a mask or a slice), every column cut alike."""
        cut = {
            field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "emotions"
        }
        return replace(self, **cut)

    @property
    def n_emotions(self) -> int:
        """How many emotions there are, with rows or without."""
        return len(self.emotions)

    @property
    def plain(self) -> np.ndarray:
        """(n,) bool: rows of kind plain or neutral."""
        return np.isin(self.kind, PLAIN)

    def where(self, *splits: str, kinds: Sequence[str] | None = PLAIN) -> np.ndarray:
        """Numbers of the rows in ``splits`` (none: all) that are of ``kinds`` (None: any).

        Returns:
            (m,) int64, rising.
        """
        keep = np.ones(len(self), dtype=bool)
        if splits:
            keep &= np.isin(self.split, splits)
        if kinds is not None:
            keep &= np.isin(self.kind, kinds)
        return np.flatnonzero(keep)

    def labelled(self, *splits: str) -> np.ndarray:
        """Numbers of the plain rows in ``splits`` (none: all) that hold an emotion."""
        rows = self.where(*splits)
        return rows[self.label[rows] >= 0]

    def rating(self, scale: str) -> np.ndarray:
        """(n,) float64 ratings on one of :data:`SCALES`; NaN where there is none."""
        return getattr(self, scale)

    def rated(self, scale: str, *splits: str) -> np.ndarray:
        """Numbers of the rows in ``splits`` (none: all) that are rated on ``scale``, labelled or not."""
        rows = self.where(*splits, kinds=None)
        return rows[np.isfinite(self.rating(scale)[rows])]

    def __repr__(self) -> str:
        counts = ", ".join(f"{name} {(self.label == i).sum()}" for i, name in enumerate(self.emotions))
        return f"<{len(self)} rows in {len(np.unique(self.group))} groups: {counts}>"


def _codes(values: Any, n: int) -> np.ndarray:
    """Values of any type as 0, 1, 2, ...; None makes every row its own."""
    if values is None:
        return np.arange(n)
    if not isinstance(values, np.ndarray):  # as an array of texts, each would have the room of the longest
        values = np.array(list(values), dtype=object)
    return np.unique(values, return_inverse=True)[1].astype(np.int64).reshape(-1)
