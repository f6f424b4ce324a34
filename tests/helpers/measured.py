"""A study of two emotions in which all was measured and all is good, and each part of it with other numbers."""

from dataclasses import replace

import numpy as np
import polars as pl

from helpers.report_records import names_record
from moodlens.study.records.causal import Causal
from moodlens.study.records.concepts import ConceptCount, Concepts, EmotionConcepts
from moodlens.study.records.pairs import Compositionality, Orthogonality, Pairs
from moodlens.study.records.ratings import RatedClaims, RatedScale, Ratings
from moodlens.study.records.sae import Reconstruction
from moodlens.study.records.selection import Selection, Shuffled, ThresholdOnly
from moodlens.study.records.stability import Stability
from moodlens.study.records.transfer import HeldOut, SpecialRows, Transfer, TransferSet
from moodlens.study.records.untrained import Claims, Untrained
from moodlens.validate.criteria import CRITERIA
from moodlens.validate.criterion import Measured
from moodlens.validate.stability import Reappearance
from moodlens.validate.verdict import judge

EMOTIONS = ("a", "b")
MUST = [criterion.id for criterion in CRITERIA if criterion.must]
"""Criteria that decide."""
IDS = [criterion.id for criterion in CRITERIA]
"""All of them, in order."""


def covering(n=12, covered=0.8, covered_control=0.1):
    size = 2 * n
    return pl.DataFrame(
        {
            "emotion": ["a", "b"] * n,
            "emotion_feature": [True] * size,
            "monosemanticity": [covered] * size,
            "monosemanticity_control": [covered_control] * size,
        }
    )


def rebuilt(**changes):
    metrics = {
        "mse": 0.001, "explained_variance": 0.9, "l0": 12, "active_share": 0.02, "dead_share": 0.01, "dense_share": 0.0,
        "mean_norm_ratio": 0.9, "d_sae": 600,
    } | changes.pop("held_out", {})  # fmt: skip
    mean = {"mse": 0.0005, "explained_variance": 0.0} | changes.pop("mean", {})
    return Reconstruction.model_validate(
        {
            "held_out": metrics,
            "train": {name: value for name, value in metrics.items() if name != "d_sae"}
            | changes.pop("train", {}),
            "baselines": {
                "mean": mean,
                "pca": {"mse": 0.0002, "explained_variance": 0.6, "n_components": 12},
            },
            "rows": {"train": 100, "val": 10, "test": 60},
        }
    )


def selected(n=80, p95=1.0, alone=150.0, **changes):
    values = {
        "n_features": 600, "core_size": 90, "n_alive": 600, "n_tested": 100, "n_emotion_features": n, "per_emotion": {"a": n, "b": 0},
        "n_family_wise": 10, "n_rows_test": 300, "n_groups_test": 100, "n_permutations": 1000, "q": 0.05,
        "min_selectivity": 2.0,
    }  # fmt: skip
    shuffled = Shuffled(n_shuffles=20, n_tested_mean=50, counts=(0, 1), mean=0.1, p95=p95)
    only = ThresholdOnly(count=200, shuffled_mean=alone, shuffled_p95=160, min_selectivity=2.0, min_firings=5)
    return Selection(**values | changes, shuffled=shuffled, threshold_only=only)


def named(per, dealt=0.0):
    record = names_record(EMOTIONS)
    each = dict.fromkeys(EMOTIONS, dealt)
    return record.model_copy(
        update={
            "per_emotion": per,
            "dealt_judged": record.dealt_judged.model_copy(update={"per_emotion_p95": each}),
        }
    )


def inside(per, *, covered=4, shuffled=1.0, n=5):
    count = ConceptCount(n_features=1, n_groups_test=9, best_auroc=0.8, difference_in_means=0.7)
    return Concepts(
        asked=True, n_concept_features=sum(per.values()), shuffled_p95=2.0, rule="a rule", emotions={
            emotion: EmotionConcepts(
                n_judged=20, n_features=found, n_covered=covered, shuffled_mean=0.1, shuffled_p95=shuffled,
                concepts={f"concept {i}": count for i in range(n)}, left_out=(),
            )
            for emotion, found in per.items()
        },
    )  # fmt: skip


NOT_ASKED = Concepts(asked=False, n_concept_features=0, shuffled_p95=0.0, emotions={}, rule="a rule")


def untrained(**changes):
    none = dict.fromkeys(EMOTIONS, 0)
    values = {
        "n_features": 20, "active_share": 0.02, "n_claimed": 1, "per_emotion": none, "held_out_auroc": 0.55,
        "concepts_per_emotion": none, "interpretable_per_emotion": none, "causal_per_emotion": none, "stable_share": 0.0,
    }  # fmt: skip
    alone = Claims(n_features=600, active_share=0.02, n_claimed=626, per_emotion=none, held_out_auroc=0.6)
    kinds = ("untrained-rows", "untrained-random")
    return Untrained(
        consensus={kind: Claims(**values | (changes if kind == kinds[0] else {})) for kind in kinds},
        alone=dict.fromkeys(kinds, alone),
    )


def caused(per, chance, untrained=None):
    return Causal(
        per_emotion=per, control_per_emotion=chance, untrained_per_emotion=untrained, control_name="controls",
        rule="a rule", n_tested=per, n_controls=200, n_untrained=200, n_random_directions=200, n_rows=100, n_groups=20, readouts="held-out",
    )  # fmt: skip


def again(share, null=0.0, *, subset=None, bootstrap=None, size=24):
    """``share`` of the features reappear in every seed, ``null`` of the random directions."""
    seeds, other = (
        np.where(np.arange(size) < part * size, 1.0, 0.0)
        for part in (share, share if bootstrap is None else bootstrap)
    )
    table = pl.DataFrame(
        {
            "feature": range(size), "reappears": seeds, "reappears_bootstrap": other, "correlation": seeds,
            "alive": [True] * size,
        }
    )  # fmt: skip
    return Reappearance(
        table,
        Stability(
            n_seeds=5,
            reappearance=0.7,
            null_cosine_p95=0.5,
            null_seeds=(round(100 - 100 * null), 0, 0, 0, 0, round(100 * null)),
            subset_share=subset,
        ),
    )


def transferred(family=0.95, dense=0.95, gated=51.0, plain=80.0, **held_out):
    def mean(value):
        return {"mean": {"value": value, "ci": None}}

    texts = TransferSet(
        name="captions", n=90, n_texts=90, n_groups=9, n_per_emotion={"a": 45, "b": 45}, readings={},
        auroc={"family": mean(family), "difference_in_means": mean(dense)},
    )  # fmt: skip
    denied = SpecialRows(
        kind="negation", emotion="a", split="held_out", n=9, n_groups=3, score=0.1, percentile_own=40.0,
        percentile_others=plain, plain_own=1.0, plain_others=0.0, gated_others=gated,
    )  # fmt: skip
    return Transfer(
        held_out=HeldOut(n=100, n_groups=20, auroc={}, **{"note": ""} | held_out),
        special=(denied,),
        sets=(texts,),
    )


def pairs(together=(1.0, 0.01), independent=(0.95, 0.85), bar=0.3):
    return Pairs(
        compositionality=Compositionality(
            share=together[0],
            control_share=together[1],
            control_rise_share=0.1,
            n_moved=1,
            n_pairs=1,
            pairs=(),
        ),
        orthogonality=Orthogonality(
            max_correlation=bar, n_features=10, n_pairs=45, share=independent[0], control_share=independent[1]
        ),
    )


def rated(high=9, low=7, *, dealt=1.0, untrained=0, core=True):
    """Ratings of valence with so many features at either end."""

    def claims(high, low):
        return RatedClaims(
            n_features=90, n_rated=high + low, per_pole={"valence high": high, "valence low": low}
        )

    nothing = {"untrained-rows": claims(untrained, untrained), "untrained-random": claims(0, 0)}
    scale = RatedScale(
        n_dev=200, n_groups_dev=90, n_test=100, n_groups_test=40, low=2.0, high=8.0, n_tested=30, n_family_wise=9, best=0.2,
        dense=0.7,
    )  # fmt: skip
    shuffled = Shuffled(n_shuffles=20, n_tested_mean=5, counts=(0, 1), mean=0.1, p95=1.0)
    return Ratings(
        asked=True, scales={"valence": scale}, claims=claims(high, low), shuffled=shuffled, shuffled_pole_p95=dealt,
        consensus=nothing if core else {}, alone=dict.fromkeys(nothing, claims(40, 40)), n_permutations=1000, rule="goes with it",
    )  # fmt: skip


NOT_RATED = rated().model_copy(update={"asked": False})

GOOD = Measured(
    EMOTIONS,
    reconstruction=rebuilt(),
    selection=selected(),
    features=covering(),
    concepts=inside({"a": 9, "b": 7}),
    names=named({"a": 12, "b": 14}),
    causal=caused({"a": 12, "b": 15}, {"a": 0, "b": 1}, {"a": 2, "b": 0}),
    stability=again(0.9),
    transfer=transferred(family_auroc=0.9, control_auroc=0.6, ci=(0.85, 0.95)),
    pairs=pairs(),
    untrained=untrained(),
    ratings=rated(),
)


def judged(settings=None, **changes):
    verdict = judge("main", replace(GOOD, **changes), settings)
    return verdict, {criterion.id: criterion for criterion in verdict.criteria}
