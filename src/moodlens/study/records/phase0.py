"""Of the stage ``probe``: is emotion in the embeddings at all?"""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Part, Record


class Cosines(Part):
    """Cosines of pairs of rows."""

    mean: float
    std: float
    n_pairs: int = Field(description="pairs (count)")


class SimilarityPermutation(Part):
    """The difference with labels exchanged over groups: the p to believe."""

    p: float = Field(description="share of permutations that reach the difference")
    null_mean: float = Field(description="mean difference under permutation")
    null_p95: float = Field(description="95th percentile of the difference under permutation")
    n_permutations: int = Field(description="permutations (count)")
    n_units: int = Field(
        description="groups, or rows of groups of several emotions, that were exchanged (count)"
    )


class Similarity(Part):
    """Cosines within and between emotions."""

    within: Cosines = Field(description="pairs of one emotion")
    between: Cosines = Field(description="pairs of two emotions")
    difference: float = Field(description="mean within minus mean between")
    t: float | None = Field(
        description="Welch's t, pairs taken as independent, which they are not: no evidence"
    )
    t_p: float | None = Field(description="p of t: no evidence")
    permutation: SimilarityPermutation
    matrix: tuple[tuple[float | None, ...], ...] = Field(
        description="mean cosine of every two emotions; null without pairs"
    )


class Folds(Part):
    """Accuracy on rows that were left out."""

    folds: tuple[float, ...] = Field(description="of every fold (share)")
    mean: float = Field(description="over the folds (share)")
    std: float = Field(description="over the folds (share)")


class ShuffledProbe(Part):
    """Accuracy with labels exchanged between groups."""

    n: int = Field(description="exchanges (count)")
    mean: float = Field(description="over the exchanges (share)")
    p95: float = Field(description="95th percentile of the exchanges (share)")


class LinearProbe(Folds):
    """Five-fold accuracy of a multinomial logistic regression, folds by row as in the roadmap."""

    n: int = Field(description="rows used, whole groups drawn at random if there are many (count)")
    group_folds: Folds | None = Field(
        description="folds that keep groups whole: believe these; null with one group"
    )
    shuffled: ShuffledProbe | None = Field(description="group folds with shuffled labels")
    chance: float = Field(description="share of the largest class")


class Pca(Part):
    """Principal components."""

    coordinates: tuple[tuple[float, float], ...] = Field(
        description="of each row on the first two (embedding units)"
    )
    variance_share: tuple[float, ...] = Field(description="of the first 50")


class SignalToNoise(Part):
    """Variance of the emotions' means over total variance, by embedding dimension."""

    dimensions: tuple[int, ...] = Field(description="numbers of the strongest dimensions")
    values: tuple[float, ...] = Field(description="their ratios")
    mean: float = Field(description="over all dimensions")
    chance: float = Field(description="expected without signal, (C - 1) / (n - 1)")


class Phase0(Record):
    """How strongly emotion is encoded in raw embeddings of labelled plain texts."""

    file: ClassVar[str] = "phase0.json"
    stage: ClassVar[str] = "probe"

    n: int = Field(description="texts (count)")
    d_in: int = Field(description="width of an embedding")
    emotions: tuple[str, ...]
    n_per_emotion: dict[str, int] = Field(description="texts of every emotion (count)")
    n_groups: int = Field(description="groups of the texts (count)")
    rows: tuple[int, ...] = Field(
        description="numbers of the texts in prompts.parquet, in the order of the coordinates"
    )
    similarity: Similarity
    linear_probe: LinearProbe
    pca: Pca
    signal_to_noise: SignalToNoise
