"""What the page shows of one feature."""

from pydantic import Field

from moodlens.study.record import Part
from moodlens.study.records.estimates import Ci
from moodlens.study.records.names import NameEvidence

Span = tuple[int, int, float]
"""Begin and end in UTF-16 units, as browsers count, and a share."""


class AtEmotion(Part):
    """What a feature does in the test texts of one emotion."""

    emotion: str | None = Field(description="null: neutral texts")
    n: int
    firing: int
    rate: float
    mean: float = Field(description="activation, silent texts included (embedding units)")
    auroc: float | None = Field(description="against the other emotions")


class AtConcept(Part):
    """What a feature does in the test texts of one concept."""

    emotion: str
    concept: str
    n: int
    firing: int
    rate: float


class Histogram(Part):
    """Activations in test texts where it fires, by emotion; "" is neutral and unlabelled."""

    edges: list[float]
    counts: dict[str, list[int]]
    silent: int


class Shown(Part):
    """A text and what the feature does in it."""

    row: int
    activation: float
    rise: float | None = Field(default=None, description="pre-activation over that of the mean text")
    words: tuple[Span, ...] | None = Field(
        default=None, description="share of the rise that each word carries"
    )


class Tenth(Shown):
    """A tenth of the firings, and one text of it."""

    decile: int
    low: float
    high: float
    n_active: int


class WordPart(Part):
    """A word that carries the feature's score in its strongest unseen texts."""

    word: str
    share: float
    share_where: float
    n_texts: int
    n_shown: int


class Near(Part):
    """Another feature, near in direction."""

    feature: int
    cosine: float


class Together(Part):
    """Another feature, near in use."""

    feature: int
    correlation: float


class Twin(Part):
    """The nearest feature of another pipeline."""

    pipeline: str
    kind: str
    feature: int
    cosine: float


class Effect(Part):
    """An effect of an intervention and what stands beside it."""

    readout: str
    dose: float
    effect: float | None
    ci: Ci | None
    control_mean: float | None
    control_edge: float | None
    p: float | None
    q: float | None


class CausalPanel(Part):
    """A feature added and taken away, beside matched features and directions."""

    rule: str
    readouts: str
    unit: str
    doses: tuple[Effect, ...]
    clamp: tuple[Effect, ...]
    random_feature: tuple[Effect, ...]
    random_direction: tuple[Effect, ...]
    difference_in_means: tuple[Effect, ...]


class ClipShown(Part):
    """A clip of a steering run."""

    run: str
    key: str
    audio: str | None = Field(description="where it can be heard; null in a file")
    prompt: str
    method: str
    direction: str | None
    emotion: str | None
    coefficient: float | None
    seed: int
    seconds: float
    features: tuple[int, ...] = Field(description="of the study's SAE, that its direction is made of")
    reference: str | None = Field(description="key of the unsteered clip of the same prompt and seed")


class ClipRun(Part):
    """A steering run in the study's folder."""

    run: str
    model: str
    statements: tuple[str, ...] = Field(description="what its judging says; empty where it was not judged")
    clips: tuple[ClipShown, ...]


class ClipRuns(Part):
    """All of them."""

    runs: tuple[ClipRun, ...]


class TextFacts(Part):
    """A text of the study."""

    text: str
    emotion: str | None
    concept: str | None
    kind: str
    split: str


class FeaturePage(Part):
    """Everything on one feature; test texts, unless a field says otherwise."""

    feature: int
    emotions: tuple[AtEmotion, ...] = ()
    concepts: tuple[AtConcept, ...] = ()
    n_rows: int
    n_active: int
    n_emotion: int
    n_missed: int
    histogram: Histogram
    top: tuple[Shown, ...]
    deciles: tuple[Tenth, ...] = ()
    misses: tuple[Shown, ...] = ()
    low: tuple[Shown, ...] = ()
    words: tuple[WordPart, ...] | None = None
    neighbours: tuple[Near, ...] = ()
    together: tuple[Together, ...] = ()
    twins: tuple[Twin, ...] = ()
    causal: CausalPanel | None = None
    name_evidence: NameEvidence | None = None
    clips: tuple[ClipShown, ...] = ()
    texts: dict[int, TextFacts] = Field(default={}, description="of every row above; empty in a file")
