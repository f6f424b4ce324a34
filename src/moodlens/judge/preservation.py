"""What steering should leave alone: the rest of the prompt, in the sound and already in the embedding."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from moodlens.core import BadInput
from moodlens.judge.clap import Clap
from moodlens.judge.score import Clip


class PreservationScore:
    """How much of the prompt and of the unsteered clip is left, by CLAP.

    Columns: ``adherence``, cosine of the clip with the text of its neutral prompt; ``kept``, cosine with the unsteered
    clip of the same prompt and seed (1 for that clip itself); ``clap_embedding``, for distances between sets of
    clips. Null where prompt or clip is unknown. Two seeds of one prompt, unsteered, say how much ``kept`` falls by
    chance alone: streams that share a seed diverge at their first differing token.

    Args:
        clap: a checkpoint that passed its check.
    """

    def __init__(self, clap: Clap) -> None:
        self.clap = clap

    def __call__(self, clip: Clip) -> dict[str, Any]:
        """Score one clip."""
        own = self.clap.clip(clip)
        adherence = kept = None
        if clip.prompt is not None:
            adherence = float(self.clap.texts([clip.prompt])[0] @ own)
        if clip.reference is not None:
            kept = float(self.clap.clip(clip.reference) @ own)
        return {"adherence": adherence, "kept": kept, "clap_embedding": own.tolist()}


def embedding_preservation(
    x: np.ndarray,
    vector: np.ndarray,
    amount: float,
    factors: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """What a step leaves of pooled prompt embeddings, before any sound is made.

    Args:
        x: ``(n, d_in)`` raw embeddings of prompts, two or more.
        vector: ``(d_in,)`` unit direction.
        amount: length of the step.
        factors: name -> ``(n,)`` classes of the prompts that steering should not touch (instrument, genre); rows
            that are null or empty take no part.

    Returns:
        ``cosine``: mean cosine of a steered with its own unsteered embedding; ``retrieved``: share whose nearest
        unsteered embedding is still its own; ``factor_<name>``: share whose nearest class mean of the factor stays
        the class it was before (NaN with fewer than two classes).

    Raises:
        BadInput: shapes do not fit.
    """
    x = np.asarray(x, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2 or np.shape(vector) != x.shape[1:]:
        raise BadInput(f"embedding_preservation: embeddings {x.shape} and a direction {np.shape(vector)}")
    moved = x + amount * np.asarray(vector, dtype=np.float64)
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(moved, axis=1)
    out = {
        "cosine": float(np.mean((x * moved).sum(axis=1) / norms.clip(1e-12))),
        "retrieved": float(np.mean(_nearest(moved, x) == np.arange(len(x)))),
    }
    for name, classes in (factors or {}).items():
        classes = np.array(["" if value is None else str(value) for value in classes])
        if classes.shape != (len(x),):
            raise BadInput(
                f"embedding_preservation: factor {name}: {classes.shape} classes for {len(x)} rows"
            )
        known = classes != ""
        unique = np.unique(classes[known])
        if len(unique) < 2:
            out[f"factor_{name}"] = float("nan")
            continue
        means = np.stack([x[classes == value].mean(axis=0) for value in unique])
        same = _nearest(x[known], means) == _nearest(moved[known], means)
        out[f"factor_{name}"] = float(same.mean())
    return out


def _nearest(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    distance = np.square(targets).sum(axis=1)[None] - 2 * rows @ targets.T
    return distance.argmin(axis=1)
