"""What the served page asks, and what it is told."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from moodlens.study.notes import BlindScore, Clarity
from moodlens.study.record import Part
from moodlens.study.records.estimates import Ci
from moodlens.study.records.verdict import Control

TEXT = 8_000
"""Characters of a text."""
FeatureNumber = Annotated[int, Field(ge=0, le=2**31)]
Weight = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
Label = Annotated[str, StringConstraints(max_length=1000)]


class TextQuestion(Part):
    """A text to be read."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=TEXT)]
    feature: FeatureNumber | None = None


class SentencePart(Part):
    """A sentence, and its families' scores read alone."""

    begin: int
    end: int
    families: dict[str, float | None]


class WordPlace(Part):
    """Where a word stands (UTF-16 units)."""

    begin: int
    end: int
    sentence: int


class ActiveFeature(Part):
    """A feature that fires, word by word: ``added`` and ``rest`` make up ``rise`` exactly."""

    feature: int
    activation: float
    typical: float = Field(description="activation over its mean where it fires")
    emotion: str | None
    concept: str | None
    claimed: bool
    name: str | None
    sentence: int = Field(description="in which it fires most")
    rise: float = Field(description="pre-activation over that of the mean text (embedding units)")
    added: list[float] = Field(description="by each word of that sentence (embedding units)")
    rest: float = Field(description="by marks and special tokens")


class ActiveCount(Part):
    """Features that fire (count)."""

    claimed: int
    core: int
    rest: int


class Member(Part):
    """A member of a family in this text."""

    feature: int
    weight: float
    activation: float
    share: float = Field(description="weight * activation")


class WhyEmotion(Part):
    """An emotion: its family's score and what its members do."""

    emotion: str
    score: float | None
    members: tuple[Member, ...]


class WhyConcept(Part):
    """A concept whose features fire."""

    emotion: str
    concept: str
    strength: float = Field(description="sum of activations over their usual size")
    features: tuple[int, ...]


class TextReading(Part):
    """A text under the study's features."""

    text: str
    seconds: float
    sentences: tuple[SentencePart, ...]
    families: dict[str, float | None] = Field(
        description="as `moodlens score`: standard deviations of train + val"
    )
    family_words: dict[str, list[tuple[str, float]]]
    words: tuple[WordPlace, ...]
    active: tuple[ActiveFeature, ...]
    asked: ActiveFeature | None = Field(description="the feature that was asked for, silent or not")
    n_active: ActiveCount
    emotions: tuple[WhyEmotion, ...]
    concepts: tuple[WhyConcept, ...]


class FeatureDirection(Part):
    """The decoder row of a feature."""

    kind: Literal["feature"]
    feature: FeatureNumber
    weight: Weight = 1.0


class FamilyDirection(Part):
    """The family of an emotion, or the difference of its mean."""

    kind: Literal["family", "difference_in_means"]
    emotion: Label
    weight: Weight = 1.0


class SteerQuestion(Part):
    """Unit directions at weights, whose sum is brought to length 1 and gone ``coefficient`` units."""

    parts: Annotated[
        tuple[Annotated[FeatureDirection | FamilyDirection, Field(discriminator="kind")], ...],
        Field(min_length=1, max_length=50),
    ]
    coefficient: Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False)]


class ReadoutShift(Part):
    """How far a readout of an emotion moves, beside directions that mean nothing."""

    readout: str
    unit: str
    effect: float
    ci: Ci
    random: tuple[float, float] = Field(
        description="5th and 95th percentile of random directions, as far gone"
    )
    matched: tuple[float, float] | None = Field(description="the same of features that nobody claims")
    difference_in_means: float = Field(description="of the emotion's own difference in means, as far gone")
    curve: list[float] = Field(description="at every coefficient of the grid")
    random_low: list[float]
    random_high: list[float]


class EmotionShift(Part):
    """Both readouts of an emotion."""

    emotion: str
    readouts: tuple[ReadoutShift, ...]


class SteerAnswer(Part):
    """The predicted shift of the readouts."""

    coefficient: float
    unit: float
    amount: float
    grid: list[float]
    emotions: tuple[EmotionShift, ...]
    n_rows: int
    n_groups: int
    note: str


class NoteQuestion(Part):
    """A person's reading of a feature."""

    feature: FeatureNumber
    name: Annotated[str, StringConstraints(max_length=200)]
    clarity: Clarity
    note: Annotated[str, StringConstraints(max_length=10_000)] = ""
    author: Annotated[str, StringConstraints(max_length=100)] = ""


class NotePart(NoteQuestion):
    """A reading as it is kept."""

    sae: Annotated[str, StringConstraints(max_length=100)]
    time: Annotated[str, StringConstraints(max_length=40)]
    blind: BlindScore | None = None


class NotesFile(Part):
    """All readings, oldest first: what a page downloads and what it imports."""

    format: Literal["moodlens-notes"] = "moodlens-notes"
    version: Literal[1] = 1
    sae: str
    readings: Annotated[tuple[NotePart, ...], Field(max_length=20_000)]


class Imported(Part):
    """What came of an import."""

    added: int
    known: int


class BlindText(Part):
    """A text that fires the feature, or does not (activation 0)."""

    row: int
    activation: float
    text: str


class BlindTrial(Part):
    """Texts of train + val; what judges the name is test texts."""

    feature: int
    emotion: str
    fires: tuple[BlindText, ...]
    silent: tuple[BlindText, ...]
    n_left: int
    concepts: tuple[str, ...]
    note: str


class ProgramName(Part):
    """What the program called it."""

    name: str | None
    score: float | None
    score_all: float | None


class BlindResult(Part):
    """How a person's name does in the test that judges names."""

    reading: NotePart
    score: float | None
    score_all: float | None
    control: float | None
    n: int
    n_emotion: int
    known: tuple[str, ...] = Field(description="parts of the name that could be read")
    unknown: tuple[str, ...]
    program: ProgramName
    note: str


class Side(Part):
    """One of two studies."""

    name: str
    folder: str
    go: bool | None
    encoder: str
    core_size: int
    claimed: int


class SideCriterion(Part):
    """A criterion in one of them."""

    state: str
    value: float | None
    ci: Ci | None
    controls: tuple[Control, ...]


class ComparedCriterion(Part):
    """A criterion in both."""

    id: str
    label: str
    must: bool
    unit: str
    threshold: str
    a: SideCriterion | None
    b: SideCriterion | None
    differs: bool


class Match(Part):
    """A feature of each, matched one to one."""

    a: int
    b: int
    cosine: float
    emotion_a: str | None
    emotion_b: str | None
    name_a: str | None
    name_b: str | None
    claimed_a: bool
    claimed_b: bool


class ClaimedMatched(Part):
    """Claimed features whose partner reaches the bar (count)."""

    a: int
    of_a: int
    b: int
    of_b: int


class Comparison(Part):
    """Two studies side by side."""

    a: Side
    b: Side
    criteria: tuple[ComparedCriterion, ...]
    matches: tuple[Match, ...] | None
    bar: float
    null_p95: float | None
    n_matched: int | None
    n_claimed_matched: ClaimedMatched | None
    note: str
