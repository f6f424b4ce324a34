"""Decoder rows ranked by what they do to a generator, whichever way it is asked."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from moodlens.core import BadInput, Progress, silent

if TYPE_CHECKING:
    import polars as pl


Heard = TypeVar("Heard")


def with_every_prompt(
    clips: Mapping[str, Sequence[Path | str]],
    prompts: Sequence[str],
    hear: Callable[[Path | str], Heard],
) -> list[tuple[Heard, str, str | None]]:
    """``(what is heard in a clip, prompt, emotion)`` of every clip with every prompt.

    Args:
        clips: emotion -> sound files; the key ``""`` holds clips of no emotion.
        prompts: neutral texts.
        hear: reads one file; called once each.

    Raises:
        BadInput: there is no clip or no prompt.
    """
    each = [(emotion or None, hear(path)) for emotion, paths in clips.items() for path in paths]
    if not each or not prompts:
        raise BadInput("give at least one clip and one prompt")
    return [(heard, prompt, emotion) for emotion, heard in each for prompt in prompts]


class Measured(Protocol):
    """What directions do, row by row."""

    def columns(self) -> dict[str, np.ndarray]:
        """Name -> ``(n,)`` values, how much is done at all first."""
        ...


class Asked(Protocol):
    """A generator that is asked about fixed clips: :class:`~moodlens.judge.offline.Offline` of one that says tokens,
    :class:`~moodlens.judge.denoising.Denoising` of one that takes away noise.

    Attributes:
        d_in: width of the directions.
    """

    d_in: int

    def effects(
        self, vectors: np.ndarray, amount: float | np.ndarray, progress: Progress = silent
    ) -> Measured:
        """Of steering by ``amount * vector``, exactly."""
        ...

    def first_order(self, vectors: np.ndarray, *, n_probes: int = 64, seed: int = 0) -> Measured:
        """To lowest order, for all vectors at the price of a few passes."""
        ...


def rank_features(
    asked: Asked,
    vectors: np.ndarray,
    amount: float,
    *,
    features: Sequence[int] | None = None,
    by: str | None = None,
    exact: int | None = None,
    progress: Progress = silent,
) -> "pl.DataFrame":
    """Rank decoder rows by what they do to the model, strongest first.

    Args:
        vectors: ``(n, d_in)``, such as ``sae.W_dec``; each is used at norm 1.
        amount: length of the step: the directions' ``unit`` for coefficient 1.
        features: number of each row; None: 0, 1, ...
        by: column to sort by: ``kl``, ``kl_0`` (one codebook), ``gain_happy`` ..., of a diffusion model ``shift``; None: how much
            a row does at all.
        exact: measure only this many rows exactly, those that lead to first order; None: all. At the size of
            musicgen-small a row takes about 0.5 s of one CPU core per second of reference, and the first order of all
            rows together about 90 s.

    Returns:
        ``rank`` (1 is first), ``feature``, then of MusicGen ``kl``, ``kl_0`` ... (one per codebook), of a diffusion model
        ``shift``, and ``gain_<emotion>``. A row that was not measured exactly is absent.

    Raises:
        BadInput: a row is zero, or ``by`` is no column.
    """
    import polars as pl

    vectors = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
    norms = np.linalg.norm(vectors, axis=1)
    if not (norms > 1e-12).all():
        raise BadInput(f"rank_features: row {int(np.argmin(norms))} is zero; leave it out")
    vectors = vectors / norms[:, None]
    names = np.arange(len(vectors)) if features is None else np.asarray(features)
    known = list(asked.effects(np.zeros((0, asked.d_in)), amount).columns())
    by = by or known[0]
    if by not in known:
        raise BadInput(f"rank_features: by={by!r} is none of {', '.join(known)}")
    if exact is not None and exact < len(vectors):
        # One codebook is not told apart to first order.
        lead = asked.first_order(vectors).columns()[by if by.startswith("gain_") else known[0]]
        kept = np.sort(np.argsort(-lead, kind="stable")[:exact])
        vectors, names = vectors[kept], names[kept]
    measured = asked.effects(vectors, amount, progress).columns()
    frame = pl.DataFrame({"feature": names, **measured})
    return frame.sort(by, "feature", descending=[True, False]).with_row_index("rank", offset=1)
