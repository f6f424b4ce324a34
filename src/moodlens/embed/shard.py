"""One shard of an embedding store: written from rows, or embedded by whoever is given its texts."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from moodlens.core import BadInput, Progress, digest, silent
from moodlens.embed.manifest import Computed, LongTexts, StoreDType

if TYPE_CHECKING:
    from moodlens.embed.base import Encoder
    from moodlens.embed.reading import Reading

_ROUGH = (
    0.01  # relative error of a row in float16 past which it is refused; without underflow it is below 0.0005
)


def write_shard(
    path: Path, rows: np.ndarray, dtype: StoreDType, *, where: str, d_in: int | None = None
) -> tuple[int, int]:
    """Write ``rows`` (n, d_in) as a safetensors file of one tensor, ``embeddings``; returns its shape.

    Args:
        path: the file.
        rows: finite floats; rounded to ``dtype``.
        dtype: as stored.
        where: the store's folder, for errors.
        d_in: width that the rows must have; None: any.

    Raises:
        BadInput: wrong shape, or a value that is NaN, infinite or too large for float16.
        OSError: the disk is full.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    rows = np.asarray(rows)
    if rows.ndim != 2 or not len(rows) or rows.dtype.kind != "f" or rows.shape[1] != (d_in or rows.shape[1]):
        raise BadInput(
            f"{where}: cannot append {rows.dtype} of shape {rows.shape}; expected floats (n, {d_in or 'd_in'})"
        )
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(rows, dtype=dtype)
    _refuse_what_does_not_fit(rows, stored, dtype, where)
    try:
        save_file({"embeddings": stored}, path)
    except SafetensorError as error:  # how it reports a full disk
        raise OSError(str(error)) from error
    return stored.shape[0], stored.shape[1]


def _refuse_what_does_not_fit(rows: np.ndarray, stored: np.ndarray, dtype: StoreDType, where: str) -> None:
    finite = np.isfinite(stored)
    if finite.all():
        if dtype == "float16":
            error = np.linalg.norm(stored - rows.astype(np.float32), axis=1)
            small = error > _ROUGH * np.linalg.norm(rows.astype(np.float32), axis=1)
            if small.any():
                raise BadInput(f"{where}: row {np.argmax(small)} is too small for float16; use float32")
        return
    row, column = np.argwhere(~finite)[0]
    value = rows[row, column]
    if np.isfinite(value):
        raise BadInput(
            f"{where}: row {row}, column {column} is {value:g}, too large for float16; use float32"
        )
    raise BadInput(f"{where}: row {row}, column {column} is {value}; an embedding must be finite")


class Recipe(NamedTuple):
    """An encoder as another process can make it, and what it must then say of itself."""

    spec: str
    dtype: Computed
    max_length: int
    long_texts: LongTexts
    info: str
    """:meth:`Encoder.info`, hashed"""
    asked: tuple[tuple[str, Any], ...] = ()
    """What else :func:`get_encoder` was asked for."""


def recipe_of(encoder: "Encoder") -> Recipe:
    """How another process gets this encoder. It must have settled on what it computes in."""
    info, asked = digest(encoder.info().model_dump()), tuple(sorted(encoder.asked.items()))
    return Recipe(encoder.id, encoder.dtype, encoder.max_length, encoder.long_texts, info, asked)


@lru_cache(maxsize=1)
def _made(recipe: Recipe) -> "Encoder":
    """Once a process: loading an encoder takes as long as embedding thousands of texts."""
    from moodlens.embed.encoders import get_encoder

    spec, dtype, max_length, long_texts, info, asked = recipe
    settings = {"dtype": dtype, "max_length": max_length, "long_texts": long_texts, **dict(asked)}
    encoder = get_encoder(spec, **settings)
    if digest(encoder.info().model_dump()) != info:
        raise BadInput(
            f"encoder {spec}: a worker finds another revision of it than this machine; give all the same files"
        )
    return encoder


def embed_shard(
    path: Path,
    *,
    encoder: "Encoder | Recipe",
    texts: "Sequence[str] | Reading",
    begin: int,
    dtype: StoreDType,
    progress: Progress = silent,
) -> Mapping[str, float]:
    """The work of a unit: embed the texts of one shard; its facts are rows and width.

    Args:
        path: the file to write.
        encoder: which, or how to make it.
        texts: of this shard.
        begin: row of the first of them in the corpus, for errors.
        dtype: as stored.
        progress: counts texts.

    Raises:
        BadInput: a text is blank, an embedding is not finite or does not fit ``dtype``, or the encoder cannot be made.
    """
    if isinstance(encoder, Recipe):
        encoder = _made(encoder)
    reading = encoder.read(texts, begin) if isinstance(texts, Sequence) else texts
    rows = encoder.encode(reading, progress=progress)
    n, d_in = write_shard(path, rows, dtype, where="embeddings")
    return {"rows": n, "d_in": d_in}
