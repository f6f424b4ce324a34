"""Find emotion features: choose on train + val, judge on test, and count what chance would have found.

The rule, for every feature:

1. *Choose*, on labelled train + val rows. The feature's emotion is the one with the highest AUROC. It is
   tested if it fires in at least ``min_firings`` of those rows and in ``min_groups`` groups of its emotion,
   and its selectivity there is above ``min_selectivity``.
2. *Judge*, on labelled test rows, which had no part in step 1. p comes from moving labels over groups, q is
   Benjamini-Hochberg over every feature tested.
3. An *emotion feature* has ``q < settings.q`` and selectivity above ``min_selectivity`` on test.

The control repeats both steps in full with labels shuffled over groups.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput, Progress
from moodlens.settings.features import FeatureSettings
from moodlens.stats.permute import Labelling, PermutationP, permutation_p
from moodlens.stats.pvalues import benjamini_hochberg
from moodlens.stats.ranks import activity, auroc, firing_rates, selectivity, smoothed_rates
from moodlens.stats.units import UnitSums, draw_labels

if TYPE_CHECKING:
    import polars as pl

THRESHOLD_ONLY_SELECTIVITY, THRESHOLD_ONLY_FIRINGS = 2.0, 5
"""The field's usual test of a selective feature, which uses no held-out rows and no p-value."""


@dataclass(frozen=True)
class Selection:
    """The features of one SAE, judged."""

    table: "pl.DataFrame"
    """One row per feature, in the order of the codes' columns."""
    summary: dict[str, Any]
    """Counts beside their controls; written as selection.json."""


@dataclass(frozen=True)
class _Choice:
    """Step 1 under one labelling of the train + val units; arrays are (d,)."""

    emotion: np.ndarray
    auroc: np.ndarray
    selectivity: np.ndarray
    tested: np.ndarray


def select_features(
    codes: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None,
    splits: np.ndarray,
    emotions: tuple[str, ...],
    settings: FeatureSettings,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Selection:
    """Choose each feature's emotion on train + val, judge it on test, and repeat under shuffled labels.

    Args:
        codes: (n, d_sae) activations, >= 0.
        labels: (n,) int, index into ``emotions``, -1 for neutral. Neutral rows take no part in the statistics.
        groups: (n,) int, rows that are not independent share a code; None makes every row independent.
        splits: (n,) "train", "val", "test" or "held_out". Labelled held-out rows are reported, never used.
        emotions: names of the emotions, at least two.
        seed: of the permutations and shuffles.

    Raises:
        BadInput: shapes disagree, a group straddles train + val and test, or an emotion has no test rows.
    """
    labels, splits = np.asarray(labels), np.asarray(splits).astype(str)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    dev, test = _check(codes, labels, groups, splits, emotions)
    n_emotions, d = len(emotions), codes.shape[1]
    rng = np.random.default_rng(seed)

    dev_sums = UnitSums.of(codes[dev], labels[dev], groups[dev])
    test_sums = UnitSums.of(codes[test], labels[test], groups[test])
    dev_labels = np.vstack([dev_sums.units.labels, draw_labels(dev_sums.units, settings.n_shuffles, rng)])
    test_labels = np.vstack([test_sums.units.labels, draw_labels(test_sums.units, settings.n_shuffles, rng)])

    choices = [_choose(dev_sums, shuffled, n_emotions, settings) for shuffled in dev_labels]
    questions = [
        Labelling(shuffled, np.where(choice.tested, choice.emotion, -1))
        for shuffled, choice in zip(test_labels, choices, strict=True)
    ]
    answers = permutation_p(
        test_sums,
        questions,
        n_emotions,
        n_permutations=settings.n_permutations,
        rng=rng,
        progress=progress,
    )
    judged = [
        _judge(test_sums, question, answer, n_emotions, settings)
        for question, answer in zip(questions, answers, strict=True)
    ]

    table = _table(codes, labels, groups, splits, emotions, choices[0], questions[0], answers[0], judged[0])
    counts = [int(found.sum()) for _, found in judged[1:]]
    found = judged[0][1]
    summary = {
        "n_features": d,
        "n_alive": int((codes > 0).any(axis=0).sum()),
        "n_tested": int(choices[0].tested.sum()),
        "n_emotion_features": int(found.sum()),
        "per_emotion": {
            name: int((found & (choices[0].emotion == c)).sum()) for c, name in enumerate(emotions)
        },
        "n_family_wise": int((found & (answers[0].p_maxt < settings.q)).sum()),
        "n_rows_test": int(test.sum()),
        "n_groups_test": len(np.unique(groups[test])),
        "n_permutations": settings.n_permutations,
        "q": settings.q,
        "min_selectivity": settings.min_selectivity,
        "shuffled": {
            "n_shuffles": settings.n_shuffles,
            "n_tested_mean": float(np.mean([c.tested.sum() for c in choices[1:]])),
            "counts": counts,
            "mean": float(np.mean(counts)),
            "p95": float(np.percentile(counts, 95)),
        },
        "threshold_only": _threshold_only(dev_sums, test_sums, dev_labels, test_labels, n_emotions),
    }
    return Selection(table, summary)


def choose_features(
    codes: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray | None,
    emotions: tuple[str, ...],
    settings: FeatureSettings,
) -> "pl.DataFrame":
    """Step 1 alone: each feature's emotion on the labelled of the given rows, and whether it would be tested.

    Nothing is judged, so these rows say nothing about whether a choice holds.

    Args:
        codes: (n, d_sae) activations.
        labels: (n,) int, -1 for none.
        groups: (n,) int or None.
        emotions: names of the emotions.
        settings: what it takes to be tested.

    Returns:
        feature, emotion, auroc_dev, selectivity_dev, tested; in the order of the codes' columns.
    """
    import polars as pl

    known = np.flatnonzero(np.asarray(labels) >= 0)
    sums = UnitSums.of(codes[known], labels[known], known if groups is None else groups[known])
    choice = _choose(sums, sums.units.labels, len(emotions), settings)
    return pl.DataFrame(
        {
            "feature": np.arange(codes.shape[1]),
            "emotion": [emotions[c] for c in choice.emotion],
            "auroc_dev": choice.auroc,
            "selectivity_dev": choice.selectivity,
            "tested": choice.tested,
        }
    )


def _check(
    codes: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    splits: np.ndarray,
    emotions: tuple[str, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Boolean masks of the labelled train + val rows and of the labelled test rows."""
    n = len(codes)
    if codes.ndim != 2 or not (len(labels) == len(groups) == len(splits) == n):
        raise BadInput(
            f"codes, labels, groups and splits must have one row each per text: "
            f"{codes.shape}, {labels.shape}, {groups.shape}, {splits.shape}"
        )
    if len(emotions) < 2:
        raise BadInput(f"at least two emotions are needed to compare, not {len(emotions)}")
    if n and (labels.min() < -1 or labels.max() >= len(emotions)):
        raise BadInput(f"labels must lie in -1..{len(emotions) - 1}, not {labels.min()}..{labels.max()}")
    if not np.isfinite(codes).all():
        raise BadInput("codes hold NaN or infinite values; encode the embeddings again")
    unknown = sorted(set(splits.tolist()) - {"train", "val", "test", "held_out"})
    if unknown:
        raise BadInput(f"unknown split {unknown[0]!r}; use train, val, test or held_out")
    known = labels >= 0
    dev, test = known & np.isin(splits, ("train", "val")), known & (splits == "test")
    for c, name in enumerate(emotions):
        for where, mask in (("train + val", dev), ("test", test)):
            if not (labels[mask] == c).any():
                raise BadInput(f"no {where} rows are labelled {name!r}; add prompts or change the split")
    both = np.intersect1d(groups[dev], groups[test])
    if len(both):
        raise BadInput(
            f"group {both[0]} lies in both train + val and test ({len(both)} such groups); split by group"
        )
    return dev, test


def _choose(sums: UnitSums, labels: np.ndarray, n_emotions: int, settings: FeatureSettings) -> _Choice:
    areas = sums.auroc(labels, n_emotions)
    emotion = areas.argmax(axis=0)
    feature = np.arange(areas.shape[1])
    lean = sums.selectivity(labels, n_emotions)[emotion, feature]
    fired = sums.fires > 0
    n_groups = np.zeros(areas.shape)
    for c in range(n_emotions):
        n_groups[c] = _groups_fired(fired[labels == c], sums.units.strata[labels == c])
    tested = (
        (sums.fires.sum(axis=0) >= settings.min_firings)
        & (n_groups[emotion, feature] >= settings.min_groups)
        & (lean > settings.min_selectivity)
    )
    return _Choice(emotion, areas[emotion, feature], lean, tested)


def _groups_fired(fired: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Groups in which each feature fired; the rows of a mixed group are units but one group."""
    whole = fired[strata == 0].sum(axis=0)
    for stratum in np.unique(strata[strata > 0]):
        whole = whole + fired[strata == stratum].any(axis=0)
    return whole


def _judge(
    sums: UnitSums, question: Labelling, answer: PermutationP, n_emotions: int, settings: FeatureSettings
) -> tuple[np.ndarray, np.ndarray]:
    """q (d,) and which features are emotion features (d,)."""
    q = benjamini_hochberg(answer.p)
    ratio = sums.selectivity(question.labels, n_emotions)
    ratio = ratio[np.maximum(question.emotion, 0), np.arange(len(q))]
    return q, (question.emotion >= 0) & (q < settings.q) & (ratio > settings.min_selectivity)


def _threshold_only(
    dev: UnitSums, test: UnitSums, dev_labels: np.ndarray, test_labels: np.ndarray, n_emotions: int
) -> dict[str, Any]:
    """Features that pass the field's threshold on all rows at once, and how many pass on shuffled labels."""
    fires = np.vstack([dev.fires, test.fires])
    rows = np.concatenate([dev.units.rows, test.units.rows])
    enough = fires.sum(axis=0) >= THRESHOLD_ONLY_FIRINGS
    counts = []
    for labels in np.hstack([dev_labels, test_labels]):
        one_hot = (labels == np.arange(n_emotions)[:, None]).astype(np.float64)
        rates = smoothed_rates(one_hot @ fires, one_hot @ rows)
        counts.append(int((enough & (selectivity(rates).max(axis=0) > THRESHOLD_ONLY_SELECTIVITY)).sum()))
    return {
        "count": counts[0],
        "shuffled_mean": float(np.mean(counts[1:])),
        "shuffled_p95": float(np.percentile(counts[1:], 95)),
        "min_selectivity": THRESHOLD_ONLY_SELECTIVITY,
        "min_firings": THRESHOLD_ONLY_FIRINGS,
    }


def _table(
    codes: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    splits: np.ndarray,
    emotions: tuple[str, ...],
    choice: _Choice,
    question: Labelling,
    answer: PermutationP,
    judged: tuple[np.ndarray, np.ndarray],
) -> "pl.DataFrame":
    import polars as pl

    n_emotions, d = len(emotions), codes.shape[1]
    feature = np.arange(d)
    emotion, q, found = choice.emotion, *judged
    test = (labels >= 0) & (splits == "test")
    held_out = (labels >= 0) & (splits == "held_out")
    own = (emotion, feature)  # indexes a (C, d) array at each feature's own emotion
    seen = np.flatnonzero(splits != "held_out")
    density, size = activity(codes[seen])
    alive = np.any(codes > 0, axis=0)
    tested = codes[test]
    rates = firing_rates(tested, labels[test], n_emotions)

    columns: dict[str, Any] = {
        "feature": feature,
        "emotion": [emotions[c] if alive[f] else None for f, c in enumerate(emotion)],
        "auroc_dev": choice.auroc,
        "selectivity_dev": choice.selectivity,
        "auroc": auroc(tested, labels[test], n_emotions)[own],
        "selectivity": selectivity(rates)[own],
    }
    columns |= {f"rate_{name}": rates[c] for c, name in enumerate(emotions)}
    columns |= {
        "p": answer.p,
        "q": q,
        "p_maxt": answer.p_maxt,
        "density": density,
        "mean_activation": size,
        "n_groups": _groups_of_own_emotion(tested, labels[test], groups[test], emotion, n_emotions),
        "tested": question.emotion >= 0,
        "emotion_feature": found,
        "family_rank": pl.Series([None] * d, dtype=pl.Int64),
        "family_weight": pl.Series([None] * d, dtype=pl.Float64),
    }
    missing = pl.Series([None] * d, dtype=pl.Float64)
    if all((labels[held_out] == c).any() for c in range(n_emotions)):
        columns["held_out_auroc"] = auroc(codes[held_out], labels[held_out], n_emotions)[own]
        away = selectivity(firing_rates(codes[held_out], labels[held_out], n_emotions))
        columns["held_out_selectivity"] = away[own]
    else:
        columns["held_out_auroc"] = columns["held_out_selectivity"] = missing
    # NaN means "not tested" in numpy; a table says null.
    return pl.DataFrame(columns).with_columns(pl.col("p", "q", "p_maxt").fill_nan(None))


def _groups_of_own_emotion(
    codes: np.ndarray, labels: np.ndarray, groups: np.ndarray, emotion: np.ndarray, n_emotions: int
) -> np.ndarray:
    """Groups of its own emotion in which each feature fires at least once. Returns (d,) int."""
    count = np.zeros(codes.shape[1], dtype=np.int64)
    for c in range(n_emotions):
        own, mine = labels == c, np.flatnonzero(emotion == c)
        if not len(mine):
            continue
        _, group = np.unique(groups[own], return_inverse=True)
        row, column = np.nonzero(codes[own][:, mine] > 0)
        pairs = np.unique(column * (int(group.max(initial=0)) + 1) + group[row])
        count[mine] = np.bincount(pairs // (int(group.max(initial=0)) + 1), minlength=len(mine))
    return count
