"""Of the stage ``concepts``: which emotion features also hold a concept inside their emotion."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Column, Part, Record, TableSchema


class ConceptCount(Part):
    """One concept of an emotion."""

    n_features: int = Field(description="features that hold it (count)")
    n_groups_test: int = Field(description="test groups of the concept (count)")
    best_auroc: float | None = Field(description="of the features that hold it, the best on test (AUROC)")
    difference_in_means: float | None = Field(
        description="mean of the concept minus mean of the rest of its emotion, on test (AUROC): a dense reading"
    )


class EmotionConcepts(Part):
    """The concepts of one emotion, judged among texts of that emotion alone."""

    n_judged: int = Field(description="claimed features of the emotion (count)")
    n_features: int = Field(description="of them, concept features (count)")
    n_covered: int = Field(description="concepts that at least one feature holds (count)")
    shuffled_mean: float = Field(
        description="concept features when concepts are dealt to groups at random (mean)"
    )
    shuffled_p95: float = Field(description="the same, 95th percentile (count)")
    concepts: dict[str, ConceptCount]
    left_out: tuple[str, ...] = Field(description="concepts with too few groups to choose and to judge on")


class Concepts(Record):
    """Concept features of every emotion beside shuffled concepts."""

    file: ClassVar[str] = "concepts.json"
    stage: ClassVar[str] = "concepts"

    asked: bool = Field(description="the texts name concepts, at least two in some emotion")
    n_concept_features: int = Field(description="over all emotions (count)")
    shuffled_p95: float = Field(
        description="over all emotions, concepts dealt at random: 95th percentile (count)"
    )
    emotions: dict[str, EmotionConcepts] = Field(description="of emotions with at least two concepts")
    rule: str = Field(description="what makes a concept feature, in words")

    @property
    def per_emotion(self) -> dict[str, int]:
        """Concept features of every emotion that has concepts."""
        return {name: part.n_features for name, part in self.emotions.items()}


CONCEPT_COLUMNS = {
    "concept": Column("String", "", "the concept it leans to inside its emotion, chosen on train + val; null elsewhere"),
    "concept_auroc": Column("Float64", "AUROC", "of its activation on test: its concept against the others of its emotion"),
    "concept_selectivity": Column("Float64", "ratio", "firing rate in its concept / mean rate in the others, test"),
    "concept_p": Column("Float64", "", "permutation of concepts over groups. Null: not tested"),
    "concept_q": Column("Float64", "", "Benjamini-Hochberg over the claimed features of all emotions. Null: not tested"),
    "concept_groups": Column("Int64", "count", "test groups of its concept in which it fires"),
    "concept_feature": Column("Boolean", "", "q and selectivity hold on test. Null: no claimed feature, or no concepts"),
}  # fmt: skip
CONCEPTS = TableSchema(
    "concepts.parquet", "concepts", {"feature": Column("Int64", "", "number"), **CONCEPT_COLUMNS}
)
"""One row for each claimed feature of an emotion with concepts."""
