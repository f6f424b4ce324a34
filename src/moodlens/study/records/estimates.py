"""Parts that several records are made of."""

from pydantic import Field

from moodlens.study.record import Part

Ci = tuple[float, float]
"""The middle 95 % of resamples of whole groups: low and high."""


class Estimate(Part):
    """A number and its interval; both null where there is nothing to measure."""

    value: float | None
    ci: Ci | None = Field(description="middle 95 % of resamples of whole groups")


Aurocs = dict[str, dict[str, Estimate]]
"""Method -> emotion, or ``mean`` over those that have a value -> AUROC."""
