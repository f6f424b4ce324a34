"""Whether the families of other pipelines do the same: add the same direction, read the same in texts.

Unstable features of different pipelines can span the same subspace (arXiv:2606.12138), and a family is a sum over some of
them. Each pipeline's families are found by the same rule on the same train + val rows. Compared are the direction that a
family adds when it steers (cosine) and what it reads in test texts (correlation of scores along that direction). Neither
uses a label. The control: families of as many random live features of the other pipeline, with the same weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput
from moodlens.stats.contrast import unit_rows
from moodlens.stats.moments import mean_row, products
from moodlens.study.families import Families, Family
from moodlens.study.records.stability import Agreement, FamilyAgreement

DRAWS = 100
"""Random families for each seed and emotion."""


@dataclass(frozen=True)
class SeedFamilies:
    """The families of one SAE, and what it takes to add and read them."""

    families: Families
    W_dec: np.ndarray
    """(d_sae, d_in)"""
    sizes: np.ndarray
    """(d_sae,) mean activation over the train + val rows in which a feature fires; 0 for features that never do."""


def family_agreement(
    own: SeedFamilies, others: Sequence[SeedFamilies], x: np.ndarray, *, seed: int
) -> Agreement:
    """Compare the families of the study's SAE with those of other pipelines.

    Args:
        own: of the study's SAE.
        others: of the other pipelines.
        x: (n, d_in) raw embeddings that trained and chose nothing.
        seed: of the random families.

    Raises:
        BadInput: there is no other pipeline, or the families are of other emotions.
    """
    if not others:
        raise BadInput("families are compared over pipelines: no other one is given")
    if any(other.families.emotions != own.families.emotions for other in others):
        raise BadInput("families of different emotions cannot be compared")
    mean_x = mean_row(x)
    rng = np.random.default_rng([seed, 0xFA])
    emotions = {}
    for c, family in enumerate(own.families.families):
        theirs = [other.families.families[c] for other in others]
        if not family.features or not any(twin.features for twin in theirs):
            continue
        direction = family.direction(own.W_dec)
        read = products(x, direction, mean_x)
        cosines, correlations = np.zeros(len(others)), np.zeros(len(others))
        drawn = []
        for i, (other, twin) in enumerate(zip(others, theirs, strict=True)):
            if not twin.features:
                continue
            theirs_added = twin.direction(other.W_dec)
            cosines[i] = _cosine(direction, theirs_added)
            correlations[i] = _cosine(read, products(x, theirs_added, mean_x))
            random = _random(other, twin, rng)
            drawn += [_cosine(direction, random), _cosine(read, products(x, random, mean_x).T)]
        along, alike = np.concatenate(drawn[::2]), np.concatenate(drawn[1::2])
        emotions[family.emotion] = FamilyAgreement(
            direction=float(cosines.mean()),
            direction_min=float(cosines.min()),
            direction_control=float(np.quantile(along, 0.95)),
            reading=float(correlations.mean()),
            reading_min=float(correlations.min()),
            reading_control=float(np.quantile(alike, 0.95)),
        )
    mean = None
    if emotions:
        cells = [dict(agreement) for agreement in emotions.values()]
        mean = FamilyAgreement(**{name: float(np.mean([cell[name] for cell in cells])) for name in cells[0]})
    return Agreement(n_seeds=len(others), emotions=emotions, mean=mean)


def _random(other: SeedFamilies, family: Family, rng: np.random.Generator) -> np.ndarray:
    """Directions of random families of ``family``'s size, (DRAWS, d_in)."""
    live = np.setdiff1d(np.flatnonzero(other.sizes > 0), family.features)
    m = min(len(family.features), len(live))
    if m == 0:
        return np.zeros((DRAWS, other.W_dec.shape[1]))
    directions = []
    for _ in range(DRAWS):
        picks = rng.choice(live, m, replace=False)
        drawn = Family(
            emotion=family.emotion,
            features=tuple(picks.tolist()),
            weights=family.weights[:m],
        )
        directions.append(drawn.direction(other.W_dec))
    return np.stack(directions)


def _cosine(vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Cosine of a vector with one or more rows; 0 where either is zero."""
    return unit_rows(rows) @ unit_rows(vector)
