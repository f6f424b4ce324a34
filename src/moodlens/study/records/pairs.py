"""Of the stage ``pairs``: do families compose, and are features independent?"""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Part, Record
from moodlens.study.records.estimates import Ci


class FamilyPair(Part):
    """Two families added at once to rows of neither emotion."""

    emotions: tuple[str, str]
    effects: dict[str, float] = Field(
        description="change of the log-odds of each, the rival left out (log-odds)"
    )
    ci: dict[str, Ci | None] = Field(
        description="their intervals over groups (log-odds); null where fewer than two groups are judged"
    )
    alone: dict[str, float] = Field(description="the same change by the emotion's family alone (log-odds)")
    moved: bool = Field(
        description="both intervals lie above 0 and both effects beyond those of random families"
    )


class Compositionality(Part):
    """Families added in pairs; shares are null with fewer than two families, or with two classes in all (one falls where the other rises)."""

    share: float | None = Field(description="pairs of emotions that move both (share)")
    control_share: float | None = Field(
        description="pairs of random families that pass the same rule (share)"
    )
    control_rise_share: float | None = Field(
        description="pairs of random families that raise both at all (share)"
    )
    n_moved: int = Field(description="pairs of emotions that move both (count)")
    n_pairs: int = Field(description="pairs of emotions that have a family (count)")
    pairs: tuple[FamilyPair, ...]


class Orthogonality(Part):
    """Pairs of emotion features beside pairs of as many random live features; null with fewer than two that fire."""

    max_correlation: float = Field(
        description="absolute correlation below which two features are independent"
    )
    n_features: int = Field(description="emotion features that fire on test (count)")
    n_pairs: int = Field(description="pairs of them (count)")
    share: float | None = Field(default=None, description="pairs with |correlation| below the bar (share)")
    median: float | None = Field(default=None, description="median |correlation| of activations")
    mean_abs_correlation: float | None = Field(default=None, description="mean |correlation| of activations")
    mean_abs_cosine: float | None = Field(default=None, description="mean |cosine| of decoder rows")
    cosine_share: float | None = Field(default=None, description="pairs with |cosine| below the bar (share)")
    within_share: float | None = Field(default=None, description="share, pairs of one emotion")
    between_share: float | None = Field(default=None, description="share, pairs of two emotions")
    control_share: float | None = Field(default=None, description="share of random live features")
    control_median: float | None = Field(default=None, description="median of random live features")
    control_mean_abs_correlation: float | None = Field(default=None, description="of random live features")
    control_mean_abs_cosine: float | None = Field(default=None, description="of random live features")
    control_cosine_share: float | None = Field(default=None, description="of random live features")


class Pairs(Record):
    """Families added in pairs, and correlations of pairs of features."""

    file: ClassVar[str] = "pairs.json"
    stage: ClassVar[str] = "pairs"

    compositionality: Compositionality
    orthogonality: Orthogonality
