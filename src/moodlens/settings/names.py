"""How features are named, and how names are tested."""

from typing import Literal

from pydantic import Field

from moodlens.settings.base import Frozen


class NameSettings(Frozen):
    """How features are named from texts, and how names are tested."""

    min_texts: int = Field(default=3, ge=1, description="train + val texts that must hold a word (count)")
    min_firings: int = Field(
        default=5, ge=1, description="train + val texts in which a feature must fire to get a name (count)"
    )
    min_lift: float = Field(
        default=3.0,
        ge=1,
        description="how many times as often as other texts those of the feature's emotion must hold a word of its "
        "name; words of instruments, genres and templates stand in all alike",
    )
    max_words: int = Field(default=3, ge=1, description="most words in a name (count)")
    prior: float = Field(
        default=5.0,
        gt=0,
        description="pseudo-texts (in groups) that speak for a concept having nothing to do with firing",
    )
    min_concept_z: float = Field(
        default=2.0,
        description="least log-odds z-score, among texts of the emotion, of the concept that heads a name",
    )
    min_score: float = Field(
        default=0.75,
        ge=0.5,
        lt=1,
        description="how often a reader of the name must tell a text that fires the feature from one that does not "
        "(AUROC), among texts of its emotion and over all",
    )
    q: float = Field(
        default=0.05, gt=0, lt=1, description="false discovery rate a name must stay below to hold"
    )
    n_controls: int = Field(
        default=500,
        ge=0,
        le=100_000,
        description="other features of each emotion that are named too, for an own name to beat (count)",
    )
    n_shuffles: int = Field(
        default=100, ge=1, le=10_000, description="full repeats of the test with names dealt at random"
    )
    n_shown: int = Field(
        default=8,
        ge=1,
        description="strongest unseen texts, each of another group, in which the words that fire a feature are "
        "looked for (count)",
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
    parallel: int = Field(
        default=8,
        ge=1,
        le=64,
        description="requests that wait for an answer at the same time (count)",
        json_schema_extra={"in_key": False},
    )
    judge: bool = Field(
        default=False,
        description="also show the model each name with unseen texts of the emotion, and ask which fire the feature",
    )
    max_tokens: int = Field(default=200, ge=1, description="longest answer, in tokens")
