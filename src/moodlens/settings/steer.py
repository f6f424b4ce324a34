"""What a steering run makes."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from moodlens.core.errors import BadInput
from moodlens.settings.base import Frozen

NEUTRAL_PROMPTS = (
    "instrumental music",
    "a simple melody",
    "a piece for solo piano",
    "acoustic guitar with bass and drums",
    "a synthesizer track with a steady beat",
)
"""Prompts that name no emotion: what a direction adds must come from the direction."""

METHODS = ("sae_family", "sae_feature", "difference_in_means", "linear_probe", "prompt_difference")
CONTROLS = ("random", "matched_random_feature", "shuffled_difference_in_means", "pca")


class Mixture(Frozen):
    """Emotions steered together."""

    weights: dict[str, float] = Field(description="emotion -> weight; relative, negative pushes away")
    method: str = Field(default="sae_family", description="whose directions are mixed")
    orthogonal: bool = Field(default=True, description="make the emotions orthogonal to each other first")


class DirectionSettings(Frozen):
    """Which directions are built."""

    n_random: int = Field(
        default=20, ge=0, description="random unit vectors (the null distribution needs at least 20)"
    )
    n_matched: int = Field(
        default=20, ge=0, description="SAE features that fire as often as the chosen ones but mean no emotion"
    )
    n_shuffled: int = Field(
        default=5, ge=0, description="differences in means under labels dealt anew among the groups"
    )
    n_components: int = Field(default=4, ge=0, description="leading principal components")
    features: dict[str, int] = Field(
        default_factory=dict,
        description="emotion -> SAE feature to steer with; absent: the first of its family",
    )
    mixtures: tuple[Mixture, ...] = Field(default=(), description="emotions steered together")
    seed: int = Field(
        default=0, ge=0, description="of the random directions, the draws of features and the shuffles"
    )


class SteerSettings(Frozen):
    """Prompts x methods x coefficients x seeds on one checkpoint."""

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
    edit: str = Field(default="{prompt}, {emotion}", description="how an emotion is written into a prompt")
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
            try:
                check_schedule(value)
            except BadInput as error:
                raise ValueError(str(error).removeprefix("schedule: ")) from error
        return value

    @model_validator(mode="after")
    def _known(self) -> "SteerSettings":
        for field, known in (("methods", (*METHODS, "mixture")), ("controls", CONTROLS)):
            unknown = set(getattr(self, field)) - set(known)
            if unknown:
                raise ValueError(f"unknown {field}: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return self


def read_steer_settings(path: Path | str | None, **changes: Any) -> SteerSettings:
    """Settings from the ``steer:`` section of a study file or folder, with ``changes`` (those not None) over them.

    Args:
        path: a YAML file, a folder with a study.yaml, or None for the defaults. Without a section: the defaults.
        changes: settings by name, such as ``model="facebook/musicgen-medium"``.

    Raises:
        BadInput: the file is missing or not YAML, or a setting is unknown or out of range.
    """
    import yaml

    values: dict[str, Any] = {}
    where = "steer"
    if path is not None:
        path = Path(path)
        path = path / "study.yaml" if path.is_dir() else path
        where = str(path)
        try:
            loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise BadInput(f"{path}: cannot read: {error.strerror}") from error
        except (UnicodeDecodeError, yaml.YAMLError) as error:
            raise BadInput(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error
        section = loaded.get("steer") if isinstance(loaded, dict) else None
        if section is not None and not isinstance(section, dict):
            raise BadInput(f"{path}: steer: expected settings such as `seconds: 8`")
        values = dict(section or {})
    values |= {name: value for name, value in changes.items() if value is not None}
    try:
        return SteerSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(["steer", *map(str, first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"{where}: {place}: {message} (got {first['input']!r})") from error


def read_prompts(path: Path | str) -> tuple[str, ...]:
    """Prompts from a text file: one a line; blank lines and lines that start with ``#`` are left out.

    Raises:
        BadInput: the file is missing, not UTF-8, or holds no prompt.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInput(f"{path}: cannot read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text (byte {error.start})") from error
    prompts = tuple(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not prompts:
        raise BadInput(f"{path}: holds no prompt; write one a line")
    return prompts
