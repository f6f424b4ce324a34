"""Of the stage ``metrics``: the field's own metrics of dictionaries, under their own names."""

from typing import ClassVar

from pydantic import Field

from moodlens.study.record import Part, Record


class KSparse(Part):
    """A probe on the k features that differ most between an emotion and the others."""

    k: int = Field(description="features (count)")
    auroc: float | None = Field(description="on test rows, mean over emotions")
    per_emotion: dict[str, float | None] = Field(description="AUROC of every emotion")


class Perturbation(Part):
    """Targeted probe perturbation: what removing an emotion's features does to its probe and to the others'."""

    n_features: int = Field(description="features removed for each emotion (count)")
    own: float | None = Field(description="fall of the emotion's own probe's balanced accuracy, mean")
    others: float | None = Field(description="fall of the other emotions' probes, mean")
    score: float | None = Field(description="own minus others")


class Removal(Part):
    """Spurious correlation removal: what removing a factor's features does to a probe that was misled by it."""

    n_tasks: int = Field(description="pairs of emotions with a pair of values of a factor (count)")
    n_features: int = Field(description="features removed in each task (count)")
    misled: float | None = Field(
        description="balanced accuracy of misled probes on rows where the factor says nothing, mean"
    )
    removed: float | None = Field(description="the same after the features were removed, mean")
    honest: float | None = Field(description="the same of probes that were not misled, mean")
    score: float | None = Field(
        description="what removal wins of what was lost (share); null where misled probes lost nothing, or there are no factors"
    )


class Absorption(Part):
    """Feature absorption: rows of an emotion in which its main features are silent and another one speaks for it."""

    n_main: int = Field(description="main features of each emotion (count)")
    n_rows: int = Field(description="test rows of an emotion that the dense probe gets right (count)")
    silent: float | None = Field(description="of them, rows in which no main feature fires (share)")
    absorbed: float | None = Field(
        description="of them, rows in which moreover one other feature along the probe holds most of what the probe reads (share)"
    )


class DictionaryMetrics(Part):
    """The metrics of one dictionary."""

    name: str = Field(
        description="sae, core (its claimed part alone) or untrained (differences of training rows)"
    )
    n_features: int = Field(description="features (count)")
    active: float = Field(description="active features a test row (share)")
    k_sparse: tuple[KSparse, ...]
    perturbation: Perturbation
    removal: Removal
    absorption: Absorption


class Metrics(Record):
    """Fitted on train + val, judged on test; the untrained dictionary is what learning nothing gives."""

    file: ClassVar[str] = "metrics.json"
    stage: ClassVar[str] = "metrics"

    n_fitted: int = Field(description="rows that fitted probes and chose features (count)")
    n_judged: int = Field(description="test rows (count)")
    dense: KSparse = Field(description="a probe on the embedding itself; k is its width")
    dictionaries: tuple[DictionaryMetrics, ...]
