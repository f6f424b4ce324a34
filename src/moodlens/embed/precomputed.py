"""Embeddings made elsewhere, in the roadmap's layout.

A folder with ``embeddings.npy`` (n, d_in) float, ``labels.npy`` (n,) integers that index
``metadata.json``'s ``emotions`` (-1: none is known), and optionally ``prompts.jsonl``, one
``{"id", "text", "emotion"}`` a line, row i of which is row i of the embeddings. A row of label -1 whose ``emotion``
there is ``neutral`` is known to have none.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from moodlens.core import BadInput, atomic_write, read_json, read_text, write_json
from moodlens.settings.labels import NEUTRAL
from moodlens.stats.equal import nearly_constant


@dataclass(frozen=True)
class Precomputed:
    """Embeddings with their labels.

    Attributes:
        x: (n, d_in) float32, finite.
        labels: (n,) int64 index into ``emotions``, -1 where none is known.
        emotions: the labels' names, in order.
        neutral: (n,) bool, rows that ``prompts.jsonl`` calls neutral: known to have none of the emotions.
        texts: the n texts, or None where the folder has none.
        encoder: what ``metadata.json`` calls its ``model`` or ``encoder``; None where it says neither.
    """

    x: np.ndarray
    labels: np.ndarray
    emotions: tuple[str, ...]
    neutral: np.ndarray
    texts: list[str] | None = None
    encoder: str | None = None


def read_precomputed(folder: Path | str) -> Precomputed:
    """Read and check a folder in the roadmap's layout.

    Raises:
        BadInput: a file is missing or broken, shapes disagree, a value is not finite, a label is out of range.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(
            f"{folder}: no such folder; expected embeddings.npy, labels.npy and metadata.json in it"
        )
    x = _check_embeddings(str(folder / "embeddings.npy"), _load(folder / "embeddings.npy"))
    metadata = read_json(_present(folder / "metadata.json"))
    emotions = _emotions(folder / "metadata.json", metadata)
    labels = _check_labels(str(folder / "labels.npy"), _load(folder / "labels.npy"), len(x), emotions)
    for key, value in (("num_prompts", len(x)), ("embedding_dim", x.shape[1])):
        if key in metadata and metadata[key] != value:
            raise BadInput(
                f"{folder / 'metadata.json'}: {key} is {metadata[key]} but embeddings.npy has {value}"
            )
    texts, neutral = None, np.zeros(len(x), dtype=bool)
    if (folder / "prompts.jsonl").exists():
        texts, neutral = _texts(folder / "prompts.jsonl", labels, emotions)
    encoder = metadata.get("model", metadata.get("encoder"))
    return Precomputed(x, labels, emotions, neutral, texts, None if encoder is None else str(encoder))


def write_precomputed(
    folder: Path | str,
    x: np.ndarray,
    labels: np.ndarray,
    emotions: Sequence[str],
    *,
    texts: Sequence[str] | None = None,
    encoder: str | None = None,
) -> None:
    """Write the roadmap's layout; what is written reads back equal with :func:`read_precomputed`.

    Args:
        folder: created if needed.
        x: (n, d_in) embeddings, stored as float32.
        labels: (n,) index into ``emotions``, -1 where none is known.
        emotions: names, distinct.
        texts: the n texts, if known.
        encoder: what made them, if known.

    Raises:
        BadInput: lengths disagree, a value is not finite, a label is out of range.
    """
    folder, emotions = Path(folder), tuple(emotions)
    x = _check_embeddings(f"{folder}: embeddings", np.asarray(x))
    info = {
        **({} if encoder is None else {"encoder": encoder}),
        "num_prompts": len(x),
        "embedding_dim": x.shape[1],
        "emotions": list(emotions),
    }
    _emotions(folder / "metadata.json", info)
    labels = _check_labels(f"{folder}: labels", np.asarray(labels), len(x), emotions)
    if texts is not None and len(texts) != len(x):
        raise BadInput(f"{folder}: {len(texts)} texts for {len(x)} embeddings; give one text a row")
    info["prompts_per_emotion"] = {name: int((labels == i).sum()) for i, name in enumerate(emotions)}
    for name, array in (("embeddings.npy", x), ("labels.npy", labels)):
        with atomic_write(folder / name) as tmp, open(tmp, "wb") as file:
            np.save(file, array, allow_pickle=False)
    if texts is not None:
        with atomic_write(folder / "prompts.jsonl") as tmp, open(tmp, "w", encoding="utf-8") as file:
            for i, (text, label) in enumerate(zip(texts, labels, strict=True)):
                row = {"id": i, "text": text, "emotion": emotions[label] if label >= 0 else None}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    else:
        (folder / "prompts.jsonl").unlink(missing_ok=True)  # texts of an earlier write are not this one's
    write_json(folder / "metadata.json", info)


def _present(path: Path) -> Path:
    if not path.is_file():
        raise BadInput(f"{path}: no such file; the layout is embeddings.npy, labels.npy, metadata.json")
    return path


def _load(path: Path) -> np.ndarray:
    try:
        # Mapped, so that a header that promises more than the file holds is found before memory is asked for.
        array = np.load(_present(path), mmap_mode="r", allow_pickle=False)
    except BadInput:
        raise
    except Exception as error:  # damaged headers end in errors of every kind
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "pickle" in why.lower() or "Python objects" in why:
            why = "it holds pickled objects, which are never loaded; save a plain array of numbers"
        raise BadInput(f"{path}: not a readable .npy array: {why}") from error
    if not isinstance(array, np.ndarray):
        raise BadInput(f"{path}: holds an .npz archive; save one array with numpy.save")
    return array


def _check_embeddings(where: str, x: np.ndarray) -> np.ndarray:
    if x.ndim != 2 or not x.shape[0] or not x.shape[1]:
        raise BadInput(f"{where}: shape {x.shape}; expected (n, d_in), one row a text")
    if x.dtype.kind != "f":
        raise BadInput(
            f"{where}: dtype {x.dtype}; expected floating-point embeddings (float16, float32, float64)"
        )
    with np.errstate(over="ignore"):
        floats = np.ascontiguousarray(x, dtype=np.float32)
    bad = ~np.isfinite(floats)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise BadInput(
            f"{where}: row {row}, column {column} is {x[row, column]} ({int(bad.any(1).sum())} such rows): not finite "
            "in float32; remove or re-embed them"
        )
    if nearly_constant(floats):
        raise BadInput(f"{where}: all {len(x)} rows are equal to rounding, so nothing can be read from them")
    return floats


def _emotions(path: Path, metadata: Any) -> tuple[str, ...]:
    names = metadata.get("emotions") if isinstance(metadata, dict) else None
    if (
        not isinstance(names, list)
        or len(names) < 2
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise BadInput(f'{path}: needs "emotions", a list of at least two names that the labels index')
    if len(set(names)) < len(names):
        raise BadInput(f'{path}: "emotions" names {next(n for n in names if names.count(n) > 1)!r} twice')
    return tuple(names)


def _check_labels(where: str, labels: np.ndarray, n: int, emotions: tuple[str, ...]) -> np.ndarray:
    if labels.shape != (n,):
        raise BadInput(
            f"{where}: shape {labels.shape}; expected ({n},), one label for each of {n} embeddings"
        )
    if labels.dtype.kind not in "iu":
        raise BadInput(f"{where}: dtype {labels.dtype}; expected integers that index the emotions")
    bad = np.flatnonzero((labels.astype(np.float64) < -1) | (labels >= len(emotions)))
    if len(bad):
        raise BadInput(
            f"{where}: row {bad[0]} has label {labels[bad[0]]}; expected 0 to {len(emotions) - 1}, or -1 where none is known"
        )
    return labels.astype(np.int64)


def _texts(path: Path, labels: np.ndarray, emotions: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """The texts, and (n,) bool which of them are called neutral."""
    texts, lines = [], read_text(path).split("\n")
    neutral = np.zeros(len(labels), dtype=bool)
    while lines and not lines[-1].strip():
        lines.pop()
    if len(lines) != len(labels):
        raise BadInput(f"{path}: {len(lines)} lines for {len(labels)} embeddings; expected one prompt a row")
    for number, (line, label) in enumerate(zip(lines, labels, strict=True), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadInput(f"{path}: line {number} is not JSON") from error
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise BadInput(f'{path}: line {number} has no "text"')
        expected = emotions[label] if label >= 0 else None
        neutral[number - 1] = expected is None and row.get("emotion") == NEUTRAL
        if "emotion" in row and row["emotion"] != expected and not neutral[number - 1]:
            raise BadInput(
                f"{path}: line {number} says emotion {row['emotion']!r} but labels.npy says {expected!r}; "
                "the rows are out of step"
            )
        texts.append(row["text"])
    return texts, neutral
