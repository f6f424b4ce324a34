"""How scored clips are judged, and what listeners are asked."""

from pydantic import Field, field_validator

from moodlens.settings.base import Frozen


class ResultSettings(Frozen):
    """How scored clips are judged."""

    coefficient: float | None = Field(
        default=None, description="strength compared; none: the largest that all methods and controls share"
    )
    n_resamples: int = Field(default=2000, ge=100, description="bootstrap resamples and permutations")
    alpha: float = Field(default=0.05, gt=0, lt=1, description="largest q (Benjamini-Hochberg) that counts")
    seed: int = Field(default=0, ge=0, description="of the resamples")


class ListenSettings(Frozen):
    """What a listening test asks."""

    coefficient: float = Field(
        default=1.0,
        description="of the steered clips, in the run's unit; prompt editing has none and is always in",
    )
    methods: tuple[str, ...] = Field(default=(), description="methods compared; empty: all that the run has")
    emotions: tuple[str, ...] = Field(
        default=(), description="emotions asked for; empty: all that the run has"
    )
    pairs: int = Field(default=2, ge=1, description="trials for each method and emotion")
    repeats: int = Field(
        default=4, ge=0, description="trials shown a second time with the sides swapped, to see who guesses"
    )
    question: str = Field(
        default="Which of the two clips is more {emotion}?",
        description="{emotion} becomes the emotion in capitals",
    )
    match_loudness: bool = Field(
        default=True,
        description="play both clips of a trial at the level of the quieter one: louder is not happier",
    )
    embed: bool = Field(
        default=True, description="clips inside the page (one file); else beside it, in the folder clips"
    )
    seed: int = Field(default=0, ge=0, description="of the choice of pairs, their order and their sides")

    @field_validator("question")
    @classmethod
    def _question(cls, value: str) -> str:
        if "{emotion}" not in value:
            raise ValueError("must hold {emotion}")
        return value
