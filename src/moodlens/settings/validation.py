"""Settings of the stages that put features to the proof: one section a stage, frozen before anything is measured."""

from typing import Literal

from pydantic import Field, field_validator

from moodlens.settings.base import Frozen


class Phase0Settings(Frozen):
    """Is emotion in the embeddings at all?"""

    n_permutations: int = Field(
        default=1000, ge=1, le=10_000_000, description="label permutations of the similarity (count)"
    )
    n_shuffles: int = Field(default=20, ge=1, le=10_000, description="probes on shuffled labels (count)")


class StabilitySettings(Frozen):
    """When a feature of one SAE is that of another."""

    reappearance: float = Field(
        default=0.7,
        gt=0,
        lt=1,
        description="decoder cosine and activation correlation that count as the same feature",
    )


class CausalSettings(Frozen):
    """Interventions on single features and on families."""

    n_controls: int = Field(
        default=500,
        ge=100,
        le=100_000,
        description="matched random features per feature, or all alive ones if fewer (count)",
    )
    n_random_directions: int = Field(
        default=200, ge=100, le=100_000, description="random directions of the same norm (count)"
    )
    n_bootstrap: int = Field(
        default=1000, ge=100, le=1_000_000, description="resamples of groups behind each interval (count)"
    )
    doses: tuple[float, ...] = Field(
        default=(0.0, 0.5, 1.0, 2.0, 4.0),
        description="multiples of the typical activation that are transplanted",
    )
    control_quantile: float = Field(
        default=0.95,
        gt=0.5,
        lt=1,
        description="share of its matched controls, of either kind, that a causal effect must exceed",
    )
    q: float = Field(default=0.05, gt=0, lt=1, description="Benjamini-Hochberg q of a causal feature")

    @field_validator("doses")
    @classmethod
    def _doses(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) < 0 or 1.0 not in value:
            raise ValueError("doses must be 0 or more and include 1, the dose that is tested")
        return value


class PairSettings(Frozen):
    """Families added in pairs, and correlations of pairs of features."""

    n_controls: int = Field(default=500, ge=100, le=100_000, description="pairs of random families (count)")
    n_bootstrap: int = Field(
        default=1000, ge=100, le=1_000_000, description="resamples of groups behind each interval (count)"
    )
    control_quantile: float = Field(
        default=0.99, gt=0.5, lt=1, description="share of random pairs that a pair's effects must exceed"
    )
    max_correlation: float = Field(
        default=0.3, gt=0, lt=1, description="absolute correlation below which two features are independent"
    )


class TextReading(Frozen):
    """How a method reads a text that is longer than a prompt."""

    units: Literal["tokens", "sentences", "whole"] = Field(
        default="tokens",
        description="what is scored: the tokens of every sentence, encoded sentence by sentence; the sentences; the text",
    )
    pool: Literal["log-mean-exp", "max", "mean"] = Field(
        default="log-mean-exp",
        description="how the standardised scores of a text become one; 1 is the spread over train + val rows",
    )
    rows: Literal["raw", "unit"] = Field(
        default="raw",
        description="embeddings as they are, or all as far from the mean of train + val rows as those are on average",
    )
    against: Literal["others", "nothing"] = Field(
        default="others",
        description="whether a text's score of an emotion stands against its mean score of the other emotions",
    )

    @property
    def words(self) -> str:
        """As a table says it."""
        unit = "the whole text" if self.units == "whole" else f"{self.units}, {self.pool}"
        rows = ", unit rows" if self.rows == "unit" else ""
        return unit + rows + (", against the other emotions" if self.against == "others" else "")


class ReadingSettings(Frozen):
    """How each method reads texts: in the way that is best for it (`benchmarks/readings.py`, docs/statistics.md)."""

    family: TextReading = TextReading()
    top_feature: TextReading = TextReading()
    active: TextReading = Field(
        default=TextReading(pool="mean"), description="both, of activations instead of directions"
    )
    difference_in_means: TextReading = TextReading()
    linear_probe: TextReading = TextReading()


class TransferSettings(Frozen):
    """Features on texts that nobody chose them on."""

    reading: ReadingSettings = ReadingSettings()
    n_bootstrap: int = Field(
        default=1000, ge=100, le=1_000_000, description="resamples of groups behind each interval (count)"
    )


class MetricSettings(Frozen):
    """The field's metrics of dictionaries."""

    k: tuple[int, ...] = Field(
        default=(1, 2, 5, 10), min_length=1, description="features of the sparse probes (count)"
    )
    n_removed: int = Field(
        default=10,
        ge=1,
        description="features removed by perturbation and by spurious correlation removal (count)",
    )
    n_main: int = Field(
        default=5, ge=1, description="main features of an emotion, whose silence may be absorption (count)"
    )
    max_rows: int = Field(default=5000, ge=100, description="train + val rows that fit probes (count)")


class ValidationSettings(Frozen):
    """How features are put to the proof, a section for each stage."""

    phase0: Phase0Settings = Phase0Settings()
    stability: StabilitySettings = StabilitySettings()
    causal: CausalSettings = CausalSettings()
    pairs: PairSettings = PairSettings()
    transfer: TransferSettings = TransferSettings()
    metrics: MetricSettings = MetricSettings()
