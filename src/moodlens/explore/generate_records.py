"""What is asked of the generator, how far it is, and what makes a clip again."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from moodlens.explore.answers import FamilyDirection, FeatureDirection, SteerQuestion
from moodlens.study.record import Part
from moodlens.study.records.steer import ClipFacts

PROMPT = 1_000
"""Characters of a prompt."""
SECONDS = 30.0
"""Longest clip that is made here, where the model can make longer ones."""
Which = Literal["original", "steered", "random"]
WHICH: tuple[Which, ...] = ("original", "steered", "random")


class GenerateQuestion(SteerQuestion):
    """Three clips of one prompt and seed: as it is, steered, and moved as far along a random direction."""

    prompt: Annotated[str, StringConstraints(min_length=1, max_length=PROMPT)]
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    seconds: Annotated[float, Field(gt=0, le=SECONDS, allow_inf_nan=False)] = 8.0
    guidance: Annotated[float, Field(ge=1, le=20, allow_inf_nan=False)] | None = None
    """None: the generator's own."""


class GeneratorFacts(Part):
    """The generator, and what may be asked of it."""

    model: str
    device: str
    dtype: str
    shortest: float = Field(description="s")
    longest: float = Field(description="s")
    guidance: float = Field(description="its own")
    prompt: int = Field(description="characters of a prompt")
    waiting: int = Field(description="sets that may wait (count)")
    kept: int = Field(description="sets that can still be heard (count)")
    prompts: tuple[str, ...] = Field(description="that name no emotion")


class MadeClip(Part):
    """A clip that can be heard."""

    which: Which
    audio: str = Field(description="where")
    settings: str = Field(description="where what makes it again lies")
    direction: str | None
    coefficient: float
    peak: float | None = Field(description="largest magnitude; beyond 1 a player cuts it off")
    lufs: float | None


class ClipSet(Part):
    """Three clips of one prompt and seed, as far as they are made."""

    id: int
    state: Literal["waiting", "working", "done", "cancelled", "failed"]
    ahead: int = Field(description="sets before it in the queue (count)")
    share: float = Field(description="made (share)")
    seconds_spent: float
    seconds_left: float | None = Field(description="estimate")
    error: str | None
    direction: str = Field(description="in words")
    question: GenerateQuestion
    clips: tuple[MadeClip, ...]


class ClipSets(Part):
    """All that can still be heard or waits, newest first."""

    sets: tuple[ClipSet, ...]


class ClipSettings(Part):
    """All that makes a clip again, to the byte on the same processor and library versions."""

    format: Literal["moodlens-clip"] = "moodlens-clip"
    version: Literal[1] = 1
    study: str
    sae: str = Field(description="main@ and twelve digits of the weights' hash")
    parts: tuple[FeatureDirection | FamilyDirection, ...] = Field(
        description="of the steered clip's direction; empty for the others"
    )
    unit: float = Field(description="length that coefficient 1 adds, in the embedding's units")
    clip: ClipFacts
    vector: tuple[float, ...] | None = Field(
        description="(d_in,) of length 1, the direction itself; null without one"
    )
