"""What the page shows of a study as a whole. What a study lacks is null, and ``missing`` names the verb that makes it."""

from typing import Literal

from pydantic import Field, JsonValue

from moodlens.explore.generate_records import GeneratorFacts
from moodlens.study.record import Part
from moodlens.study.records.estimates import Aurocs, Ci, Estimate
from moodlens.study.records.verdict import Verdict

Column = list[JsonValue]
"""The values of a column, row by row; null where there is none."""


class About(Part):
    """Which study this is."""

    name: str
    folder: str = Field(description="its last part alone: where it lies is nobody's business")
    sae: str = Field(description="main@ and twelve digits of the weights' hash")
    encoder: str
    d_in: int
    d_sae: int
    core_size: int
    seed: int
    control: str
    emotions: tuple[str, ...]
    concepts: dict[str, tuple[str, ...]] = Field(description="emotion -> its concepts")
    n_prompts: int
    splits: dict[str, int] = Field(description="split -> texts (count)")
    moodlens: str = Field(description="version that reads it")


class Can(Part):
    """What can be asked of this page; all but notes false in an exported file."""

    text: bool
    steer: bool
    notes: bool
    blind: bool
    compare: bool
    generate: bool


class Counts(Part):
    """Features by what became of them, beside what nothing gives."""

    features: int
    core: int
    claimed: int
    concept_features: int | None
    dead: int = Field(description="fire in no text")
    dense: int = Field(description="fire in more than half of the texts")
    per_emotion: dict[str, int] = Field(description="claimed features of every emotion (count)")
    shuffled_p95: float | None = Field(description="claimed under shuffled labels, 95th percentile")
    untrained: dict[str, int] | None = Field(
        description="kind -> claimed of dictionaries that learned nothing"
    )


class Cell(Part):
    """Test texts of one concept of one emotion."""

    emotion: str
    concept: str | None
    n: int
    groups: int


class Heat(Part):
    """Emotion x concept x feature: where each claimed feature fires."""

    cells: tuple[Cell, ...]
    features: tuple[int, ...] = Field(description="claimed ones, by emotion and concept")
    rate: list[list[float]] = Field(description="one row a feature: share of each cell's texts that fire it")
    note: str


class Lines(Part):
    """Rows of numbers under names."""

    columns: tuple[str, ...]
    rows: list[Column]


class Curves(Part):
    """Of the training, epoch by epoch, and of the sweep, SAE by SAE."""

    training: Lines | None
    sweep: Lines | None


class Place(Part):
    """An emotion or a concept in a plane."""

    emotion: str
    concept: str | None
    x: float
    y: float


class PlaneReading(Part):
    """How well a reading of words follows people's ratings of them, beside ratings dealt anew."""

    reading: str
    scale: str
    spearman: float | None
    ci: Ci | None
    control: float | None


class Circumplex(Part):
    """Emotions and concepts in valence and arousal; where no ratings were read, in the plane of the families."""

    source: Literal["norms", "families"]
    x: str
    y: str
    places: tuple[Place, ...]
    readings: tuple[PlaneReading, ...]
    note: str


class TextPoints(Part):
    """Texts in a plane."""

    row: list[int]
    x: list[float]
    y: list[float]


class FeaturePoints(Part):
    """Features in a plane."""

    feature: list[int]
    x: list[float]
    y: list[float]


class Map(Part):
    """Principal components: of texts' embeddings, and of decoder directions."""

    texts: TextPoints | None
    features: FeaturePoints
    text_variance: tuple[float, float] | None = Field(description="of each axis (share)")
    feature_variance: tuple[float, float]
    note: str


class FamilyPart(Part):
    """The family of one emotion, and what it reads on held-out text."""

    emotion: str
    features: tuple[int, ...]
    weights: tuple[float, ...]
    held_out: Estimate | None
    held_out_control: float | None


class OtherTexts(Part):
    """Texts of other people."""

    name: str
    n: int
    n_groups: int
    n_seen: int | None
    auroc: Aurocs


class SteerFacts(Part):
    """What a coefficient means."""

    unit: float = Field(description="embedding units that coefficient 1 adds")
    unit_note: str
    max_coefficient: float
    no_music: str | None = Field(description="why no generator can be steered; null where one can")


class Limits(Part):
    """Of what is taken."""

    text: int = Field(description="characters")


class Overview(Part):
    """The first page."""

    format: Literal["moodlens-explorer"] = "moodlens-explorer"
    version: int = 1
    exported: bool = False
    study: About
    can: Can
    verdict: Verdict | None
    counts: Counts
    heat: Heat | None
    curves: Curves
    circumplex: Circumplex | None
    map: Map | None
    families: tuple[FamilyPart, ...]
    transfer: tuple[OtherTexts, ...] | None
    steer: SteerFacts | None
    generator: GeneratorFacts | None
    limits: Limits
    missing: dict[str, str] = Field(description="part -> the verb that makes it")
    left_out: tuple[str, ...] = ()


class TableColumn(Part):
    """A column of the table of features."""

    name: str
    label: str
    unit: str
    meaning: str
    kind: Literal["number", "int", "bool", "text"]


class FeatureTable(Part):
    """One row for each feature, column by column."""

    n: int
    density_n: int = Field(description="texts that density is a share of (count)")
    columns: tuple[TableColumn, ...]
    data: dict[str, Column]


class Prompts(Part):
    """The texts, column by column; in a file, texts that are left out are null."""

    text: list[str | None]
    emotion: list[str | None]
    concept: list[str | None]
    kind: list[str]
    split: list[str]
