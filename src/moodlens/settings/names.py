"""How features are named, and how names are tested."""

from typing import Literal

from pydantic import Field

from moodlens.settings.base import Frozen


class NameSettings(Frozen):
    """How features are named from texts, and how names are tested."""

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
        le=100,
        description="beta of the F-measure that picks words: how many times recall outweighs precision",
    )
    recall_weight: float = Field(
        default=2.0, gt=0, le=100, description="beta of the F-measure that adds classes to the words"
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


class NamerSettings(Frozen):
    """Where the language model is, and how it is asked."""

    url: str = Field(description="base address of the endpoint, such as http://localhost:8000/v1")
    model: str = Field(description="name of the model, as the endpoint knows it")
    key_env: str | None = Field(
        default=None,
        description="environment variable that holds the key; None sends no key",
        json_schema_extra={"in_key": False},
    )
    timeout: float = Field(
        default=60.0,
        gt=0,
        description="seconds to wait for one answer",
        json_schema_extra={"in_key": False},
    )
    retries: int = Field(
        default=3,
        ge=0,
        description="further attempts when the endpoint is busy or does not answer",
        json_schema_extra={"in_key": False},
    )
    pause: float = Field(
        default=1.0,
        ge=0,
        description="seconds before the first further attempt; doubled each time",
        json_schema_extra={"in_key": False},
    )
    n_examples: int = Field(
        default=12, ge=1, description="texts shown that fire a feature, and as many that do not"
    )
    max_tokens: int = Field(default=100, ge=1, description="longest answer, in tokens")
