"""Of the stage ``ratings``: which features go with people's ratings, and how many chance would have given."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Column, Part, Record, TableSchema
from moodlens.study.records.selection import Shuffled


class RatedScale(Part):
    """One scale that texts are rated on."""

    n_dev: int = Field(description="rated train + val texts (count)")
    n_groups_dev: int = Field(description="their groups (count)")
    n_test: int = Field(description="rated test texts, which judge (count)")
    n_groups_test: int = Field(description="their groups (count)")
    low: float = Field(description="5th percentile of all ratings")
    high: float = Field(description="95th percentile of all ratings")
    n_tested: int = Field(description="features that passed the bar on train + val (count)")
    n_family_wise: int = Field(
        description="rated features whose max-T p, times the number of scales, is below q (count)"
    )
    best: float | None = Field(
        description="of the rated feature that is best on train + val, its rank correlation on test, towards its end; null "
        "without any"
    )
    dense: float | None = Field(
        description="rank correlation on test of ridge regression on the embeddings, fitted on train + val: what a reading "
        "could reach without any dictionary; null where it does not vary"
    )


class RatedClaims(Part):
    """What one dictionary claims by the same rules."""

    n_features: int = Field(description="features that may be claimed (count)")
    n_rated: int = Field(description="(feature, scale) pairs that hold (count)")
    per_pole: dict[str, int] = Field(
        description="end of a scale, such as `valence low` -> its features (count)"
    )


class Ratings(Record):
    """Features that go with ratings, of each end of each scale, beside their controls."""

    file: ClassVar[str] = "ratings.json"
    stage: ClassVar[str] = "ratings"

    asked: bool = Field(description="texts carry ratings on some scale")
    scales: dict[str, RatedScale] = Field(description="`valence`, `arousal`, where rated")
    claims: RatedClaims = Field(description="of the study's features")
    shuffled: Shuffled | None = Field(
        description="with ratings dealt anew among groups; null where not asked"
    )
    shuffled_pole_p95: float = Field(
        description="of those repeats, the largest count of any end of a scale, 95th percentile (count)"
    )
    consensus: dict[str, RatedClaims] = Field(
        description="kind -> what dictionaries that learned nothing agree on claims: the controls where there is a core"
    )
    alone: dict[str, RatedClaims] = Field(
        description="kind -> what one of them claims, if nobody asked for agreement: a warning, and the control where there is no core"
    )
    n_permutations: int = Field(description="permutations behind each p (count)")
    rule: str = Field(description="what makes a rated feature, in words")


RATINGS = TableSchema(
    "ratings.parquet",
    "ratings",
    {
        "feature": Column("Int64", "", "number"),
        "scale": Column("String", "", "valence or arousal"),
        "pole": Column("String", "", "the end of the scale it goes with, chosen on train + val: `high` or `low`"),
        "correlation_dev": Column("Float64", "correlation", "rank correlation with the rating on train + val, where the end was chosen. Not evidence"),
        "correlation": Column("Float64", "correlation", "rank correlation with the rating on test"),
        "p": Column("Float64", "", "permutation of ratings over groups. Null: not tested"),
        "q": Column("Float64", "", "Benjamini-Hochberg over all tested features of all scales. Null: not tested"),
        "p_maxt": Column("Float64", "", "family-wise p (max-T) times the number of scales. Null: not tested"),
        "rating": Column("Float64", "rating", "mean rating of the test texts in which it fires; null where it fires in none"),
        "rating_silent": Column("Float64", "rating", "mean rating of the other rated test texts"),
        "density": Column("Float64", "share", "of the rated test texts in which it fires"),
        "n_groups": Column("Int64", "count", "test groups in which it fires"),
        "tested": Column("Boolean", "", "of the core, and passed the bar on train + val"),
        "rated_feature": Column("Boolean", "", "tested, and q and the size of the correlation hold on test"),
    },
)  # fmt: skip
"""One row for each feature that may be claimed and each rated scale. Where nothing is said, test rows."""
