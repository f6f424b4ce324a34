"""Concept features: emotion features that also tell what the emotion is about.

Inside one emotion nothing can be gained by reading the emotion: its word, its templates and its intensity are the same
on both sides. The rule is that of :mod:`moodlens.features.select` on the rows of one emotion, concepts in the place of
labels: chosen on train + val, judged on test groups (words and scenes that chose nothing), concepts moved over groups,
Benjamini-Hochberg over the claimed features of all emotions together, and the whole repeated with concepts dealt to
groups at random.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import Progress, silent
from moodlens.features.select import Evidence, Selected, select_features
from moodlens.settings.features import FeatureSettings
from moodlens.stats.moments import mean_row, products
from moodlens.stats.ranks import auroc
from moodlens.study.records.concepts import CONCEPTS, ConceptCount, Concepts, EmotionConcepts
from moodlens.study.rows import DEV, Rows

if TYPE_CHECKING:
    import polars as pl

MIN_GROUPS = 3
"""Groups that a concept needs in train + val, and as many in test, to be chosen and judged."""


@dataclass(frozen=True)
class JudgedConcepts:
    """What became of the emotion features inside their emotions."""

    table: "pl.DataFrame"
    """:data:`moodlens.study.records.concepts.CONCEPTS`."""
    summary: Concepts


def concept_features(
    table: "pl.DataFrame",
    codes: np.ndarray,
    x: np.ndarray,
    rows: Rows,
    settings: FeatureSettings,
    *,
    seed: int,
    progress: Progress | None = None,
) -> JudgedConcepts:
    """Judge every emotion feature inside its emotion.

    Args:
        table: one row per feature, from :func:`moodlens.features.select.select_features`.
        codes: ``(n, d_sae)`` activations of ``rows``.
        x: ``(n, d_in)`` embeddings, for the dense reading that stands beside.
        rows: of the study, with concepts; without them nothing is asked.
        settings: those of the emotion features.
        seed: of the permutations and shuffles.
    """

    progress = progress or silent
    strong, leans = table["emotion_feature"].to_numpy().astype(bool), table["emotion"].to_numpy()
    inside: list[_Inside] = []
    for c, emotion in enumerate(rows.emotions):
        progress("concepts", c, rows.n_emotions)
        inner, names, left_out = _inside(rows, c)
        if len(names) < 2:
            continue
        features = np.flatnonzero(strong & (leans == emotion))
        few = rows[inner]
        index = {name: i for i, name in enumerate(names)}
        few = Rows.of(
            [index[name] for name in few.concept],
            emotions=names,
            group=few.group,
            split=few.split,
            texts=few.texts,
            copy=few.copy,
        )
        judged = select_features(codes[np.ix_(inner, features)], few, settings, seed=seed + c)
        inside.append(_Inside(emotion, features, few, inner, judged, left_out))
    progress("concepts", rows.n_emotions, rows.n_emotions)
    return _together(inside, x, settings)


@dataclass(frozen=True)
class _Inside:
    """One emotion, its concepts in the place of labels."""

    emotion: str
    features: np.ndarray
    rows: Rows
    numbers: np.ndarray
    """of its rows in the study"""
    judged: Selected
    left_out: tuple[str, ...]


def _together(found: list[_Inside], x: np.ndarray, settings: FeatureSettings) -> JudgedConcepts:
    """q over the claimed features of all emotions, under the true concepts and under each dealing."""
    import polars as pl

    cuts = np.cumsum([len(part.features) for part in found])[:-1]
    held, q_of = [], []
    for i in range(settings.n_shuffles + 1 if found else 0):
        both = [
            np.concatenate([getattr(part.judged.evidence[i], name) for part in found])
            for name in ("p", "selectivity")
        ]
        q, holds = Evidence(*both).holds(settings)
        held.append(np.split(holds, cuts))
        q_of.append(np.split(q, cuts))
    parts, emotions = [CONCEPTS.empty()], {}
    for place, part in enumerate(found):
        holds = held[0][place]
        parts.append(_rows(part, q_of[0][place], holds))
        shuffled = [int(dealt[place].sum()) for dealt in held[1:]]
        emotions[part.emotion] = _summary(part, x, holds, shuffled)
    totals = [sum(int(holds.sum()) for holds in dealt) for dealt in held[1:]] or [0]
    summary = Concepts(
        asked=bool(emotions),
        n_concept_features=sum(part.n_features for part in emotions.values()),
        shuffled_p95=float(np.percentile(totals, 95)),
        emotions=emotions,
        rule=f"among texts of its own emotion it fires for one concept: q < {settings.q:g} over groups that chose "
        f"nothing, and selectivity > {settings.min_selectivity:g}",
    )
    return JudgedConcepts(pl.concat(parts).sort("feature"), summary)


def _inside(rows: Rows, emotion: int) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Plain rows of an emotion whose concept can be judged, those concepts, and the others."""
    own = np.flatnonzero((rows.label == emotion) & (rows.kind == "plain") & (rows.concept != ""))
    sides = (np.isin(rows.split[own], DEV), rows.split[own] == "test")
    kept, left_out = [], []
    for name in sorted(set(rows.concept[own].tolist())):
        of_concept = rows.concept[own] == name
        enough = all(len(np.unique(rows.group[own][of_concept & side])) >= MIN_GROUPS for side in sides)
        (kept if enough else left_out).append(name)
    return own[np.isin(rows.concept[own], kept)], tuple(kept), tuple(left_out)


def _rows(part: _Inside, q: np.ndarray, holds: np.ndarray) -> "pl.DataFrame":
    import polars as pl

    table = part.judged.table
    return pl.DataFrame(
        {
            "feature": part.features.astype(np.int64),
            "concept": table["emotion"],
            "concept_auroc": table["auroc"],
            "concept_selectivity": table["selectivity"],
            "concept_p": table["p"],
            "concept_q": pl.Series(q).fill_nan(None),
            "concept_groups": table["n_groups"],
            "concept_feature": holds,
        },
        schema=CONCEPTS.dtypes(),
    )


def _summary(part: _Inside, x: np.ndarray, holds: np.ndarray, shuffled: list[int]) -> EmotionConcepts:
    """Counts of every concept, and what a dense reading of it gives."""
    import polars as pl

    rows, numbers = part.rows, part.numbers
    dev, test = rows.labelled(*DEV), rows.labelled("test")
    held = part.judged.table.filter(pl.Series(holds))
    concepts = {}
    for k, name in enumerate(rows.emotions):
        aurocs = held.filter(pl.col("emotion") == name)["auroc"]
        own = rows.label[dev] == k
        of_own, of_others = (
            mean_row(x, numbers[some], _group_weights(rows.group[some])) for some in (dev[own], dev[~own])
        )
        read = products(x, of_own - of_others, rows=numbers[test])[:, None]
        concepts[name] = ConceptCount(
            n_features=len(aurocs),
            n_groups_test=len(np.unique(rows.group[test][rows.label[test] == k])),
            best_auroc=None if not len(aurocs) else float(np.max(aurocs.to_numpy())),
            difference_in_means=float(auroc(read, np.where(rows.label[test] == k, 0, 1), 2)[0, 0]),
        )
    return EmotionConcepts(
        n_judged=len(part.features),
        n_features=len(held),
        n_covered=held["emotion"].n_unique(),
        shuffled_mean=float(np.mean(shuffled)),
        shuffled_p95=float(np.percentile(shuffled, 95)),
        concepts=concepts,
        left_out=part.left_out,
    )


def _group_weights(groups: np.ndarray) -> np.ndarray:
    """Weights ``(n,)`` under which every group counts alike: a group of many rows is one word too."""
    _, group, count = np.unique(groups, return_inverse=True, return_counts=True)
    return (1.0 / count)[group]
