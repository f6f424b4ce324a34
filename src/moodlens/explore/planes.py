"""Planes to look at: the circumplex, and principal components of texts and of features."""

import numpy as np

from moodlens.core import BadInput
from moodlens.explore.explored import Explored, short, shorts
from moodlens.explore.records import Circumplex, FeaturePoints, Map, Place, PlaneReading, TextPoints
from moodlens.stats.contrast import principal_components, unit_rows
from moodlens.study.records.norms import Norms
from moodlens.study.records.phase0 import Phase0

POINTS = 3000
"""Texts on the map, drawn where there are more."""
_MAP = (
    "Texts: the first two principal components of their embeddings, from phase 0 (drawn at random where there are more than "
    f"{POINTS}). Features: those of the unit decoder rows of the features that may be claimed. Near in the plane may be far in "
    "the other dimensions, of which the two axes hold the shares given; no distance here is evidence of anything."
)
_NORMS = (
    "Where the study's readings of an emotion's and a concept's prompts lie, in standard deviations of people's ratings of words. "
    "The correlations say how well such readings follow ratings of words that fitted nothing, beside ratings dealt anew."
)
_FAMILIES = (
    "No ratings were read, so the axes are the two directions in which the families' unit vectors differ most; near means that "
    "steering towards one also steers towards the other. To see valence and arousal: moodlens norms DIR NORMS.csv"
)


def study_map(explored: Explored) -> Map:
    """Texts and features by their principal components."""
    directions = explored.directions[: max(explored.study.core_size, 2)]
    axes, share = principal_components(directions)
    at = (directions - directions.mean(axis=0)) @ axes[:2].T
    texts, variance = None, None
    if explored.has("phase0"):
        record = explored.study.read(Phase0)
        kept = np.arange(len(record.rows))
        if len(kept) > POINTS:
            kept = np.sort(
                np.random.default_rng([explored.study.seed, 3]).choice(kept, POINTS, replace=False)
            )
        place = np.array(record.pca.coordinates, dtype=float).reshape(-1, 2)[kept]
        texts = TextPoints(
            row=np.array(record.rows)[kept].tolist(), x=shorts(place[:, 0], 3), y=shorts(place[:, 1], 3)
        )
        first = [*record.pca.variance_share[:2], 0.0, 0.0]
        variance = (short(first[0]) or 0.0, short(first[1]) or 0.0)
    return Map(
        texts=texts,
        features=FeaturePoints(feature=list(range(len(at))), x=shorts(at[:, 0], 3), y=shorts(at[:, 1], 3)),
        text_variance=variance,
        feature_variance=(short(share[0]) or 0.0, short(share[1]) or 0.0),
        note=_MAP,
    )


def circumplex(explored: Explored) -> Circumplex | None:
    """Emotions and concepts in valence and arousal, or in the plane of the families; None with fewer than two of them."""
    return _rated(explored) or _of_families(explored)


def _rated(explored: Explored) -> Circumplex | None:
    if not explored.has("norms"):
        return None
    try:
        record = Norms.read(explored.study.path)
    except BadInput:
        return None
    if record.sae != explored.study.sae_key:
        return None  # ratings were read with another SAE
    places = tuple(
        Place(
            emotion=place.emotion,
            concept=place.concept or None,
            x=round(place.valence, 3),
            y=round(place.arousal, 3),
        )
        for place in record.places
        if place.valence is not None and place.arousal is not None
    )
    if not places:
        return None
    readings = tuple(
        PlaneReading(
            reading=reading,
            scale=scale,
            spearman=short(rated.spearman),
            ci=rated.ci,
            control=short(rated.control),
        )
        for reading, scales in record.correlations.get("family", {}).items()
        for scale, rated in scales.items()
    )
    return Circumplex(
        source="norms",
        x="valence (SD of people's ratings)",
        y="arousal (SD of people's ratings)",
        places=places,
        readings=readings,
        note=f"{_NORMS} Ratings: {record.table}, {record.n} texts.",
    )


def _of_families(explored: Explored) -> Circumplex | None:
    families = [family for family in explored.study.families.families if family.features]
    if len(families) < 2:
        return None
    vectors = unit_rows(np.stack([family.direction(explored.study.W_dec()) for family in families]))
    axes = principal_components(vectors)[0][:2]
    at = (vectors - vectors.mean(axis=0)) @ axes.T
    return Circumplex(
        source="families",
        x="first axis of the families",
        y="second axis of the families",
        places=tuple(
            Place(emotion=family.emotion, concept=None, x=round(float(x), 3), y=round(float(y), 3))
            for family, (x, y) in zip(families, at, strict=True)
        ),
        readings=(),
        note=_FAMILIES,
    )
