"""What counts as found, in numbers."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class FeatureSettings(BaseModel):
    """How features are chosen, judged and gathered into families."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_permutations: int = Field(
        default=10_000,
        ge=1,
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
    min_firings: int = Field(
        default=5, ge=1, description="labelled train + val rows in which a feature must fire to be tested"
    )
    min_groups: int = Field(
        default=2,
        ge=1,
        description="independent train + val groups of its emotion in which a tested feature must fire",
    )
    n_shuffles: int = Field(
        default=20, ge=1, description="full repeats of choosing and judging under shuffled labels"
    )
    family_size: int = Field(default=10, ge=1, description="most features in the family of one emotion")
    family_weights: Literal["evidence", "auroc", "equal", "logistic"] = Field(
        default="evidence",
        description="how the features of a family are ranked and weighted, from train + val rows alone: the lead "
        "(AUROC - 1/2) times the log selectivity; the lead; all alike; logistic regression",
    )
    min_stability: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of other seeds in which a feature must reappear to join a family, where measured",
    )


class NameSettings(BaseModel):
    """How features are named from texts, and how names are tested."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    longest: int = Field(default=3, ge=1, description="words in the longest n-gram")
    min_texts: int = Field(
        default=3, ge=1, description="train + val texts that must hold a term or belong to a class"
    )
    min_firings: int = Field(
        default=5, ge=1, description="train + val texts in which a feature must fire to get a name"
    )
    prior: float = Field(
        default=10.0,
        gt=0,
        description="pseudo-texts (in groups) that speak for a term having nothing to do with firing",
    )
    candidates: int = Field(
        default=60, ge=1, description="terms with the highest log-odds z that a name may be made of"
    )
    min_z: float = Field(
        default=1.5, description="least z-score of a word or emotion that a name predicts with"
    )
    min_factor_z: float = Field(
        default=3.0, description="least z-score of a class that holds no emotion, such as an instrument"
    )
    min_lift: float = Field(
        default=3.0,
        ge=1,
        description="how many times the usual odds of firing a word's texts in other groups must have for the word "
        "to count in a group",
    )
    max_words: int = Field(default=4, ge=1, description="most words (n-grams) in a name")
    min_words: int = Field(
        default=2, ge=0, description="words in a name, filled up with words of single groups"
    )
    max_classes: int = Field(default=2, ge=0, description="most classes (emotion, factor) in a name")
    word_recall_weight: float = Field(
        default=1.0,
        gt=0,
        description="beta of the F-measure that picks words: how many times recall outweighs precision",
    )
    recall_weight: float = Field(
        default=2.0, gt=0, description="beta of the F-measure that adds classes to the words"
    )
    min_gain: float = Field(
        default=0.01, ge=0, description="least rise of the F-measure for one more word or class"
    )
    q: float = Field(
        default=0.05, gt=0, lt=1, description="false discovery rate a name must stay below to hold"
    )
    specific_only: bool = Field(
        default=False,
        description="ask of every name that it tells, among texts of its emotion, which ones fire; otherwise only of "
        "names that do not claim the emotion",
    )
    n_controls: int = Field(
        default=60,
        ge=0,
        description="other features of each emotion that are named too, for an own name to beat (count)",
    )
    n_shuffles: int = Field(
        default=100, ge=1, description="full repeats of the test with names dealt at random"
    )
    splits: tuple[Literal["test", "held_out"], ...] = Field(
        default=("test",), min_length=1, description="the texts that test names; train and val made them"
    )
