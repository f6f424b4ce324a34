"""What a steering run makes."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from moodlens.steer.build import DirectionSettings

NEUTRAL_PROMPTS = (
    "instrumental music",
    "a simple melody",
    "a piece for solo piano",
    "acoustic guitar with bass and drums",
    "a synthesizer track with a steady beat",
)
"""Prompts that name no emotion: what a direction adds must come from the direction."""

METHODS = ("sae_family", "sae_feature", "difference_in_means", "linear_probe")
CONTROLS = ("random", "matched_random_feature", "shuffled_difference_in_means", "pca")


class SteerSettings(BaseModel):
    """Prompts x methods x coefficients x seeds on one checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(
        default="facebook/musicgen-small", description="MusicGen checkpoint: hub name or folder"
    )
    revision: str | None = Field(default=None, description="hub commit, tag or branch")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="what the model computes in"
    )
    device: str = Field(default="auto", description="auto (CUDA if there is one), cpu, cuda ...")
    prompts: tuple[str, ...] = Field(
        default=NEUTRAL_PROMPTS, min_length=1, description="texts that are steered"
    )
    emotions: tuple[str, ...] = Field(
        default=(), description="emotions steered towards; empty: all of the study's"
    )
    methods: tuple[str, ...] = Field(default=METHODS, description="directions swept over all coefficients")
    controls: tuple[str, ...] = Field(
        default=("random", "matched_random_feature"),
        description="directions without an emotion, at control_coefficients",
    )
    coefficients: tuple[float, ...] = Field(
        default=(-1.0, 0.5, 1.0, 2.0),
        description="in units of the mean difference-in-means norm; 0 is always made",
    )
    control_coefficients: tuple[float, ...] = Field(default=(1.0,), description="of the controls, same units")
    prompt_editing: bool = Field(
        default=True, description="also clips of the prompt with the emotion written into it"
    )
    edit: str = Field(default="{emotion} {prompt}", description="how an emotion is written into a prompt")
    seeds: tuple[int, ...] = Field(default=(0, 1, 2), min_length=1, description="of the draws; one clip each")
    seconds: float = Field(default=8.0, gt=0, le=30, description="length of a clip (s)")
    guidance: float = Field(default=3.0, ge=1, description="classifier-free guidance scale; 1: none")
    temperature: float = Field(default=1.0, gt=0, description="of the sampling softmax")
    top_k: int = Field(default=250, ge=0, description="tokens kept at each draw; 0: all")
    renorm: bool = Field(default=False, description="scale steered tokens back to the norm they had")
    null: Literal["zeros", "opposite"] = Field(
        default="zeros",
        description="null half of guidance: MusicGen's zeros, or the prompt steered the other way",
    )
    schedule: tuple[tuple[float, float], ...] | None = Field(
        default=None, description="[seconds, factor] points that multiply every coefficient over time"
    )
    directions: DirectionSettings = DirectionSettings()

    @field_validator("prompts", "seeds", "coefficients", "control_coefficients", "methods", "controls")
    @classmethod
    def _distinct(cls, value: tuple) -> tuple:
        if len(set(value)) != len(value):
            raise ValueError("the same entry is given twice")
        return value

    @field_validator("edit")
    @classmethod
    def _edit(cls, value: str) -> str:
        if "{emotion}" not in value or "{prompt}" not in value:
            raise ValueError("must hold {emotion} and {prompt}")
        return value

    @field_validator("schedule")
    @classmethod
    def _schedule(
        cls, value: tuple[tuple[float, float], ...] | None
    ) -> tuple[tuple[float, float], ...] | None:
        from moodlens.steer.schedule import check_schedule

        if value is not None:
            check_schedule(value)
        return value

    @model_validator(mode="after")
    def _known(self) -> "SteerSettings":
        for field, known in (("methods", (*METHODS, "mixture")), ("controls", CONTROLS)):
            unknown = set(getattr(self, field)) - set(known)
            if unknown:
                raise ValueError(f"unknown {field}: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return self
