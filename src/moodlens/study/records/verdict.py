"""Of the stage ``verdict``: go or no-go, and everything known of each feature in one table."""

from typing import ClassVar, Literal

from pydantic import Field

from moodlens.study.record import Part, Record, TableSchema
from moodlens.study.records.causal import CAUSAL_COLUMNS
from moodlens.study.records.concepts import CONCEPT_COLUMNS
from moodlens.study.records.estimates import Ci
from moodlens.study.records.names import NAME_COLUMNS
from moodlens.study.records.selection import SELECTION


class Control(Part):
    """What chance, a trivial method or a dictionary that learned nothing gives."""

    name: str
    value: float | None = Field(description="in the criterion's unit; null where it could not be measured")


class JudgedCriterion(Part):
    """One criterion: its value beside its control, and what to do about it."""

    id: str
    label: str
    must: bool = Field(description="decides go or no-go")
    unit: Literal["share", "count", "AUROC", "explained variance", "percentile"] = Field(
        description="of value and control"
    )
    stage: str = Field(description="the verb that measures it")
    threshold: str = Field(description="in words, with the numbers that were used")
    state: Literal["passed", "failed", "uninformative", "not asked", "not measured"] = Field(
        description="not asked: this study has nothing that could be judged by it, such as texts without concepts"
    )
    value: float | None = Field(description="null where it was not measured or not asked")
    ci: Ci | None = Field(description="interval of the value")
    controls: tuple[Control, ...] = Field(description="every one must be beaten")
    passed: bool = Field(
        description="meets its threshold, beats its controls, and none of them meets the threshold"
    )
    uninformative: bool = Field(description="a control meets the threshold too")
    note: str = Field(description="what stands behind the value, or why there is none")
    advice: str = Field(description="what to do about it; empty where it passed")

    @property
    def strongest(self) -> Control | None:
        """The hardest to beat of the controls that have a value. (Where less is better there is but one.)"""
        known = [control for control in self.controls if control.value is not None]
        return max(known, key=lambda control: control.value or 0.0, default=next(iter(self.controls), None))


class RoadmapCriterion(Part):
    """A criterion of the roadmap in its own words, and what it would have said; it decides nothing."""

    label: str
    threshold: str = Field(description="the roadmap's own")
    value: float | None = Field(description="of this study")
    met: bool | None = Field(description="by this study; null: not measured")
    fooled_by: tuple[str, ...] = Field(description="controls with nothing to find that meet it too")


class Verdict(Record):
    """Go or no-go: every criterion beside what chance, a trivial method and untrained dictionaries give."""

    file: ClassVar[str] = "verdict.json"
    stage: ClassVar[str] = "verdict"

    go: bool = Field(
        description="each criterion with `must` that was asked passed, selectivity (or, without labels, ratings) among them"
    )
    left_out: tuple[str, ...] = Field(description="must-criteria that could not be asked, and why")
    sae: str = Field(description="which SAE was judged")
    criteria: tuple[JudgedCriterion, ...]
    roadmap: tuple[RoadmapCriterion, ...] = Field(description="the roadmap's own must-criteria")
    next_steps: tuple[str, ...] = Field(description="what to do about what did not pass, must-criteria first")


FEATURES = TableSchema(
    "features.parquet", "verdict", {**SELECTION.columns, **CONCEPT_COLUMNS, **NAME_COLUMNS, **CAUSAL_COLUMNS}
)
"""One row for each feature: everything known of it."""
