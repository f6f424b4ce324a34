"""How scored clips are judged, and what listeners are asked."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, field_validator

from moodlens.settings.base import Frozen, apply_changes, validate


class ResultSettings(Frozen):
    """How scored clips are judged."""

    coefficient: float | None = Field(
        default=None, description="strength compared; none: the largest that all methods and controls share"
    )
    readout: str | None = Field(
        default=None,
        description="score that the confirmatory table reads; none: CLAP's if it is scored, else musicnn's, else the acoustics'",
    )
    methods: tuple[str, ...] = Field(
        default=("sae_family", "difference_in_means"),
        description="methods of the confirmatory table, all others are exploratory; empty: all",
    )
    change_seconds: float = Field(
        default=2.0,
        ge=0,
        description="of each unsteered clip's start, on which it is measured how far every condition moves the generator (s); "
        "0: not measured, so methods are not compared at equal change",
    )
    n_resamples: int = Field(default=2000, ge=100, description="bootstrap resamples and permutations")
    alpha: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="largest q (Benjamini-Hochberg over the confirmatory table) that counts",
    )
    seed: int = Field(default=0, ge=0, description="of the resamples")

    def named_as(self, other: "ResultSettings") -> bool:
        """Whether both name the same confirmatory table."""
        return all(
            getattr(self, name) == getattr(other, name) for name in ("coefficient", "readout", "methods")
        )

    def changed(self, changes: Sequence[str]) -> "ResultSettings":
        """With ``changes`` such as ``readout=acoustic``; ``judge.`` may stand in front.

        Raises:
            BadInput: a setting is unknown or out of range.
        """
        changes = [change.removeprefix("judge.") for change in changes]
        return validate(ResultSettings, apply_changes(self.model_dump(), changes), "judge", changes)


UNSTEERED, RANDOM = "unsteered", "random"
"""What steered clips can be compared with, apart from the clips of another method."""


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
    against: str | None = Field(
        default=None,
        description="what each clip is compared with: unsteered, random (directions), or a method, head to head; none: "
        "unsteered, or random where clips are then heard less often",
    )
    pairs: int = Field(default=2, ge=1, description="trials for each method and emotion")
    repeats: int = Field(
        default=4, ge=0, description="trials shown a second time with the sides swapped, to see who guesses"
    )
    question: str = Field(
        default="Which of the two clips is more {emotion}?",
        description="{emotion} becomes the emotion in capitals",
    )
    quality: bool | None = Field(
        default=None,
        description="also ask which of the two sounds better; none: where two methods meet head to head",
    )
    quality_question: str = Field(
        default="Which of the two clips sounds better as music?", description="asked after the emotion"
    )
    match_loudness: bool = Field(
        default=True,
        description="play both clips of a trial at the level of the quieter one: louder is not happier",
    )
    embed: bool = Field(
        default=True, description="clips inside the page (one file); else beside it, in the folder clips"
    )
    export: Literal["jspsych", "webmushra"] | None = Field(
        default=None, description="files for another program in place of the page: jspsych, webmushra"
    )
    seed: int = Field(default=0, ge=0, description="of the choice of pairs, their order and their sides")

    @property
    def head_to_head(self) -> bool:
        """Whether clips are compared with those of another method."""
        return self.against not in (None, UNSTEERED, RANDOM)

    @property
    def asks_quality(self) -> bool:
        """Whether listeners are also asked which sounds better."""
        return self.head_to_head if self.quality is None else self.quality

    @field_validator("question")
    @classmethod
    def _question(cls, value: str) -> str:
        if "{emotion}" not in value:
            raise ValueError("must hold {emotion}")
        return value
