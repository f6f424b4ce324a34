"""What a criterion of the verdict is: what it may read, what a reading says, and how thresholds and controls combine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from moodlens.settings.verdict import VerdictSettings
from moodlens.study.records.causal import Causal
from moodlens.study.records.concepts import Concepts
from moodlens.study.records.estimates import Ci
from moodlens.study.records.names import Names
from moodlens.study.records.pairs import Pairs
from moodlens.study.records.ratings import Ratings
from moodlens.study.records.sae import Core, Reconstruction
from moodlens.study.records.selection import Selection
from moodlens.study.records.stability import Agreement
from moodlens.study.records.transfer import Transfer
from moodlens.study.records.untrained import Claims, Untrained
from moodlens.study.records.verdict import Control
from moodlens.validate.stability import Reappearance

if TYPE_CHECKING:
    import polars as pl

NO_FEATURE = "no feature is claimed"
NO_LABELS = "no text has a label"


@dataclass(frozen=True)
class Measured:
    """Everything the criteria read; None was not measured."""

    emotions: tuple[str, ...]
    """None in a study of ratings alone."""
    reconstruction: Reconstruction | None = None
    core: Core | None = None
    selection: Selection | None = None
    features: "pl.DataFrame | None" = None
    """One row per feature; columns that are absent or all null were not measured."""
    concepts: Concepts | None = None
    names: Names | None = None
    causal: Causal | None = None
    stability: Reappearance | None = None
    agreement: Agreement | None = None
    transfer: Transfer | None = None
    pairs: Pairs | None = None
    untrained: Untrained | None = None
    ratings: Ratings | None = None
    rated: np.ndarray | None = None
    """(d,) bool, features that may be claimed and go with a rating."""

    @property
    def strong(self) -> np.ndarray | None:
        """(d_sae,) bool, claimed features; in a study of ratings alone, those that go with one."""
        if not self.emotions:
            return self.rated
        return None if self.features is None else self.features["emotion_feature"].to_numpy().astype(bool)

    def column(self, name: str) -> np.ndarray | None:
        """A column of the features with nulls as NaN; None where nobody measured it."""
        table = self.features
        if table is None or name not in table.columns or table[name].null_count() == table.height:
            return None
        import polars as pl

        return table[name].cast(pl.Float64).to_numpy()

    def learned_nothing(self, value: Callable[[Claims], float | None]) -> dict[str, float | None]:
        """What the untrained dictionaries give, by the name of the control.

        Where the study has no core, one dictionary stands beside one dictionary.
        """
        by_kind = {} if self.untrained is None else self.untrained.consensus or self.untrained.alone
        return {f"{kind.replace('-', ' ')} dictionaries": value(claims) for kind, claims in by_kind.items()}

    def alone(self, counts: Callable[[Claims], Mapping[str, int] | None]) -> str:
        """What as many features of one untrained dictionary give, chosen alike but for the consensus: a warning."""
        claims = None if self.untrained is None else self.untrained.alone.get("untrained-rows")
        per = None if claims is None else counts(claims)
        if not per:
            return ""
        listed = ", ".join(f"{emotion} {n}" for emotion, n in per.items())
        return f"; as many features of one untrained dictionary, chosen alike without a consensus: {listed}"

    def fewest_untrained(
        self, counts: Callable[[Claims], Mapping[str, int] | None]
    ) -> dict[str, float | None]:
        """The most that untrained dictionaries give in any emotion: what the poorest emotion must lie beyond."""
        return self.learned_nothing(lambda claims: max((counts(claims) or {}).values(), default=None))


@dataclass(frozen=True)
class Reading:
    """What a criterion reads."""

    value: float
    controls: tuple[Control, ...]
    met: bool
    """The value meets the threshold."""
    control_met: bool = False
    """So does a control: the threshold tells nothing apart."""
    beaten: bool = True
    """The value lies beyond every control."""
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
    """Decides go or no-go; the others strengthen the findings, or decide where there are no labels."""
    unit: Literal["share", "count", "AUROC", "explained variance", "percentile"]
    stage: str
    """The verb that measures it."""
    threshold: Callable[[VerdictSettings, Measured], str]
    read: Callable[[Measured, VerdictSettings], Reading | str | None]
    """None: not measured; a text: why it cannot be asked of this study."""
    advice: str
    """What to do when it fails."""
    imported: str = ""
    """In place of all other advice where the SAE was imported, so that nothing of it can be trained anew."""
    labels: bool = True
    """Asks of labels, so it cannot be asked of ratings alone."""


def controls(given: Mapping[str, float | None]) -> tuple[Control, ...]:
    """Controls by name, as the record holds them."""
    return tuple(Control(name=name, value=value) for name, value in given.items())


def at_least(
    bar: float,
    value: float,
    given: Mapping[str, float | None],
    *,
    met: bool | None = None,
    note: str = "",
    ci: Ci | None = None,
) -> Reading:
    """A value that must reach ``bar`` and lie beyond every control, none of which may reach it.

    Args:
        bar: the threshold.
        value: of the study.
        given: name -> value of each control; None could not be measured, and is no obstacle.
        met: whether the threshold is met, where it asks for more than ``bar``.
        note: what stands behind the value.
        ci: interval of the value.
    """
    known = [control for control in given.values() if control is not None]
    return Reading(
        value,
        controls(given),
        value >= bar if met is None else met,
        any(control >= bar for control in known),
        bool(known) and all(value > control for control in known),
        ci,
        note,
    )


def fewest(
    per: Mapping[str, int],
    given: Mapping[str, float | None],
    emotions: tuple[str, ...],
    bar: int,
    *,
    also: bool = True,
    more: str = "",
    over: str = "the emotions",
) -> Reading:
    """Counts of every emotion: the smallest must reach ``bar`` and lie beyond the controls.

    Args:
        per: count of each emotion.
        given: controls, each the largest count that it gives in any emotion.
        emotions: those that are asked.
        bar: the threshold.
        also: whether what else the threshold asks for is met.
        more: further words of the note.
        over: what ``emotions`` are.
    """
    note = f"fewest over {over}: " + ", ".join(f"{e} {per.get(e, 0)}" for e in emotions) + more
    value = min(per.get(e, 0) for e in emotions)
    return at_least(bar, value, given, met=value >= bar and also, note=note)


def percent(share: float) -> str:
    """A share as a percentage with as many digits as it was given with."""
    return f"{100 * share:g} %"
