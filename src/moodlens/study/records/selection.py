"""Of the stage ``features``: which features hold an emotion, and how many chance would have given."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.families import Families as Families
from moodlens.study.record import Column, Part, Record, TableSchema


class Shuffled(Part):
    """The whole procedure repeated with labels shuffled over groups."""

    n_shuffles: int = Field(description="repeats (count)")
    n_tested_mean: float = Field(description="features tested, mean over the repeats (count)")
    counts: tuple[int, ...] = Field(description="emotion features of every repeat (count)")
    mean: float = Field(description="mean of the counts")
    p95: float = Field(description="95th percentile of the counts")


class ThresholdOnly(Part):
    """What a bare threshold on all rows at once would claim, without held-out rows or a p-value."""

    count: int = Field(description="features that pass it (count)")
    shuffled_mean: float = Field(description="features that pass it under shuffled labels, mean (count)")
    shuffled_p95: float = Field(description="the same, 95th percentile (count)")
    min_selectivity: float = Field(description="selectivity that must be exceeded")
    min_firings: int = Field(description="rows in which the feature must fire (count)")


class Selection(Record):
    """Counts of emotion features beside their controls."""

    file: ClassVar[str] = "selection.json"
    stage: ClassVar[str] = "features"

    n_features: int = Field(description="features of the SAE (count)")
    core_size: int = Field(
        description="first features, which alone may be claimed; the rest rebuilds (count)"
    )
    n_alive: int = Field(description="features that fire in any text but negations and mixtures (count)")
    n_tested: int = Field(description="features that passed the bar on train + val (count)")
    n_emotion_features: int = Field(description="of them, those that held on test (count)")
    per_emotion: dict[str, int] = Field(description="emotion features of every emotion (count)")
    n_family_wise: int = Field(description="emotion features whose max-T p is below q (count)")
    n_rows_test: int = Field(description="test rows that judged (count)")
    n_groups_test: int = Field(description="their independent groups (count)")
    n_permutations: int = Field(description="permutations behind each p (count)")
    q: float = Field(description="false discovery rate that was asked for")
    min_selectivity: float = Field(description="selectivity that must be exceeded on test")
    shuffled: Shuffled
    threshold_only: ThresholdOnly


_JUDGED = {
    "feature": Column("Int64", "", "number, the column of the codes"),
    "emotion": Column("String", "", "the emotion it is tested for, chosen on train + val; null if it never fires"),
    "auroc_dev": Column("Float64", "AUROC", "on train + val, where the emotion was chosen. Not evidence"),
    "selectivity_dev": Column("Float64", "ratio", "on train + val, where the emotion was chosen. Not evidence"),
    "auroc": Column("Float64", "AUROC", "of its activation on test: its emotion against the other emotions"),
    "selectivity": Column("Float64", "ratio", "firing rate in its emotion / mean rate in the others (both smoothed)"),
    "rate_*": Column("Float64", "share", "of that emotion's rows in which it fires, smoothed: (fires + 0.5) / (n + 1)"),
    "p": Column("Float64", "", "permutation of labels over groups. Null: not tested"),
    "q": Column("Float64", "", "Benjamini-Hochberg over all tested features. Null: not tested"),
    "p_maxt": Column("Float64", "", "family-wise p (max-T). Null: not tested"),
    "density": Column("Float64", "share", "of rows (all but held-out) in which it fires"),
    "mean_activation": Column("Float64", "embedding units", "mean where it fires, in the rows of density"),
    "n_groups": Column("Int64", "count", "test groups of its emotion in which it fires"),
    "core": Column("Boolean", "", "may be claimed; the others are never tested"),
    "edge": Column("Boolean", "", "at the core's edge: neither claimed nor a control; the others rebuild what is left"),
    "tested": Column("Boolean", "", "of the core, and passed the bar on train + val"),
    "emotion_feature": Column("Boolean", "", "tested, and q and selectivity hold on test"),
    "family_rank": Column("Int64", "", "place in its emotion's family, 1 is first; null outside"),
    "family_weight": Column("Float64", "", "weight in its emotion's family; null outside"),
    "held_out_auroc": Column("Float64", "AUROC", "on held-out words, scenes and templates; null without such rows"),
    "held_out_selectivity": Column("Float64", "ratio", "on held-out words, scenes and templates; null without such rows"),
    "stability": Column("Float64", "share", "of the other pipelines in which it reappears; null outside the core"),
    "stability_cosine": Column("Float64", "cosine", "mean decoder cosine with its matches in other pipelines; null outside the core"),
    "stability_correlation": Column("Float64", "correlation", "mean correlation of activations with its matches; null outside the core"),
}  # fmt: skip
SELECTION = TableSchema("selection.parquet", "features", _JUDGED)
"""One row for each feature, as the features stage leaves it. Where nothing is said, test rows."""
