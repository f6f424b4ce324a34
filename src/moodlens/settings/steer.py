"""What a steering run makes."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from moodlens.core.errors import BadInput
from moodlens.settings.base import Frozen, apply_changes, read_yaml, validate
from moodlens.settings.judge import ResultSettings

NEUTRAL_PROMPTS = (
    "instrumental music",
    "a simple melody",
    "a piece for solo piano",
    "acoustic guitar with bass and drums",
    "a synthesizer track with a steady beat",
    "a string quartet",
    "a piece for flute and harp",
    "a track with electric guitar and drums",
    "music for a film scene",
    "a jazz trio with piano, bass and drums",
    "a marimba pattern",
    "a track with organ and percussion",
    "a folk tune on fiddle and banjo",
    "a brass band",
    "a piece for cello and piano",
    "electronic music with a bass line",
    "a hip hop beat",
    "a blues on harmonica and guitar",
    "an orchestra playing a theme",
    "a saxophone solo over a rhythm section",
    "a piece for harpsichord",
    "a loop of hand drums and bells",
    "a reggae rhythm with keyboards",
    "a choir without words",
)
"""Prompts that name no emotion: what a direction adds must come from the direction."""

METHODS = (
    "sae_family",
    "sae_feature",
    "difference_in_means",
    "linear_probe",
    "prompt_difference",
    "untrained_family",
)
CONTROLS = (
    "random",
    "matched_random_feature",
    "shuffled_difference_in_means",
    "pca",
    "neutral_difference",
    "layer_random",
)
OF_PROMPTS = ("prompt_difference", "neutral_difference")
"""Methods whose directions each generator makes of its own reading of the prompts, one for every prompt."""
LAYER_METHOD = "layer_difference_in_means"
"""Method in the decoder's residual stream: only where it is asked for, since its directions take clips to be made."""
LAYER_RANDOM = "layer_random"
"""Its control: random directions at the same layers, as long as the differences there."""
LAYER_METHODS = (LAYER_METHOD, LAYER_RANDOM)
EDITING = "prompt_editing"
"""Method of the clips whose prompt has the emotion written into it."""
NEUTRAL_EDITING = "neutral_editing"
"""Method of the clips whose prompt has a word without an emotion written into it: the control of prompt editing."""
UNSCALED = (EDITING, NEUTRAL_EDITING)
"""Methods without a coefficient, which are always at the matched one."""
JUDGEABLE = (*METHODS, EDITING, LAYER_METHOD)
"""Methods that a confirmatory table can name."""
NEUTRAL_WORDS = (
    "recorded",
    "audio",
    "excerpt",
    "version two",
    "untitled",
    "mono",
    "studio take",
    "part one",
    "sample",
    "session",
    "rehearsal",
    "demo",
)
"""Words that name no emotion, instrument or genre."""


class Mixture(Frozen):
    """Emotions steered together."""

    weights: dict[str, float] = Field(description="emotion -> weight; relative, negative pushes away")
    method: str = Field(default="sae_family", description="whose directions are mixed")
    orthogonal: bool = Field(default=True, description="make the emotions orthogonal to each other first")


class DirectionSettings(Frozen):
    """Which directions are built."""

    n_random: int = Field(
        default=60, ge=0, description="random unit vectors; what is claimed is claimed against them"
    )
    n_matched: int = Field(
        default=20, ge=0, description="SAE features that fire as often as the chosen ones but mean no emotion"
    )
    n_shuffled: int = Field(
        default=5, ge=0, description="differences in means under labels dealt anew among the groups"
    )
    n_components: int = Field(default=4, ge=0, description="leading principal components")
    untrained: bool = Field(
        default=True, description="also the families that the study's rule finds in an untrained dictionary"
    )
    features: dict[str, int] = Field(
        default_factory=dict,
        description="emotion -> SAE feature to steer with; absent: the first of its family",
    )
    mixtures: tuple[Mixture, ...] = Field(default=(), description="emotions steered together")
    seed: int = Field(
        default=0, ge=0, description="of the random directions, the draws of features and the shuffles"
    )


class LayerSettings(Frozen):
    """Steering in the decoder's residual stream, for layer_difference_in_means and layer_random."""

    layers: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None, min_length=1, description="decoder layers behind which is added, from 0 on; null: all"
    )
    decay: float = Field(
        default=1.0, ge=0, le=1, description="factor of the strength from one step to the next; 1 keeps it"
    )
    halves: Literal["conditional", "both"] = Field(
        default="conditional",
        description="halves of guidance that are steered; both: as published work does, which guidance then does not multiply",
    )
    texts: int = Field(
        default=16, ge=1, description="of the study for each emotion, whose clips are measured (count)"
    )
    seconds: float = Field(default=4.0, gt=0, le=30, description="length of those clips (s)")
    n_random: int = Field(
        default=20, ge=0, description="random directions at the same layers, for layer_random (count)"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="of those clips and of the random directions")


class SteerSettings(Frozen):
    """Prompts x methods x coefficients x seeds on one checkpoint."""

    model: str = Field(
        default="facebook/musicgen-small",
        description="generator: hub name or folder of a MusicGen, MusicGen-melody or Stable Audio, or KIND:NAME",
    )
    revision: str | None = Field(default=None, description="hub commit, tag or branch")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="what the model computes in"
    )
    device: str = Field(default="auto", description="auto (CUDA if there is one), cpu, cuda ...")
    batch: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        default="auto",
        description="clips made in one call: a number, or auto (what fits into memory); it changes the time alone",
    )
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
        default=(1.0,),
        description="in units of the mean difference-in-means norm; 0 is always made",
    )
    control_coefficients: tuple[float, ...] | None = Field(
        default=None,
        description="of the controls, same units; none: 1 if it is among the coefficients, else the largest of them",
    )
    prompt_editing: bool = Field(
        default=True, description="also clips of the prompt with the emotion written into it"
    )
    edit: str = Field(default="{prompt}, {emotion}", description="how an emotion is written into a prompt")
    neutral_words: tuple[str, ...] = Field(
        default=NEUTRAL_WORDS,
        description="words without an emotion, written into a prompt as emotions are: the control of prompt editing",
    )
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = Field(
        default=(0,),
        min_length=1,
        description="of the draws; one clip each. They are averaged: another prompt tells more than another seed",
    )
    seconds: float = Field(
        default=8.0,
        gt=0,
        le=600,
        description="length of a clip (s); above 30 MusicGen alone, in windows of 30",
    )
    guidance: float | None = Field(
        default=None,
        ge=1,
        description="classifier-free guidance scale; 1: none; null: the model's own (MusicGen 3, Stable Audio Open 7)",
    )
    steps: int | None = Field(
        default=None, ge=1, description="of denoising, where the model is of that kind; null: the model's own"
    )
    melody: str | None = Field(
        default=None, description="sound file whose melody every clip follows, for MusicGen-melody"
    )
    continue_from: str | None = Field(
        default=None,
        description="sound file whose end every clip goes on from, for MusicGen; a clip is what comes after it",
    )
    temperature: float = Field(default=1.0, gt=0, description="of the sampling softmax")
    top_k: int = Field(default=250, ge=0, description="tokens kept at each draw; 0: all")
    renorm: bool = Field(default=False, description="scale steered tokens back to the norm they had")
    null: Literal["zeros", "opposite"] = Field(
        default="zeros",
        description="null half of guidance: MusicGen's zeros, or the prompt steered the other way",
    )
    negative: str | None = Field(
        default=None,
        min_length=1,
        description="text that guidance leads away from, in every clip; null: none. Not with null: opposite",
    )
    schedule: tuple[tuple[float, float], ...] | None = Field(
        default=None, description="[seconds, factor] points that multiply every coefficient over time"
    )
    directions: DirectionSettings = DirectionSettings()
    layers: LayerSettings = LayerSettings()
    judge: ResultSettings = ResultSettings()

    @field_validator(
        "prompts",
        "emotions",
        "seeds",
        "coefficients",
        "control_coefficients",
        "methods",
        "controls",
        "neutral_words",
    )
    @classmethod
    def _distinct(cls, value: tuple | None) -> tuple | None:
        for entry in value or ():
            if (value or ()).count(entry) > 1:
                raise ValueError(f"{entry!r} is given twice")
        return value

    @field_validator("prompts", "neutral_words")
    @classmethod
    def _written(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if not all(text.strip() for text in value):
            raise ValueError("a prompt is blank" if info.field_name == "prompts" else "a word is blank")
        return value

    @field_validator("batch", mode="before")
    @classmethod
    def _batch(cls, value: Any) -> Any:
        if value != "auto" and not (str(value).isdecimal() and int(value) >= 1):
            raise ValueError("must be auto, or a number of clips from 1 on")
        return value

    @field_validator("edit")
    @classmethod
    def _edit(cls, value: str) -> str:
        if "{emotion}" not in value or "{prompt}" not in value:
            raise ValueError("must hold {emotion} and {prompt}")
        try:
            value.format(emotion="", prompt="")
        except (LookupError, ValueError, AttributeError) as error:
            raise ValueError("holds other braces than {emotion} and {prompt}; write them twice") from error
        return value

    @field_validator("schedule")
    @classmethod
    def _schedule(
        cls, value: tuple[tuple[float, float], ...] | None
    ) -> tuple[tuple[float, float], ...] | None:
        if value is not None:
            check_schedule(value)
        return value

    @property
    def at_controls(self) -> tuple[float, ...]:
        """Coefficients at which controls are made."""
        if self.control_coefficients is not None:
            return self.control_coefficients
        return (1.0,) if 1.0 in self.coefficients or not self.coefficients else (max(self.coefficients),)

    @property
    def shared_coefficients(self) -> tuple[float, ...]:
        """Positive ones at which all methods and controls are made; empty where there is none, or nothing is swept."""
        made = [self.coefficients] * bool(self.methods) + [self.at_controls] * bool(self.controls)
        return tuple(sorted(c for c in set.intersection(*map(set, made)) if c > 0)) if made else ()

    @model_validator(mode="after")
    def _known(self) -> "SteerSettings":
        if self.negative is not None and self.null != "zeros":
            raise ValueError("the null half holds the negative prompt or the opposite, not both")
        in_layers = {*self.methods, *self.controls} & set(LAYER_METHODS)
        if in_layers and (self.renorm or self.null != "zeros" or self.schedule is not None):
            raise ValueError(
                f"{min(in_layers)} moves no text, so it takes no renorm, no opposite null half and no schedule"
            )
        check_known("methods", self.methods, (*METHODS, "mixture", LAYER_METHOD))
        check_known("controls", self.controls, CONTROLS)
        check_known("judge.methods", self.judge.methods, JUDGEABLE)
        return self


def check_known(field: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Raise BadInput unless all ``names`` are known."""
    unknown = set(names) - set(known)
    if unknown:
        raise BadInput(f"unknown {field}: {', '.join(sorted(unknown))}; known: {', '.join(known)}")


def check_schedule(points: Sequence[tuple[float, float]]) -> None:
    """Raise BadInput unless ``points`` are (seconds, factor) pairs in order of time, from 0 or later."""
    if not points:
        raise BadInput("a schedule needs one [seconds, factor] pair or more")
    times = [time for time, _ in points]
    finite = all(math.isfinite(value) for point in points for value in point)
    if not finite or times != sorted(times) or times[0] < 0:
        raise BadInput(f"the times of a schedule must be finite, not negative and in order, not {times}")


def read_steer_settings(path: Path | str | None, changes: Sequence[str] = (), **given: Any) -> SteerSettings:
    """Settings from the ``steer:`` section of a study file or folder, ``given`` ones over them, ``changes`` last.

    Args:
        path: a YAML file, a folder with a study.yaml, or None for the defaults. Without a section: the defaults.
        changes: ``name=value``, such as ``guidance=4`` or ``directions.n_random=60``; ``steer.`` may stand in front.
        given: settings by name, such as ``model="facebook/musicgen-medium"``; None leaves them as they are.

    Raises:
        BadInput: the file is missing or not YAML, or a setting is unknown or out of range.
    """
    section: Any = {}
    where = "steer"
    if path is not None:
        path = Path(path)
        path = path / "study.yaml" if path.is_dir() else path
        where = f"{path}: steer"
        section = read_yaml(path).get("steer")
        if section is not None and not isinstance(section, dict):
            raise BadInput(f"{where}: expected settings such as `seconds: 8`")
    values = {**(section or {}), **{name: value for name, value in given.items() if value is not None}}
    changes = [change.removeprefix("steer.") for change in changes]
    return validate(SteerSettings, apply_changes(values, changes), where, changes)
