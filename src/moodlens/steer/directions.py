"""Directions in embedding space: unit vectors of one site, with a common length that coefficient 1 stands for.

All methods are compared at the same tensor, tokens and norm, so a direction carries no length of its own. The length
belongs to the set: ``unit`` is the mean norm of the emotions' differences in means, about a third of a prompt's norm
for T5-base, and coefficient c adds ``c * unit * vector``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from moodlens.core import BadInput, atomic_write, digest, file_sha256, plain
from moodlens.steer.layers import Layers, load_layers, remove_layers, save_layers
from moodlens.study.records.steer import DirectionFacts, DirectionsFile

VECTORS = "directions.safetensors"
SITE = "text_encoder.last_hidden_state"
FORMAT = "moodlens-directions"


@dataclass(frozen=True)
class Direction:
    """One unit vector and where it comes from.

    Attributes:
        name: unique in its set, such as ``"sae_family/happy"`` or ``"random/07"``.
        method: ``sae_feature``, ``sae_family``, ``difference_in_means``, ``linear_probe``, ``pca``, ``random``,
            ``matched_random_feature``, ``shuffled_difference_in_means``, ``prompt_difference`` or ``mixture``.
        emotion: what it should bring; None for controls.
        vector: ``(d_in,)`` float32, norm 1.
        detail: how it was made (features, weights, seeds).
    """

    name: str
    method: str
    emotion: str | None
    vector: np.ndarray
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Hash of the vector alone: two names of one vector make the same clip."""
        return digest(self.vector)


@dataclass(frozen=True)
class Provenance:
    """Whose embedding space the vectors live in, and how to check it.

    Attributes:
        encoder: id of the encoder, such as ``"t5:google-t5/t5-base"``.
        revision: of the encoder, if known.
        data: hash of the rows and labels the directions were made from.
        anchor_texts: a few of the study's prompts.
        anchors: ``(n, d_in)`` their raw embeddings. Any encoder that claims to be the same must give them again;
            names cannot tell, since MusicGen's own text encoder is T5-base under another name.
    """

    encoder: str
    revision: str | None
    data: str
    anchor_texts: tuple[str, ...]
    anchors: np.ndarray


@dataclass(frozen=True)
class Directions:
    """Directions of one site and one encoder.

    Attributes:
        items: the directions, in order, with unique names.
        emotions: the study's labels.
        unit: what coefficient 1 adds, in the embedding's units: the mean difference-in-means norm.
        norms: the difference-in-means norm of each emotion.
        provenance: the encoder and the data.
        notes: what could not be built, and why.
        texts: emotion -> labelled texts of the study, where the decoder's layers are to be measured on them.
        layers: the decoder's residual stream under them, where it was measured.
    """

    items: tuple[Direction, ...]
    emotions: tuple[str, ...]
    unit: float
    norms: dict[str, float]
    provenance: Provenance
    notes: tuple[str, ...] = ()
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    layers: Layers | None = None

    def __post_init__(self) -> None:
        names = [item.name for item in self.items]
        if len(set(names)) != len(names):
            raise BadInput(
                f"directions: names are not unique: {sorted({n for n in names if names.count(n) > 1})}"
            )
        for item in self.items:
            if item.vector.shape != (self.d_in,):
                raise BadInput(
                    f"direction {item.name}: width {item.vector.shape}, the encoder's is {self.d_in}"
                )
            if not abs(float(np.linalg.norm(item.vector)) - 1) < 1e-4:
                raise BadInput(f"direction {item.name}: norm {np.linalg.norm(item.vector):.4g}, expected 1")

    @property
    def d_in(self) -> int:
        """Width of the embedding space."""
        return int(self.provenance.anchors.shape[1])

    def __iter__(self) -> Iterator[Direction]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, name: str) -> Direction:
        for item in self.items:
            if item.name == name:
                return item
        raise BadInput(f"no direction {name!r}; known: {', '.join(item.name for item in self.items[:20])}")

    def select(self, *, method: str | None = None, emotion: str | None = None) -> list[Direction]:
        """Those of one method and, or, one emotion."""
        return [
            item
            for item in self.items
            if (method is None or item.method == method) and (emotion is None or item.emotion == emotion)
        ]

    def with_items(self, *more: Direction) -> "Directions":
        """The same set and some more."""
        return replace(self, items=(*self.items, *more))


def unit_vector(vector: np.ndarray, what: str) -> np.ndarray:
    """``vector`` (d_in,) at norm 1, float32.

    Raises:
        BadInput: it is zero or not finite, so it points nowhere.
    """
    vector = np.asarray(vector, dtype=np.float64)
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm < 1e-12:
        raise BadInput(f"{what}: a vector of norm {norm:.3g} points nowhere")
    return (vector / norm).astype(np.float32)


def orthogonalise(vectors: np.ndarray) -> np.ndarray:
    """The orthonormal vectors nearest to the given ones (Löwdin 1950), ``(n, d_in)`` -> ``(n, d_in)`` float32.

    Symmetric, unlike Gram-Schmidt: no vector comes first, so the order of the emotions does not matter.

    Raises:
        BadInput: they are linearly dependent.
    """
    vectors = np.stack([unit_vector(v, f"vector {i}") for i, v in enumerate(vectors)]).astype(np.float64)
    left, sizes, right = np.linalg.svd(vectors, full_matrices=False)
    if len(vectors) > vectors.shape[1] or sizes[-1] < 1e-4:
        raise BadInput("orthogonalise: the directions are linearly dependent; leave one out")
    return (left @ right).astype(np.float32)


def mix(parts: Sequence[tuple[Direction, float]], *, orthogonal: bool = False) -> Direction:
    """One direction from several emotions: the weighted sum, at norm 1.

    Args:
        parts: directions and their weights (relative; a negative weight pushes away).
        orthogonal: first make the directions orthogonal to each other, so that none cancels what another brings
            (differences in means of rival emotions have cosines of -0.2 to -0.5).

    Raises:
        BadInput: fewer than two parts, a weight is 0, or they cancel out.
    """
    if len(parts) < 2 or any(weight == 0 for _, weight in parts):
        raise BadInput("mix: give two directions or more, each with a weight other than 0")
    vectors = np.stack([part.vector for part, _ in parts])
    used = orthogonalise(vectors) if orthogonal else vectors
    weights = np.array([weight for _, weight in parts])
    emotions = [part.emotion or part.name for part, _ in parts]
    signed = "+".join(f"{weight:g}*{emotion}" for emotion, weight in zip(emotions, weights, strict=True))
    method = parts[0][0].method if len({part.method for part, _ in parts}) == 1 else "mixed"
    name = f"mixture/{method}/{signed}{'/orthogonal' if orthogonal else ''}"
    detail = {
        "parts": [part.name for part, _ in parts],
        "weights": weights.tolist(),
        "orthogonal": orthogonal,
    }
    return Direction(name, "mixture", signed, unit_vector(weights @ used, name), detail)


def save_directions(directions: Directions, folder: Path | str) -> None:
    """Write ``directions.safetensors`` (vectors, anchors) and ``directions.json`` (everything else); the decoder's layers, if they
    were measured, in files of their own."""
    from safetensors.numpy import save_file

    folder = Path(folder)
    tensors = {
        "vectors": np.stack([item.vector for item in directions]).astype(np.float32),
        "anchors": directions.provenance.anchors.astype(np.float32),
    }
    with atomic_write(folder / VECTORS) as tmp:
        save_file(tensors, tmp)
    if directions.layers is None:
        remove_layers(folder)
    else:
        save_layers(directions.layers, folder)
    prov = directions.provenance
    DirectionsFile(
        format=FORMAT,
        site=SITE,
        encoder=prov.encoder,
        revision=prov.revision,
        d_in=directions.d_in,
        data=prov.data,
        anchor_texts=prov.anchor_texts,
        emotions=directions.emotions,
        unit=directions.unit,
        norms=directions.norms,
        notes=directions.notes,
        texts=directions.texts,
        vectors_sha256=file_sha256(folder / VECTORS),
        directions=tuple(
            DirectionFacts(name=d.name, method=d.method, emotion=d.emotion, detail=plain(d.detail))
            for d in directions
        ),
    ).write(folder)


def load_directions(folder: Path | str, *, encoder: str | None = None, d_in: int | None = None) -> Directions:
    """Read what :func:`save_directions` wrote.

    Args:
        encoder: id the directions must have been made with; None leaves it to :func:`check_anchors`.
        d_in: width they must have.

    Raises:
        BadInput: files are missing or damaged, or the directions belong to another encoder or width.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    folder = Path(folder)
    facts = DirectionsFile.read(folder)
    if encoder is not None and facts.encoder != encoder:
        raise BadInput(
            f"{folder}: directions of encoder {facts.encoder!r} do not fit {encoder!r}: build them anew"
        )
    if d_in is not None and facts.d_in != d_in:
        raise BadInput(
            f"{folder}: directions are {facts.d_in} wide, the encoder gives {d_in}: build them anew"
        )
    path = folder / VECTORS
    if not path.is_file() or file_sha256(path) != facts.vectors_sha256:
        raise BadInput(
            f"{path}: missing or not the file that {facts.file} describes: build the directions anew"
        )
    try:
        tensors = load_file(path)
        vectors, anchors = tensors["vectors"], tensors["anchors"]
    except (SafetensorError, OSError, KeyError) as error:
        raise BadInput(f"{path}: not a readable safetensors file: {error}") from error
    wanted = (len(facts.directions), facts.d_in), (len(facts.anchor_texts), facts.d_in)
    if (vectors.shape, anchors.shape) != wanted:
        raise BadInput(
            f"{path}: {vectors.shape} vectors, {facts.file} describes {wanted[0]}: build them anew"
        )
    items = tuple(
        Direction(item.name, item.method, item.emotion, vector, dict(item.detail))
        for item, vector in zip(facts.directions, vectors, strict=True)
    )
    prov = Provenance(facts.encoder, facts.revision, facts.data, facts.anchor_texts, anchors)
    return Directions(
        items,
        facts.emotions,
        facts.unit,
        facts.norms,
        prov,
        facts.notes,
        facts.texts,
        load_layers(folder),
    )


def check_anchors(directions: Directions, pooled: np.ndarray, who: str, *, tolerance: float = 0.05) -> float:
    """Check that another encoder gives the study's embeddings again, and return how far it is off.

    Args:
        pooled: ``(n, d_in)`` what ``who`` makes of ``provenance.anchor_texts``.
        who: named in the error.
        tolerance: largest distance allowed, relative to the spread of the anchors. bfloat16 or float16 storage
            stays below 0.02; another checkpoint is above 0.5.

    Raises:
        BadInput: the width differs, or the embeddings do.
    """
    anchors = directions.provenance.anchors
    if pooled.shape[-1] != directions.d_in:
        raise BadInput(
            f"{who}: its text encoder is {pooled.shape[-1]} wide, the directions (encoder "
            f"{directions.provenance.encoder!r}) are {directions.d_in} wide: they cannot steer it"
        )
    spread = float(np.linalg.norm(anchors - anchors.mean(axis=0), axis=1).mean())
    off = float(np.linalg.norm(pooled - anchors, axis=1).max()) / max(spread, 1e-12)
    if not off <= tolerance:
        raise BadInput(
            f"{who}: its text encoder does not give the embeddings these directions were made from (encoder "
            f"{directions.provenance.encoder!r}; off by {off:.2f} of their spread): directions of another encoder "
            "do not steer it"
        )
    return off
