"""Of the stage ``verdict``: go or no-go, and everything known of each feature in one table."""

from typing import ClassVar, Literal

from pydantic import Field

from moodlens.study.record import Part, Record, TableSchema
from moodlens.study.records.causal import CAUSAL_COLUMNS
from moodlens.study.records.estimates import Ci
from moodlens.study.records.names import NAME_COLUMNS
from moodlens.study.records.selection import SELECTION


class Control(Part):
    """What chance or a trivial method gives."""

    name: str
    value: float | None


class JudgedCriterion(Part):
    """One criterion: its value beside its control, and what to do about it."""

    id: str
    label: str
    must: bool = Field(description="decides go or no-go")
    unit: Literal["share", "count", "AUROC", "explained variance"] = Field(description="of value and control")
    stage: str = Field(description="the verb that measures it")
    threshold: str = Field(description="in words, with the numbers that were used")
    state: Literal["passed", "failed", "uninformative", "nothing to judge", "not measured"]
    value: float | None = Field(description="null where it was not measured, or there is nothing to judge")
    ci: Ci | None = Field(description="interval of the value")
    control: Control | None
    passed: bool = Field(
        description="meets its threshold, beats its control, and the control does not meet the threshold"
    )
    uninformative: bool = Field(description="the control meets the threshold too")
    note: str = Field(description="what stands behind the value, or why there is none")
    advice: str = Field(description="what to do about it; empty where it passed")


class Verdict(Record):
    """Go or no-go: every criterion beside what chance or a trivial method gives."""

    file: ClassVar[str] = "verdict.json"
    stage: ClassVar[str] = "verdict"

    go: bool = Field(description="each criterion with `must` passed")
    sae: str = Field(description="which SAE was judged")
    criteria: tuple[JudgedCriterion, ...]
    next_steps: tuple[str, ...] = Field(description="what to do about what did not pass, must-criteria first")


FEATURES = TableSchema("features.parquet", "verdict", {**SELECTION.columns, **NAME_COLUMNS, **CAUSAL_COLUMNS})
"""One row for each feature: everything known of it."""
