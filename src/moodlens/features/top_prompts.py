"""The texts that show what a feature does: its top, one per activation decile, and its misses.

Only the top would flatter a feature; deciles show its weak firings and misses what it should have caught.
Every list carries what it was drawn from (``n`` of how many).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from moodlens.core import BadInput


def top_prompts(
    codes_column: np.ndarray,
    texts: Sequence[str],
    labels: np.ndarray,
    emotion_index: int | None,
    *,
    seed: int,
    n: int = 10,
    strength: np.ndarray | None = None,
) -> dict[str, Any]:
    """Collect the prompts that describe one feature.

    Args:
        codes_column: (rows,) activation of the feature.
        texts: the texts of those rows.
        labels: (rows,) int, -1 for neutral.
        emotion_index: the feature's emotion; None leaves the misses empty.
        seed: of the random prompt per decile (and of the misses, without ``strength``).
        n: length of ``top`` and ``misses``.
        strength: (rows,) how strongly a row shows the emotion by other evidence, such as the family's score;
            misses are sorted by it. Without it they are a random sample.

    Returns:
        ``n_rows``, ``n_active``, ``top`` (strongest first), ``deciles`` (decile 10 is the strongest tenth of
        the active rows, each with its ``low``, ``high``, ``n_active`` and one random prompt), ``n_emotion``,
        ``n_missed`` and ``misses`` (rows of the emotion with activation zero). Prompts are dicts of ``row``,
        ``text``, ``activation``, ``label``.

    Raises:
        BadInput: lengths disagree.
    """
    activation = np.asarray(codes_column)
    labels = np.asarray(labels)
    if not len(activation) == len(texts) == len(labels):
        raise BadInput(f"{len(activation)} activations, {len(texts)} texts and {len(labels)} labels")
    rng = np.random.default_rng(seed)

    def prompt(row: int) -> dict[str, Any]:
        return {
            "row": int(row),
            "text": texts[row],
            "activation": float(activation[row]),
            "label": int(labels[row]),
        }

    # Stable sort on the negated value: strongest first, ties in row order.
    order = np.argsort(-activation, kind="stable")
    active = order[activation[order] > 0]
    deciles = []
    for place, members in enumerate(np.array_split(active[::-1], 10)):
        if len(members):
            deciles.append(
                {
                    "decile": place + 1,
                    "low": float(activation[members].min()),
                    "high": float(activation[members].max()),
                    "n_active": len(members),
                    **prompt(rng.choice(members)),
                }
            )
    own = np.zeros(len(labels), dtype=bool) if emotion_index is None else labels == emotion_index
    missed = np.flatnonzero(own & (activation <= 0))
    if strength is None:
        shown = rng.permutation(missed)[:n]
    else:
        shown = missed[np.argsort(-np.asarray(strength)[missed], kind="stable")][:n]
    return {
        "n_rows": len(activation),
        "n_active": len(active),
        "top": [prompt(row) for row in active[:n]],
        "deciles": deciles[::-1],
        "n_emotion": int(own.sum()),
        "n_missed": len(missed),
        "misses": [prompt(row) for row in shown],
    }
