"""Of the stages ``stability`` and ``agreement``: what comes back in other pipelines, which share only the rows."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Column, Part, Record, TableSchema


class Stability(Record):
    """What features are compared with, and what random directions reach; knows no labels."""

    file: ClassVar[str] = "stability.json"
    stage: ClassVar[str] = "stability"

    n_seeds: int = Field(description="other pipelines on the same rows (count)")
    n_bootstraps: int = Field(default=0, description="cores of resampled training groups (count)")
    reappearance: float = Field(
        description="decoder cosine and correlation from which on two features are the same"
    )
    null_cosine_p95: float = Field(
        description="best cosine of random differences of training rows, 95th percentile"
    )
    null_seeds: tuple[int, ...] = Field(
        description="random differences whose best cosine reaches the bar in 0, 1, 2 ... of the other pipelines (count)"
    )
    subset_share: float | None = Field(
        default=None,
        description="control: random features of a narrow SAE, as many as the core has, that reappear among as many "
        "random ones of another pipeline's (share)",
    )
    narrow_share: float | None = Field(
        default=None, description="live features of that narrow SAE that reappear in the other whole (share)"
    )
    narrow_mcc: float | None = Field(
        default=None, description="PW-MCC: mean cosine of their decoder rows matched one to one"
    )

    @property
    def null_mean(self) -> float:
        """Share of the random differences that reach the bar, mean over the other pipelines."""
        reached = sum(k * n for k, n in enumerate(self.null_seeds))
        return reached / max(self.n_seeds * sum(self.null_seeds), 1)


_MEAN = "mean over the other pipelines"
STABILITY = TableSchema(
    "stability.parquet",
    "stability",
    {
        "feature": Column("Int64", "", "number"),
        "reappears": Column("Float64", "share", "of the other pipelines in which one and the same partner agrees in direction and use"),
        "reappears_bootstrap": Column("Float64", "share", "of the cores of resampled training groups in which one and the same partner agrees; null without any"),
        "reappears_decoder": Column("Float64", "share", "of the other pipelines with a one-to-one match in direction"),
        "reappears_activation": Column("Float64", "share", "of the other pipelines with a one-to-one match in use"),
        "decoder_cosine": Column("Float64", "cosine", f"of decoder rows matched one to one, {_MEAN}"),
        "correlation": Column("Float64", "correlation", f"of activations matched one to one, {_MEAN}"),
        "best_cosine": Column("Float64", "cosine", f"with the nearest decoder row, whoever else takes it, {_MEAN}"),
        "best_correlation": Column("Float64", "correlation", f"with the nearest activations, whoever else takes them, {_MEAN}"),
        "alive": Column("Boolean", "", "fires on these test texts; features that do not have no match"),
    },
)  # fmt: skip
"""One row for each feature that may be claimed."""


class FamilyAgreement(Part):
    """A family of the study beside that of the same emotion in every other pipeline; one without it counts 0."""

    direction: float = Field(
        description="cosine of what the families add when steering, mean over the pipelines"
    )
    direction_min: float = Field(description="the same, least")
    direction_control: float = Field(description="the same of random families, 95th percentile")
    reading: float = Field(
        description="correlation of the families' scores of test texts, mean over the pipelines"
    )
    reading_min: float = Field(description="the same, least")
    reading_control: float = Field(description="the same of random families, 95th percentile")


class Agreement(Record):
    """The families beside those of other pipelines."""

    file: ClassVar[str] = "agreement.json"
    stage: ClassVar[str] = "agreement"

    n_seeds: int = Field(description="other pipelines (count)")
    emotions: dict[str, FamilyAgreement] = Field(
        description="emotions that have a family here and in another pipeline"
    )
    mean: FamilyAgreement | None = Field(description="mean over the emotions; null without any")
