"""How many features are looked at together, so that what is computed of them fits a budget of memory."""

from collections.abc import Sequence

import numpy as np

from moodlens.core import Progress
from moodlens.stats.units import Units

_ENTRY = 120
"""Bytes that an activation takes while it is ranked, about."""
_UNIT = 8 * 8
"""Bytes that a unit takes for each feature: sums of ranks and of firings, and what they are made of."""


def feature_blocks(
    units: Sequence[Units], density: np.ndarray, n_emotions: int, memory: float
) -> list[slice]:
    """Neighbouring features, as many at a time as ``memory`` (GiB) allows, at least one.

    Args:
        units: of each set of rows that is read.
        density: ``(d,)`` share of rows in which each feature fires.
        n_emotions: how many emotions there are; the units of the last set are judged for each.
        memory: may be infinite.
    """
    n = sum(len(part.of_row) for part in units)
    of_units = max(len(part.labels) for part in units) * _UNIT + len(units[-1].labels) * 8 * n_emotions
    cost = n * (4 + 1) + _ENTRY * n * density + of_units
    out, begin, used = [], 0, 0.0
    for feature, size in enumerate(cost):
        if feature > begin and used + size > memory * 2**30:
            out.append(slice(begin, feature))
            begin, used = feature, 0.0
        used += size
    return [*out, slice(begin, len(density))]


def part_of(progress: Progress, number: int, parts: int) -> Progress:
    """``progress`` for part ``number`` of several that are alike."""
    return lambda what, done, total: progress(what, number * total + done, parts * total)
