"""Of the stages ``sweep`` and ``train``: which settings were tried, and how well the SAE rebuilds embeddings."""

from typing import ClassVar

from pydantic import Field

from moodlens.settings.sae import SAESettings
from moodlens.study.record import Column, Part, Record, TableSchema


class Sweep(Record):
    """sweep.json: the settings that are trained."""

    file: ClassVar[str] = "sweep.json"
    stage: ClassVar[str] = "sweep"

    settings: SAESettings = Field(description="of the chosen SAE, as given")
    reason: str = Field(description="why these")
    n_tried: int = Field(description="SAEs trained by the sweep (count)")


SWEEP = TableSchema(
    file="sweep.parquet",
    stage="sweep",
    columns={
        "name": Column("String", "", "of the combination"),
        "architecture": Column("String", "", "l1, topk, batchtopk, matryoshka"),
        "d_sae": Column("Int64", "count", "features"),
        "k": Column("Int64", "count", "active features a row, where the architecture has them"),
        "l1_coefficient": Column("Float64", "", "weight of the L1 norm of the codes"),
        "expansion_factor": Column("Float64", "", "d_sae / d_in"),
        "learning_rate": Column("Float64", "", "peak step size"),
        "batch_size": Column("Int64", "rows", "rows a step"),
        "seed": Column("Int64", "", "of the training"),
        "mse": Column("Float64", "squared embedding units", "validation rows, mean over elements"),
        "explained_variance": Column("Float64", "share", "validation rows, about the train mean"),
        "explained_variance_train": Column("Float64", "share", "training rows"),
        "l0": Column("Float64", "count", "active features a validation row"),
        "active_share": Column("Float64", "share", "l0 / d_sae"),
        "dead_share": Column("Float64", "share", "features that fire on no training row"),
        "dev_selective": Column("Int64", "count", "features that pass the selectivity threshold alone"),
        "epochs": Column("Int64", "count", "passes made"),
        "seconds": Column("Float64", "s", "of training"),
        "pareto": Column("Boolean", "", "no other is both sparser and better"),
        "chosen": Column("Boolean", "", "the one that is trained"),
    },
)


class Metrics(Part):
    """How an SAE does on one set of rows."""

    mse: float = Field(description="mean over elements (squared embedding units)")
    explained_variance: float = Field(description="about the train mean; 1 is perfect (share)")
    l0: float = Field(description="active features a row (count)")
    active_share: float = Field(description="l0 / d_sae (share)")
    dead_share: float = Field(description="features that fire on no training row (share)")
    dense_share: float = Field(description="features that fire on more than half of the rows (share)")
    mean_norm_ratio: float = Field(
        description="length of the rebuilt row about the mean, over the true one (ratio)"
    )


class HeldOutMetrics(Metrics):
    """On test rows."""

    d_sae: int = Field(description="features (count)")


class Baseline(Part):
    """What a trivial method rebuilds of the test rows."""

    mse: float = Field(description="mean over elements (squared embedding units)")
    explained_variance: float = Field(description="about the train mean (share)")
    n_components: int | None = Field(default=None, description="of the PCA: as many as the SAE's l0 (count)")


class Baselines(Part):
    """Trivial reconstructions."""

    mean: Baseline = Field(description="predict the train mean")
    pca: Baseline | None = Field(default=None, description="principal components of the training rows")


class RowCounts(Part):
    """Rows of each split."""

    train: int = Field(description="rows that trained (count)")
    val: int = Field(description="rows that stopped the training (count)")
    test: int = Field(description="rows that judge (count)")


class Reconstruction(Record):
    """reconstruction.json: how well sae/main rebuilds embeddings."""

    file: ClassVar[str] = "reconstruction.json"
    stage: ClassVar[str] = "train"

    held_out: HeldOutMetrics = Field(description="on test rows")
    train: Metrics = Field(description="on training rows")
    baselines: Baselines = Field(description="what trivial methods reach on the same test rows")
    rows: RowCounts = Field(description="what it was trained and judged on")
