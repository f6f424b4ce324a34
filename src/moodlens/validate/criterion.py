"""What a criterion of the verdict is: what it may read, what a reading says, and how thresholds and controls combine."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.causal import Causal
from moodlens.study.records.estimates import Ci
from moodlens.study.records.pairs import Pairs
from moodlens.study.records.sae import Reconstruction
from moodlens.study.records.selection import Selection
from moodlens.study.records.stability import Agreement
from moodlens.study.records.transfer import HeldOut
from moodlens.validate.stability import Reappearance

if TYPE_CHECKING:
    import polars as pl

NO_FEATURE = "no emotion feature to judge"


@dataclass(frozen=True)
class Measured:
    """Everything the criteria read; None was not measured."""

    emotions: tuple[str, ...]
    reconstruction: Reconstruction | None = None
    selection: Selection | None = None
    features: "pl.DataFrame | None" = None
    """One row per feature; columns that are absent or all null were not measured."""
    causal: Causal | None = None
    stability: Reappearance | None = None
    agreement: Agreement | None = None
    held_out: HeldOut | None = None
    pairs: Pairs | None = None

    @property
    def strong(self) -> np.ndarray | None:
        """(d_sae,) bool, emotion features."""
        return None if self.features is None else self.features["emotion_feature"].to_numpy().astype(bool)

    def column(self, name: str) -> np.ndarray | None:
        """A column of the features with nulls as NaN; None where nobody measured it."""
        table = self.features
        if table is None or name not in table.columns or table[name].null_count() == table.height:
            return None
        import polars as pl

        return table[name].cast(pl.Float64).to_numpy()

    def without(self, column: str) -> str | None:
        """Why there is nothing in ``column``: there is no emotion feature to name, or (None) nobody looked."""
        table = self.features
        if table is None or column not in table.columns or table["emotion_feature"].any():
            return None
        return NO_FEATURE


@dataclass(frozen=True)
class Reading:
    """What a criterion reads."""

    value: float
    control: float | None
    met: bool
    """The value meets the threshold."""
    control_met: bool = False
    """So does the control: the threshold tells nothing apart."""
    beaten: bool = True
    """The value lies beyond the control."""
    ci: Ci | None = None
    note: str = ""
    advice: str = ""
    """In place of the criterion's, where the way it failed matters."""


@dataclass(frozen=True)
class Criterion:
    """One row of the verdict."""

    id: str
    label: str
    must: bool
    """Decides go or no-go; the others strengthen the findings."""
    unit: Literal["share", "count", "AUROC", "explained variance"]
    stage: str
    """The verb that measures it."""
    control: str
    """What the control is."""
    threshold: Callable[[VerdictSettings, Measured], str]
    read: Callable[[Measured, VerdictSettings], Reading | str | None]
    """None: not measured; a text: why there is nothing to judge."""
    advice: str
    """What to do when it fails."""


def at_least(
    bar: float, value: float, control: float | None, *, note: str = "", ci: Ci | None = None
) -> Reading:
    """A value that must reach ``bar`` and lie beyond its control, which must not reach it."""
    control_met = control is not None and control >= bar
    beaten = control is not None and value > control
    return Reading(value, control, value >= bar, control_met, beaten, ci, note)


def fewest(
    per: dict[str, int], chance: dict[str, int], emotions: tuple[str, ...], bar: int, more: str
) -> Reading:
    """Counts of every emotion: the smallest must reach ``bar`` and lie beyond the largest of the controls."""
    note = "fewest over the emotions: " + ", ".join(f"{e} {per.get(e, 0)}" for e in emotions) + more
    value, control = min(per.get(e, 0) for e in emotions), max(chance.get(e, 0) for e in emotions)
    return at_least(bar, value, control, note=note)


def percent(share: float) -> str:
    """A share as a percentage with as many digits as it was given with."""
    return f"{100 * share:g} %"
