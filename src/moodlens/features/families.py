"""Gathering the emotion features of each emotion into a family, from train + val rows alone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from moodlens.settings.features import FeatureSettings
from moodlens.stats.ranks import activity, auroc, firing_rates, selectivity
from moodlens.study.families import Families, Family
from moodlens.study.rows import DEV, Rows

if TYPE_CHECKING:
    import polars as pl


def gather_families(
    table: "pl.DataFrame", codes: np.ndarray, rows: Rows, settings: FeatureSettings
) -> Families:
    """Gather the emotion features of each emotion into a family.

    Members are emotion features, best on train + val first (their standing on test decides only whether they are
    emotion features). Best is the lead, AUROC - 1/2, with neutral rows among the negatives; or, by default, the
    lead times the log of the selectivity: how many texts a feature reaches, times the evidence that one firing is,
    as in naive Bayes. Where ``table`` has a ``stability`` column, features below
    ``settings.min_stability`` stay out.

    Args:
        table: one row per feature, from :func:`moodlens.features.select.select_features`.
        codes: ``(n, d_sae)`` activations of ``rows``; those of plain and neutral train + val rows are read.
        rows: of the study. A text whose emotion is not known is no negative.
        settings: size, weights and stability of the families.
    """
    import polars as pl

    dev = rows.where(*DEV)
    codes, label = codes[dev], rows.label[dev]
    candidates = table.filter(pl.col("emotion_feature"))
    if settings.min_stability > 0 and "stability" in table.columns:
        candidates = candidates.filter(pl.col("stability") >= settings.min_stability)
    families = []
    for c, name in enumerate(rows.emotions):
        pool = candidates.filter(pl.col("emotion") == name)["feature"].to_numpy()
        if not len(pool):
            families.append(Family(emotion=name))
            continue
        lead, merit = (values[c] for values in merits(codes[:, pool], label, rows.n_emotions, settings))
        kept = np.argsort(-merit, kind="stable")[: settings.family_size]
        # Alone, a feature is worth what it reaches: the first of a family is the one with the largest lead.
        kept = kept[np.argsort(-lead[kept], kind="stable")]
        members = pool[kept]
        size = activity(codes[:, members])[1]
        scales = np.where(size > 0, size, 1.0)
        scaled = codes[:, members] / scales
        weights = weigh(merit[kept], label == c, lambda scaled=scaled: scaled, settings)
        families.append(
            Family(
                emotion=name,
                features=tuple(members.tolist()),
                weights=tuple(weights.tolist()),
                scales=tuple(scales.tolist()),
            )
        )
    return Families(families=tuple(families))


def merits(
    codes: np.ndarray, label: np.ndarray, n_emotions: int, settings: FeatureSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Lead and merit of every feature for every emotion, ``(C, d)`` each; see :func:`gather_families`.

    Args:
        codes: ``(n, d)`` activations of train + val rows.
        label: ``(n,)`` int; neutral rows are among the negatives of the lead, and left out of the selectivity.
        n_emotions: how many emotions there are.
        settings: ``family_weights``.
    """
    lead = auroc(codes, label, n_emotions, neutral_as_negative=True) - 0.5
    merit = np.maximum(lead, 0.0)
    if settings.family_weights == "evidence":
        merit *= np.log(np.maximum(selectivity(firing_rates(codes, label, n_emotions)), 1.0))
    return lead, merit


def weigh(
    merit: np.ndarray, own: np.ndarray, scaled: Callable[[], np.ndarray], settings: FeatureSettings
) -> np.ndarray:
    """Weights of the members of a family, ``(k,)``.

    Args:
        merit: ``(k,)`` of :func:`merits`.
        own: ``(n,)`` bool, train + val rows of the emotion.
        scaled: gives the members' scaled activations ``(n, k)`` in these rows; asked for logistic regression alone.
        settings: ``family_weights``.
    """
    if settings.family_weights == "logistic":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        return model.fit(scaled(), own).coef_[0].astype(np.float64)
    weights = np.ones(len(merit)) if settings.family_weights == "equal" else merit
    if not weights.sum():
        weights = np.ones(len(merit))
    return weights / weights.sum()
