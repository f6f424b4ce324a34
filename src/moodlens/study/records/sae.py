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


class Core(Record):
    """core.json: the features that may be claimed, and the pipelines that found their own."""

    file: ClassVar[str] = "core.json"
    stage: ClassVar[str] = "train"

    members: int = Field(
        description="narrow SAEs of a pipeline (count); 0: no core, every feature may be claimed"
    )
    atoms: int = Field(description="features of the core: of sae/main the first (count)")
    claimable: int = Field(
        description="of them, those found in so many members that they may be claimed; the first of sae/main (count)"
    )
    member_size: int | None = Field(
        default=None, description="features of a narrow SAE (count); 0: too few rows"
    )
    member_active: float | None = Field(
        default=None, description="its active features a training row (count)"
    )
    member_explained_variance: float | None = Field(default=None, description="of one, on test rows (share)")
    found: tuple[int, ...] = Field(
        default=(), description="atoms that 0, 1, 2 ... of the members take part in (count)"
    )
    explained_variance: float | None = Field(
        default=None, description="of the core alone, on test rows (share)"
    )
    active: float | None = Field(default=None, description="core features active in a test row (count)")
    pipelines: dict[str, int] = Field(
        default_factory=dict, description="atoms of the study's core and of every other (count)"
    )
    effective_rank: float | None = Field(
        default=None,
        description="equal principal variances that spread like those of the training rows (count)",
    )
    rows_a_feature: float | None = Field(
        default=None, description="training rows for each feature of a member (count)"
    )
    remark: str | None = Field(default=None, description="why there is no core, where there is none")
    imported: str | None = Field(
        default=None,
        description="of an SAE that others trained: whose it is, what rows it takes, what to know of it",
    )

    @property
    def n_edge(self) -> int:
        """Features of the core that too few members found for a claim."""
        return self.atoms - self.claimable

    @property
    def lines(self) -> list[str]:
        """For people."""
        if self.imported:
            return [f"{self.imported}: no core, each of its {self.atoms} features may be claimed"]
        if not self.members:
            return [f"no core: each of the {self.atoms} features may be claimed"]
        if self.remark:
            return [f"no core: {self.remark}"]
        others = ", ".join(f"{name} {atoms}" for name, atoms in self.pipelines.items())
        head = f"core of {self.members} SAEs of {self.member_size}: {self.atoms} features, {self.claimable} of them"
        return [f"{head} found by enough to be claimed ({others})"]
