"""Of the stage ``names``: what features are called, and whether the names say where they fire."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Column, Part, Record, TableSchema


class DealtNames(Part):
    """How many features would count as interpretable with names dealt at random."""

    n_deals: int = Field(description="repeats (count)")
    mean: float = Field(description="over the deals (count)")
    p95: float = Field(description="95th percentile of the deals (count)")
    per_emotion_p95: dict[str, float] = Field(description="95th percentile of every emotion (count)")


class JudgeAgreement(Part):
    """A language model that is shown a name and unseen texts of its emotion and says which fire."""

    model: str
    n_asked: int = Field(description="names it was asked about (count)")
    accuracy: float | None = Field(description="balanced accuracy with the own name, median")
    control: float | None = Field(
        description="balanced accuracy with the name of another judged feature of the emotion, median"
    )


class Names(Record):
    """Counts of names that hold beside their controls; medians are over the judged features."""

    file: ClassVar[str] = "names.json"
    stage: ClassVar[str] = "names"

    rule: str = Field(description="how a name is read, in words")
    splits: tuple[str, ...] = Field(description="the texts that judged")
    n_texts: int = Field(description="texts that judged (count)")
    n_named: int = Field(description="features that got a name, controls included (count)")
    n_judged: int = Field(description="emotion features whose name could be judged (count)")
    n_interpretable: int = Field(description="of them, those whose name holds (count)")
    per_emotion: dict[str, int] = Field(description="interpretable features of every emotion (count)")
    judged_per_emotion: dict[str, int] = Field(description="judged features of every emotion (count)")
    named_per_emotion: dict[str, int] = Field(description="names of every emotion, controls included (count)")
    with_concept: int = Field(description="judged names that are headed by a concept (count)")
    attributed: bool = Field(description="words were chosen by their share of the score; needs the encoder")
    q: float = Field(description="false discovery rate that was asked for")
    min_score: float = Field(description="least AUROC that was asked for")
    score: float | None = Field(description="AUROC of the own name among texts of the emotion, median")
    control: float | None = Field(
        description="the same of names of other judged features of the emotion, median of means"
    )
    score_all: float | None = Field(description="AUROC of the own name over all texts, median")
    precision: float | None = Field(description="share of predicted texts in which the feature fires, median")
    recall: float | None = Field(description="share of firings that are predicted, median")
    monosemanticity: float | None = Field(
        description="share of the firings that the name predicts, mean over strengths, median"
    )
    monosemanticity_control: float | None = Field(
        description="the same of names of other judged features of the emotion, median of means"
    )
    dealt: DealtNames = Field(description="names dealt among all named features of each emotion")
    dealt_judged: DealtNames = Field(description="names dealt among the judged features of each emotion")
    judge: JudgeAgreement | None = Field(
        default=None, description="what a language model makes of the names; null where none was asked"
    )


class LearnedTerm(Part):
    """A word that a name was, or might have been, made of; train + val."""

    term: str
    texts: int = Field(description="texts that hold it (count)")
    firing: int = Field(description="of them, those in which the feature fires (count)")
    groups: int = Field(description="groups of these (count)")


class Learned(Part):
    """Where a name comes from, train + val."""

    n_firing: int = Field(description="texts in which the feature fires (count)")
    n_groups: int = Field(description="groups of these (count)")
    concept_z: float | None = Field(
        description="log-odds z-score, among texts of the emotion, of the concept that fires it most; null where no "
        "text has a concept"
    )
    terms: tuple[LearnedTerm, ...] = Field(description="what the name is made of")
    other_terms: tuple[LearnedTerm, ...] = Field(description="the strongest that it is not made of")
    model: str | None = Field(default=None, description="the language model that gave the name, if one did")
    answer: str | None = Field(default=None, description="what it answered")


class TestedName(Part):
    """What became of a name on texts that did not make it."""

    n: int = Field(description="texts (count)")
    n_emotion: int = Field(description="of them, of the feature's emotion (count)")
    n_firing: int = Field(description="texts in which the feature fires (count)")
    n_firing_emotion: int = Field(description="of them, of the feature's emotion (count)")
    n_predicted: int = Field(description="texts that the name predicts (count)")
    n_hit: int = Field(description="predicted texts in which it fires (count)")
    groups_firing: int = Field(description="groups in which it fires (count)")
    groups_hit: int = Field(description="groups in which it fires as predicted (count)")
    p_emotion: float = Field(
        description="share of the names of features of its emotion that do at least as well among texts of it"
    )
    p_all: float = Field(description="share of all names that do at least as well over all texts")
    better_judged: float | None = Field(
        description="share of the other judged features of its emotion whose names do at least as well among texts of it"
    )


class NameEvidence(Part):
    """The column ``name_evidence`` of names.parquet: JSON, one object a name."""

    words: tuple[str, ...]
    concept: str = Field(description="empty where the name is words alone")
    learned: Learned
    tested: TestedName | None = Field(description="null for names that only served as controls")
    coverage: tuple[float, ...] = Field(
        description="share of the firings it predicts, a tenth of the firings each, weakest first"
    )
    coverage_control: tuple[float | None, ...] = Field(
        description="mean of the names of other judged features of the emotion; null where there are none"
    )


NAME_COLUMNS = {
    "name": Column("String", "", "the concept, if it holds one, and the words that fire it"),
    "name_score": Column("Float64", "AUROC", "how often an unseen text of its emotion that fires it reads more like the name than one that does not"),
    "name_score_all": Column("Float64", "AUROC", "the same over all unseen texts"),
    "name_control": Column("Float64", "AUROC", "name_score of the names of other judged features of its emotion, mean"),
    "name_precision": Column("Float64", "share", "of predicted texts in which it fires"),
    "name_recall": Column("Float64", "share", "of firings that are predicted"),
    "name_q": Column("Float64", "", "larger q of the comparisons with other names, within its emotion and over all; emotion features only"),
    "interpretable": Column("Boolean", "", "the name holds: both scores reach min_score, and q is below the set one; null if it is no emotion feature"),
    "name_judged": Column("Float64", "share", "of unseen texts of its emotion, half of which fire it, that a language model puts right by the name; null where none was asked"),
    "monosemanticity": Column("Float64", "share", "of the firings that the name predicts, mean over tenths of the firings"),
    "monosemanticity_control": Column("Float64", "share", "the same of the names of other judged features of its emotion"),
    "fired_by": Column("String", "", "the words that carry most of its score in its strongest unseen texts; null where the study has no encoder"),
    "name_evidence": Column("String", "", "JSON: where the name comes from and what became of it"),
}  # fmt: skip
NAMES = TableSchema("names.parquet", "names", {"feature": Column("Int64", "", "number"), **NAME_COLUMNS})
"""One row for each feature; null where there is no name or no test of it."""

WORDS = TableSchema(
    "words.parquet",
    "names",
    {
        "feature": Column("Int64", "", "number"),
        "rank": Column("Int64", "", "1 carries the largest share"),
        "word": Column("String", "", "as most of the texts spell it"),
        "share": Column("Float64", "share", "of the rise of the score over that of the mean text that the word carries, mean over the feature's strongest unseen texts"),
        "share_where": Column("Float64", "share", "the same over those of the texts that hold the word"),
        "n_texts": Column("Int64", "count", "texts that hold it"),
        "n_shown": Column("Int64", "count", "strongest unseen texts, each of another group"),
    },
)  # fmt: skip
"""The words that carry each emotion feature's score; no rows where the study has no encoder."""
