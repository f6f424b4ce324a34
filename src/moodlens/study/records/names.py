"""Of the stage ``names``: what features are called, and whether the names say where they fire."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Column, Part, Record, TableSchema


class DealtNames(Part):
    """How many features would count as interpretable with names dealt at random."""

    mean: float = Field(description="over the deals (count)")
    p95: float = Field(description="95th percentile of the deals (count)")
    per_emotion_p95: dict[str, float] = Field(description="95th percentile of every emotion (count)")


class Names(Record):
    """Counts of names that hold beside their controls; medians are over the judged features."""

    file: ClassVar[str] = "names.json"
    stage: ClassVar[str] = "names"

    rule: str = Field(description="how a name predicts, in words")
    splits: tuple[str, ...] = Field(description="the texts that judged")
    n_texts: int = Field(description="texts that judged (count)")
    n_named: int = Field(description="features that got a name, controls included (count)")
    n_judged: int = Field(description="emotion features whose name could be judged (count)")
    n_interpretable: int = Field(
        description="of them, those whose name beats the names of other features (count)"
    )
    per_emotion: dict[str, int] = Field(description="interpretable features of every emotion (count)")
    judged_per_emotion: dict[str, int] = Field(description="judged features of every emotion (count)")
    n_specific: int = Field(
        description="judged features whose name beats those of features of the same emotion (count)"
    )
    specific_per_emotion: dict[str, int] = Field(description="specific features of every emotion (count)")
    claim_emotion: int = Field(description="judged names that hold the emotion itself (count)")
    q: float = Field(description="false discovery rate that was asked for")
    balanced_accuracy: float | None = Field(description="of the own name, median")
    precision: float | None = Field(description="share of predicted texts in which the feature fires, median")
    recall: float | None = Field(description="share of firings that are predicted, median")
    control_any: float | None = Field(description="balanced accuracy of the names of other features, median")
    within_emotion: float | None = Field(description="balanced accuracy among texts of the emotion, median")
    within_emotion_control: float | None = Field(
        description="the same of names of features of that emotion, median"
    )
    emotion_alone: float | None = Field(
        description="balanced accuracy of the emotion as the whole name, median"
    )
    monosemanticity: float | None = Field(
        description="share of the firings that the name covers, mean over strengths, median"
    )
    monosemanticity_control: float | None = Field(
        description="the same of the names of other features, median"
    )
    shuffled: DealtNames = Field(description="names dealt among all named features")
    shuffled_same_emotion: DealtNames = Field(
        description="names dealt among the named features of each emotion"
    )


class LearnedTerm(Part):
    """A word or class that a name was, or might have been, made of; train + val."""

    term: str
    kind: str = Field(description="word or class")
    z: float = Field(description="log-odds z-score of the term going with firing")
    texts: int = Field(description="texts that hold it (count)")
    firing: int = Field(description="of them, those in which the feature fires (count)")
    groups: int = Field(description="groups of these (count)")
    carries_over: bool = Field(description="other groups than its own show it too")


class Learned(Part):
    """Where a name comes from, train + val."""

    n_firing: int = Field(description="texts in which the feature fires (count)")
    n_groups: int = Field(description="groups of these (count)")
    terms: tuple[LearnedTerm, ...] = Field(description="what the name is made of")
    other_terms: tuple[LearnedTerm, ...] = Field(description="the strongest that it is not made of")
    model: str | None = Field(default=None, description="the language model that gave the name, if one did")
    answer: str | None = Field(default=None, description="what it answered")


class TestedName(Part):
    """What became of a name on texts that did not make it."""

    n: int = Field(description="texts (count)")
    n_firing: int = Field(description="texts in which the feature fires (count)")
    n_predicted: int = Field(description="texts that the name predicts (count)")
    n_hit: int = Field(description="predicted texts in which it fires (count)")
    groups_firing: int = Field(description="groups in which it fires (count)")
    groups_hit: int = Field(description="groups in which it fires as predicted (count)")
    p_any: float = Field(description="share of all names that do at least as well")
    p_same: float = Field(description="the same among names of its emotion, on the texts of that emotion")
    q_same: float | None = Field(
        description="Benjamini-Hochberg of p_same over the judged; null if it is not judged"
    )
    specific: bool
    within_emotion: float | None = Field(description="balanced accuracy among texts of its emotion")
    within_emotion_control: float | None = Field(
        description="the same of names of other features of that emotion, mean"
    )
    emotion_alone: float | None = Field(description="balanced accuracy of the emotion as the whole name")


class NameEvidence(Part):
    """The column ``name_evidence`` of names.parquet: JSON, one object a name."""

    words: tuple[str, ...]
    classes: tuple[str, ...]
    claims_emotion: bool = Field(description="the name holds an emotion")
    learned: Learned
    tested: TestedName
    coverage: tuple[float, ...] = Field(
        description="share of the firings it covers, a tenth of the firings each, weakest first"
    )
    coverage_control: tuple[float, ...] = Field(description="mean of the names of other features")
    coverage_control_same_emotion: tuple[float, ...] = Field(description="mean of the names of its emotion")


NAME_COLUMNS = {
    "name": Column("String", "", "words and classes of texts"),
    "name_score": Column("Float64", "balanced accuracy", "of predicting from the name which test texts fire it"),
    "name_precision": Column("Float64", "share", "of predicted texts in which it fires"),
    "name_recall": Column("Float64", "share", "of firings that are predicted"),
    "name_control": Column("Float64", "balanced accuracy", "of the names of other features, mean"),
    "name_q": Column("Float64", "", "q of the comparison with other names, emotion features only"),
    "interpretable": Column("Boolean", "", "the name predicts better than others at the set q; null if it is no emotion feature"),
    "monosemanticity": Column("Float64", "share", "of the firings that the name covers, mean over tenths of the firings"),
    "monosemanticity_control": Column("Float64", "share", "the same of the names of other features"),
    "name_evidence": Column("String", "", "JSON: where the name comes from and what became of it"),
}  # fmt: skip
NAMES = TableSchema("names.parquet", "names", {"feature": Column("Int64", "", "number"), **NAME_COLUMNS})
"""One row for each feature; null where there is no name or no test of it."""
