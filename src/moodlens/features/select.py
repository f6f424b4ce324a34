"""Find emotion features: choose on train + val, judge on test, and count what chance would have found.

The rule, for every feature:

1. *Choose*, on labelled train + val rows. The feature's emotion is the one with the highest AUROC. It is
   tested if it fires in at least ``min_firings`` of those rows and in ``min_groups`` groups of its emotion,
   and its selectivity there is above ``min_selectivity``.
   Only features of the core are: which these are was settled before any label was seen.
2. *Judge*, on labelled test rows, which had no part in step 1. p comes from moving labels over groups, q is
   Benjamini-Hochberg over every feature tested.
3. An *emotion feature* has ``q < settings.q`` and selectivity above ``min_selectivity`` on test.

The control repeats both steps in full with labels shuffled over groups.

Features are independent of each other but for the corrections over all of them, so they are read a block at a time: as
many as a budget of memory allows. The result does not depend on the blocks.
"""

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from moodlens.core import BadInput, Progress, plain, silent
from moodlens.core.maps import blocks, columns_of
from moodlens.features.blocks import feature_blocks, part_of
from moodlens.settings.features import FeatureSettings
from moodlens.stats.permute import Labelling, Permutations
from moodlens.stats.pvalues import benjamini_hochberg
from moodlens.stats.ranks import activity, auroc, firing_rates, selectivity, smoothed_rates
from moodlens.stats.units import Units, UnitSums, dense_codes, draw_labels, exchangeable_units, groups_fired
from moodlens.study.records.selection import Selection, ThresholdOnly
from moodlens.study.rows import DEV, KINDS, Rows

if TYPE_CHECKING:
    import polars as pl

_ORDINARY = tuple(kind for kind in KINDS if kind not in ("negation", "mixed"))
THRESHOLD_ONLY_SELECTIVITY, THRESHOLD_ONLY_FIRINGS = 2.0, 5
"""The field's usual test of a selective feature, which uses no held-out rows and no p-value."""


@dataclass(frozen=True)
class Evidence:
    """What test rows say under one labelling of their units; arrays over the features that may be claimed."""

    p: np.ndarray
    """NaN where a feature was not tested."""
    selectivity: np.ndarray

    def holds(self, settings: FeatureSettings) -> tuple[np.ndarray, np.ndarray]:
        """q over all tested features, and which of them hold (bool)."""
        q = benjamini_hochberg(self.p)
        return q, (q < settings.q) & (self.selectivity > settings.min_selectivity)


@dataclass(frozen=True)
class Selected:
    """The features of one SAE, judged."""

    table: "pl.DataFrame"
    """One row per feature, in the order of the codes' columns; no stability yet."""
    summary: Selection
    evidence: tuple[Evidence, ...]
    """Under the true labels, then under each of the shuffled ones."""


@dataclass(frozen=True)
class _Choice:
    """Step 1 under one labelling of the train + val units; arrays are (d,)."""

    emotion: np.ndarray
    auroc: np.ndarray
    selectivity: np.ndarray
    tested: np.ndarray


class Judges(NamedTuple):
    """The exchangeable units of the rows that choose and of those that judge."""

    dev: Units
    test: Units


@dataclass(frozen=True)
class _Block:
    """What is known of some neighbouring features; arrays over them, those of the last four over the core's alone."""

    choice: _Choice
    described: dict[str, np.ndarray]
    tested: tuple[np.ndarray, ...]
    """Under each labelling."""
    selectivity: tuple[np.ndarray, ...]
    """Under each labelling, on test."""
    core_emotion: np.ndarray
    threshold_only: np.ndarray
    """(labellings,) features that pass the field's threshold."""


def _longer(values: np.ndarray, d: int) -> np.ndarray:
    """``values`` filled up to length d with False or NaN."""
    missing = np.full(d - len(values), False if values.dtype == bool else np.nan)
    return np.concatenate([values, missing])


def select_features(
    codes: np.ndarray,
    rows: Rows,
    settings: FeatureSettings,
    *,
    seed: int,
    core_size: int | None = None,
    n_edge: int = 0,
    memory: float = math.inf,
    progress: Progress | None = None,
) -> Selected:
    """Choose each feature's emotion on train + val, judge it on test, and repeat under shuffled labels.

    Args:
        codes: ``(n, d_sae)`` activations of ``rows``, >= 0.
        rows: of the study. Only labelled plain rows take part; held-out ones are reported, never used.
        settings: what it takes to be tested and to hold.
        seed: of the permutations and shuffles.
        core_size: features from this number on are described, never tested. None: all may be.
        n_edge: of those, how many stand at the core's edge; the others are the rest.
        memory: GiB that what is computed of the codes may take, about. Of no influence on the result.

    Raises:
        BadInput: shapes disagree, a group straddles train + val and test, or an emotion has no test rows.
    """
    dev, test = _check(codes, rows)
    rng = np.random.default_rng(seed)
    units = Judges(*(exchangeable_units(rows.label[n], rows.group[n], rows.copy[n]) for n in (dev, test)))
    dev_labels, test_labels = (
        np.vstack([part.labels, draw_labels(part, settings.n_shuffles, rng)]) for part in units
    )
    d = codes.shape[1]
    core = d if core_size is None else core_size
    alive, density, size = _activity(codes, rows)
    parts = feature_blocks(units, density, rows.n_emotions, memory)
    judge = Permutations(
        len(dev_labels),
        rows.n_emotions,
        n_permutations=settings.n_permutations,
        rng=rng,
        n_parts=sum(columns.start < core for columns in parts),
    )
    blocks: list[_Block] = []
    for number, columns in enumerate(parts):
        dev_sums, test_sums = (
            UnitSums.over(columns_of(codes, n, columns), part)
            for n, part in zip((dev, test), units, strict=True)
        )
        n_core = min(max(core - columns.start, 0), columns.stop - columns.start)
        few, judge_sums = dev_sums.first(n_core), test_sums.first(n_core)
        choices = [_choose(few, labels, rows.n_emotions, settings) for labels in dev_labels]
        labellings = [
            Labelling(labels, np.where(choice.tested, choice.emotion, -1))
            for labels, choice in zip(test_labels, choices, strict=True)
        ]
        judge.add(judge_sums, labellings, part_of(progress or silent, number, len(parts)))
        whole = _choose(dev_sums, dev_labels[0], rows.n_emotions, settings)
        blocks.append(
            _Block(
                whole,
                _described(codes, rows, columns, test_sums, whole.emotion),
                tuple(choice.tested for choice in choices),
                tuple(_own_selectivity(judge_sums, labelling, rows.n_emotions) for labelling in labellings),
                choices[0].emotion,
                _threshold_only(dev_sums, test_sums, dev_labels, test_labels, rows.n_emotions),
            )
        )
    chances = judge.results()
    tested = [np.concatenate(of) for of in zip(*(block.tested for block in blocks), strict=True)]
    ratios = [np.concatenate(of) for of in zip(*(block.selectivity for block in blocks), strict=True)]
    evidence = tuple(Evidence(chance.p, ratio) for chance, ratio in zip(chances, ratios, strict=True))
    q, holds = evidence[0].holds(settings)
    counts = [int(shuffled.holds(settings)[1].sum()) for shuffled in evidence[1:]]
    emotion = np.concatenate([block.core_emotion for block in blocks])
    passed = np.sum([block.threshold_only for block in blocks], axis=0)
    summary = {
        "n_features": d,
        "core_size": core,
        "n_alive": alive.sum(),
        "n_tested": tested[0].sum(),
        "n_emotion_features": holds.sum(),
        "per_emotion": dict(
            zip(rows.emotions, np.bincount(emotion[holds], minlength=rows.n_emotions), strict=True)
        ),
        "n_family_wise": (holds & (chances[0].p_maxt < settings.q)).sum(),
        "n_rows_test": len(test),
        "n_groups_test": len(np.unique(rows.group[test])),
        "n_permutations": settings.n_permutations,
        "q": settings.q,
        "min_selectivity": settings.min_selectivity,
        "shuffled": {
            "n_shuffles": settings.n_shuffles,
            "n_tested_mean": np.mean([shuffled.sum() for shuffled in tested[1:]]),
            "counts": counts,
            "mean": np.mean(counts),
            "p95": np.percentile(counts, 95),
        },
        "threshold_only": ThresholdOnly(
            count=int(passed[0]),
            shuffled_mean=float(np.mean(passed[1:])),
            shuffled_p95=float(np.percentile(passed[1:], 95)),
            min_selectivity=THRESHOLD_ONLY_SELECTIVITY,
            min_firings=THRESHOLD_ONLY_FIRINGS,
        ),
    }
    judged = {"p": evidence[0].p, "q": q, "p_maxt": chances[0].p_maxt, "tested": tested[0]}
    judged |= {"emotion_feature": holds}
    known = {
        name: np.concatenate([block.described[name] for block in blocks]) for name in blocks[0].described
    }
    known |= {"density": density, "mean_activation": size}
    known |= {name: _longer(values, d) for name, values in judged.items()}
    table = _table(rows.emotions, alive, _joined([block.choice for block in blocks]), known, (core, n_edge))
    return Selected(table, Selection.model_validate(plain(summary)), evidence)


def choose_features(codes: np.ndarray, rows: Rows, settings: FeatureSettings) -> "pl.DataFrame":
    """Step 1 alone: each feature's emotion on train + val, and whether it would be tested.

    Nothing is judged, so these rows say nothing about whether a choice holds.

    Args:
        codes: ``(n, d_sae)`` activations of ``rows``; those of labelled plain train + val rows are read.
        rows: of the study.
        settings: what it takes to be tested.

    Returns:
        feature, emotion, auroc_dev, selectivity_dev, tested; in the order of the codes' columns.
    """
    import polars as pl

    dev = rows.labelled(*DEV)
    sums = UnitSums.of(codes[dev], rows.label[dev], rows.group[dev], rows.copy[dev])
    choice = _choose(sums, sums.units.labels, rows.n_emotions, settings)
    return pl.DataFrame(
        {
            "feature": np.arange(codes.shape[1]),
            "emotion": [rows.emotions[c] for c in choice.emotion],
            "auroc_dev": choice.auroc,
            "selectivity_dev": choice.selectivity,
            "tested": choice.tested,
        }
    )


def _check(codes: np.ndarray, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the labelled train + val rows and of the labelled test rows."""
    if codes.ndim != 2 or len(codes) != len(rows):
        raise BadInput(f"codes of shape {codes.shape} do not fit {len(rows)} texts")
    if rows.n_emotions < 2:
        raise BadInput(f"at least two emotions are needed to compare, not {rows.n_emotions}")
    if not all(np.isfinite(block).all() for block in blocks(codes)):
        raise BadInput("codes hold NaN or infinite values; encode the embeddings again")
    unknown = sorted(set(rows.split.tolist()) - {*DEV, "test", "held_out"})
    if unknown:
        raise BadInput(f"unknown split {unknown[0]!r}; use train, val, test or held_out")
    dev, test = rows.labelled(*DEV), rows.labelled("test")
    for c, name in enumerate(rows.emotions):
        for where, numbers in (("train + val", dev), ("test", test)):
            if not (rows.label[numbers] == c).any():
                raise BadInput(f"no {where} rows are labelled {name!r}; add prompts or change the split")
    both = np.intersect1d(rows.group[dev], rows.group[test])
    if len(both):
        text = rows.texts[dev][rows.group[dev] == both[0]][0]
        raise BadInput(
            f"{len(both)} groups lie in both train + val and test, such as that of {text!r}; split by group"
        )
    return dev, test


def _choose(sums: UnitSums, labels: np.ndarray, n_emotions: int, settings: FeatureSettings) -> _Choice:
    areas = sums.auroc(labels, n_emotions)
    emotion = areas.argmax(axis=0)
    feature = np.arange(areas.shape[1])
    ratio = sums.selectivity(labels, n_emotions)[emotion, feature]
    fired = sums.fires > 0
    n_groups = np.zeros(areas.shape)
    for c in range(n_emotions):
        n_groups[c] = groups_fired(fired[labels == c], sums.units.strata[labels == c])
    tested = (
        (sums.fires.sum(axis=0) >= settings.min_firings)
        & (n_groups[emotion, feature] >= settings.min_groups)
        & (ratio > settings.min_selectivity)
    )
    return _Choice(emotion, areas[emotion, feature], ratio, tested)


def _own_selectivity(sums: UnitSums, labelling: Labelling, n_emotions: int) -> np.ndarray:
    ratio = sums.selectivity(labelling.labels, n_emotions)
    return ratio[np.maximum(labelling.emotion, 0), np.arange(ratio.shape[1])]


def _threshold_only(
    dev: UnitSums, test: UnitSums, dev_labels: np.ndarray, test_labels: np.ndarray, n_emotions: int
) -> np.ndarray:
    """Features that pass the field's threshold on all rows at once, under each labelling."""
    fires = np.vstack([dev.fires, test.fires])
    n_rows = np.concatenate([dev.units.rows, test.units.rows])
    enough = fires.sum(axis=0) >= THRESHOLD_ONLY_FIRINGS
    counts = []
    for labels in np.hstack([dev_labels, test_labels]):
        one_hot = (labels == np.arange(n_emotions)[:, None]).astype(np.float64)
        rates = smoothed_rates(one_hot @ fires, one_hot @ n_rows)
        counts.append(int((enough & (selectivity(rates).max(axis=0) > THRESHOLD_ONLY_SELECTIVITY)).sum()))
    return np.array(counts)


def _activity(codes: np.ndarray, rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which features ever fire in an ordinary row (bool); density and size on those of train, val and test."""
    alive = np.zeros(codes.shape[1], dtype=bool)
    for block in blocks(codes, rows.where(kinds=_ORDINARY)):
        alive |= np.any(block > 0, axis=0)
    return alive, *activity(codes, rows.where(*DEV, "test", kinds=_ORDINARY))


def _described(
    codes: np.ndarray, rows: Rows, columns: slice, test: UnitSums, emotion: np.ndarray
) -> dict[str, np.ndarray]:
    """What test and held-out rows say of the features ``columns``, whose own emotions are ``emotion``."""
    own = (emotion, np.arange(len(emotion)))  # indexes a (C, d) array at each feature's own emotion
    judges, held_out = rows.labelled("test"), rows.labelled("held_out")
    rates = test.rates(test.units.labels, rows.n_emotions)
    described = {
        "auroc": test.auroc(test.units.labels, rows.n_emotions)[own],
        "selectivity": selectivity(rates)[own],
        **{f"rate_{name}": rates[c] for c, name in enumerate(rows.emotions)},
        "n_groups": _groups_of_own_emotion(columns_of(codes, judges, columns), rows[judges], emotion),
    }
    label = rows.label[held_out]
    if len(np.unique(label)) == rows.n_emotions:
        seen = columns_of(codes, held_out, columns)
        described["held_out_auroc"] = auroc(seen, label, rows.n_emotions)[own]
        described["held_out_selectivity"] = selectivity(firing_rates(seen, label, rows.n_emotions))[own]
    return described


def _joined(choices: list[_Choice]) -> _Choice:
    """The choices of neighbouring blocks as one."""
    names = [field.name for field in fields(_Choice)]
    return _Choice(*(np.concatenate([getattr(choice, name) for choice in choices]) for name in names))


def _table(
    emotions: tuple[str, ...],
    alive: np.ndarray,
    choice: _Choice,
    known: dict[str, np.ndarray],
    sizes: tuple[int, int],
) -> "pl.DataFrame":
    """Everything known of each feature; ``sizes``: how many may be claimed, and how many after them are at the edge."""
    import polars as pl

    core, n_edge = sizes
    d = len(alive)
    feature, nothing = np.arange(d), pl.Series([None] * d, dtype=pl.Float64)
    columns: dict[str, object] = {
        "feature": feature,
        "emotion": [emotions[c] if alive[f] else None for f, c in enumerate(choice.emotion)],
        "auroc_dev": choice.auroc,
        "selectivity_dev": choice.selectivity,
        **{name: known[name] for name in ("auroc", "selectivity")},
        **{name: known[name] for name in (f"rate_{emotion}" for emotion in emotions)},
        **{name: known[name] for name in ("p", "q", "p_maxt", "density", "mean_activation", "n_groups")},
        "core": feature < core,
        "edge": (feature >= core) & (feature < core + n_edge),
        **{name: known[name] for name in ("tested", "emotion_feature")},
        "family_rank": pl.Series([None] * d, dtype=pl.Int64),
        "family_weight": nothing,
        **{name: known.get(name, nothing) for name in ("held_out_auroc", "held_out_selectivity")},
    }
    # NaN means "not tested" in numpy; a table says null.
    return pl.DataFrame(columns).with_columns(pl.col("p", "q", "p_maxt").fill_nan(None))


def _groups_of_own_emotion(codes: np.ndarray, rows: Rows, emotion: np.ndarray) -> np.ndarray:
    """Groups of its own emotion in which each feature fires at least once. Returns (d,) int."""
    count = np.zeros(codes.shape[1], dtype=np.int64)
    for c in range(rows.n_emotions):
        of_emotion, features = rows.label == c, np.flatnonzero(emotion == c)
        if not len(features):
            continue
        group, n_groups = dense_codes(rows.group[of_emotion])
        row, column = np.nonzero(codes[of_emotion][:, features] > 0)
        pairs = np.unique(column * n_groups + group[row])
        count[features] = np.bincount(pairs // n_groups, minlength=len(features))
    return count
