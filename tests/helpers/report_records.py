"""Records and tables of a study, from random numbers."""

import numpy as np
import polars as pl

from moodlens.study.records.concepts import ConceptCount, Concepts, EmotionConcepts
from moodlens.study.records.names import Names
from moodlens.study.records.transfer import Transfer
from moodlens.study.records.untrained import Claims, Untrained


def concepts_record(emotions: tuple[str, ...]) -> Concepts:
    held = {
        f"concept {i}": ConceptCount(n_features=i, n_groups_test=9, best_auroc=0.8, difference_in_means=0.7)
        for i in range(3)
    }
    one = EmotionConcepts(
        n_judged=6, n_features=3, n_covered=2, shuffled_mean=0.1, shuffled_p95=1.0, concepts=held, left_out=()
    )
    return Concepts(
        asked=True, n_concept_features=3 * len(emotions), shuffled_p95=1.0, rule="it fires for one concept",
        emotions=dict.fromkeys(emotions, one),
    )  # fmt: skip


def untrained_record(emotions: tuple[str, ...]) -> Untrained:
    none = dict.fromkeys(emotions, 0)
    alone = Claims(n_features=64, active_share=0.02, n_claimed=6, per_emotion=none, held_out_auroc=0.6)
    agreed = alone.model_copy(
        update={
            "n_features": 2, "n_claimed": 0, "concepts_per_emotion": none, "interpretable_per_emotion": none,
            "causal_per_emotion": none, "stable_share": 0.0, "held_out_auroc": None,
        }
    )  # fmt: skip
    kinds = ("untrained-rows", "untrained-random")
    return Untrained(consensus=dict.fromkeys(kinds, agreed), alone=dict.fromkeys(kinds, alone))


def names_record(emotions: tuple[str, ...]) -> Names:
    counts = {"n_texts": 96, "n_named": 23, "n_judged": 8, "n_interpretable": 4, "with_concept": 3}
    shares = (
        "score",
        "control",
        "score_all",
        "precision",
        "recall",
        "monosemanticity",
        "monosemanticity_control",
    )
    each = dict.fromkeys(emotions, 1)
    dealt = {"n_deals": 100, "mean": 0.1, "p95": 1.0, "per_emotion_p95": each}
    return Names(
        rule="A word is in the text.", splits=("test",), q=0.043, min_score=0.731, attributed=True, per_emotion=each,
        judged_per_emotion=each, named_per_emotion=each, dealt=dealt, dealt_judged=dealt, **counts,
        **dict.fromkeys(shares, 0.5),
    )  # fmt: skip


def sweep_table(rng: np.random.Generator) -> tuple[pl.DataFrame, str]:
    from moodlens.sae import choose, pareto

    k = np.array([4, 8, 16, 32, 4, 8, 16, 32])
    ev = 0.4 + 0.15 * np.log2(k / 4) + rng.normal(0, 0.02, 8)
    frame = pl.DataFrame(
        {
            "name": [f"s{i}" for i in range(8)], "architecture": ["topk"] * 4 + ["batchtopk"] * 4, "d_sae": [64] * 8,
            "k": k, "l1_coefficient": [1e-3] * 8, "expansion_factor": [4.0] * 8, "learning_rate": [1e-3] * 8,
            "batch_size": [16] * 8, "seed": [0] * 8, "mse": 0.05 * (1 - ev), "explained_variance": ev,
            "explained_variance_train": ev + 0.1, "l0": k.astype(float), "active_share": k / 64,
            "dead_share": rng.random(8) * 0.2, "dev_selective": rng.integers(3, 9, 8), "epochs": [12] * 8,
            "seconds": [1.0] * 8,
        }
    )  # fmt: skip
    index, reason = choose(frame)
    chosen = pl.Series("chosen", np.arange(8) == index)
    return frame.with_columns(pl.Series("pareto", pareto(frame)), chosen), reason


def interventions(rng: np.random.Generator, emotions: tuple[str, ...]) -> pl.DataFrame:
    rows = []
    for readout in ("probe", "centroid"):
        for e in emotions:
            for subject, slope in (("family", 0.5), ("difference_in_means", 0.7), ("random_direction", 0.01)):
                for dose in (0.0, 0.5, 1.0, 2.0, 4.0):
                    for target in emotions:
                        effect = (slope if target == e else -slope / 4) * np.log1p(dose) + 0.02 * rng.normal()
                        rows.append(("transplant", subject, None, e, target, dose, readout, effect))
            for subject in ("family", "feature"):
                rows.append(("clamp", subject, 3 if subject == "feature" else None, e, e, 0.0, readout, -0.3))
            rows.append(("keep_family", "family", None, e, e, 1.0, readout, -0.2))
            rows.append(("zero_rest", "all_features", None, e, e, 1.0, readout, -0.9))
    names = ["kind", "subject", "feature", "emotion", "target", "dose", "readout", "effect"]
    schema = dict.fromkeys(names, pl.String) | {"feature": pl.Int64, "dose": pl.Float64, "effect": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(
        (pl.col("effect") - 0.05).alias("ci_low"), (pl.col("effect") + 0.05).alias("ci_high"),
        pl.lit(0.0).alias("control_mean"), pl.lit(0.06).alias("control_edge"), pl.lit(0.005).alias("p"),
        pl.lit(0.01).alias("q"), pl.lit(40, pl.Int64).alias("n_groups"),
    )  # fmt: skip


def stability_table(rng: np.random.Generator, d: int) -> pl.DataFrame:
    cosine = rng.beta(5, 2, d)
    again = rng.integers(0, 3, d) / 2
    return pl.DataFrame(
        {
            "feature": np.arange(d), "reappears_decoder": again, "reappears_activation": again,
            "reappears": again, "reappears_bootstrap": again / 2, "decoder_cosine": cosine, "correlation": cosine - 0.1,
            "best_cosine": cosine, "best_correlation": cosine, "alive": [True] * d,
        }
    )  # fmt: skip


def transfer(rng: np.random.Generator, emotions: tuple[str, ...]) -> Transfer:
    def cell(value: float) -> dict:
        return {"value": value, "ci": [value - 0.03, min(value + 0.03, 1.0)]}

    auroc = {}
    bases = {
        "family": 0.86, "top_feature": 0.75, "family_active": 0.84, "top_feature_active": 0.74,
        "difference_in_means": 0.91, "linear_probe": 0.88,
    }  # fmt: skip
    for method, base in bases.items():
        auroc[method] = {name: cell(float(base + 0.03 * rng.normal())) for name in (*emotions, "mean")}
    special = [
        {
            "kind": kind, "emotion": e, "n": 12, "n_groups": 4, "score": 0.31, "percentile_own": 22.0,
            "percentile_others": 61.5, "plain_own": 0.9, "plain_others": 0.1,
        }
        for kind in ("negation", "mixed", "neutral") for e in emotions
    ]  # fmt: skip
    captions = {"name": "captions", "n": 1416, "n_texts": 1416, "n_groups": 6, "n_per_emotion": {}}
    captions |= {"readings": dict.fromkeys(auroc, "tokens, log-mean-exp"), "auroc": auroc}
    held_out = {"n": 200, "n_groups": 20, "note": "", "auroc": auroc}
    return Transfer.model_validate({"sets": [captions], "held_out": held_out, "special": special})
