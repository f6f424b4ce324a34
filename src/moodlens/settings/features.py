"""What counts as found, in numbers."""

from pydantic import Field

from moodlens.settings.base import Frozen


class FeatureSettings(Frozen):
    """How features are chosen, judged and gathered into families."""

    n_permutations: int = Field(
        default=10_000,
        ge=1,
        le=10_000_000,
        description="random relabellings of the groups behind every p-value; p >= 1 / (this + 1)",
    )
    q: float = Field(
        default=0.05, gt=0, lt=1, description="false discovery rate an emotion feature must stay below"
    )
    min_selectivity: float = Field(
        default=2.0,
        gt=0,
        description="firing rate over the mean rate of the other emotions, asked for on test and, for a feature "
        "to be tested at all, on train + val",
    )
    min_correlation: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="size of the rank correlation with a rating, asked for on test and, for a feature to be tested at all, "
        "on train + val",
    )
    min_firings: int = Field(
        default=5, ge=1, description="labelled train + val rows in which a feature must fire to be tested"
    )
    min_groups: int = Field(
        default=2,
        ge=1,
        description="independent train + val groups of its emotion in which a tested feature must fire",
    )
    n_shuffles: int = Field(
        default=20, ge=1, le=10_000, description="full repeats of choosing and judging under shuffled labels"
    )
    family_size: int = Field(default=10, ge=1, description="most features in the family of one emotion")
    min_stability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of other pipelines in which a feature must reappear to join a family, where measured",
    )
