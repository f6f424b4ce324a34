"""Settings of the validation stages, frozen before anything is measured."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from moodlens.settings.verdict import VerdictSettings


class ValidateSettings(BaseModel):
    """How features are put to the proof."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe_permutations: int = Field(
        default=1000, ge=1, description="label permutations of the phase 0 similarity (count)"
    )
    probe_shuffles: int = Field(default=20, ge=1, description="phase 0 probes on shuffled labels (count)")
    n_controls: int = Field(
        default=500,
        ge=100,
        description="matched random features per feature, or all alive ones if fewer (count)",
    )
    n_random_directions: int = Field(
        default=200, ge=100, description="random directions of the same norm (count)"
    )
    n_bootstrap: int = Field(
        default=1000, ge=100, description="resamples of groups behind each interval (count)"
    )
    doses: tuple[float, ...] = Field(
        default=(0.0, 0.5, 1.0, 2.0, 4.0),
        description="multiples of the typical activation that are transplanted",
    )
    control_quantile: float = Field(
        default=0.99,
        gt=0.5,
        lt=1,
        description="share of its matched controls that a causal effect must exceed",
    )
    causal_q: float = Field(default=0.05, gt=0, lt=1, description="Benjamini-Hochberg q of a causal feature")
    reappearance: float = Field(
        default=0.7,
        gt=0,
        lt=1,
        description="decoder cosine and activation correlation that count as the same feature",
    )
    max_correlation: float = Field(
        default=0.3, gt=0, lt=1, description="absolute correlation that counts as independent"
    )
    verdict: VerdictSettings = Field(
        default=VerdictSettings(), description="thresholds of the go / no-go criteria"
    )

    @field_validator("doses")
    @classmethod
    def _doses(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) < 0 or 1.0 not in value:
            raise ValueError("doses must be 0 or more and include 1, the dose that is tested")
        return value
