"""What a study is: one frozen settings object, read from YAML, changed by ``--set a.b=c``."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from moodlens.core.errors import BadInput
from moodlens.settings.base import Frozen, apply_changes, read_yaml, validate
from moodlens.settings.encoder import EncoderSettings
from moodlens.settings.engine import EngineSettings
from moodlens.settings.features import FeatureSettings
from moodlens.settings.imported import ImportSettings
from moodlens.settings.labels import check_labels
from moodlens.settings.names import NamerSettings, NameSettings
from moodlens.settings.sae import CoreSettings, SAESettings, grid
from moodlens.settings.steer import SteerSettings
from moodlens.settings.validation import ValidationSettings
from moodlens.settings.verdict import VerdictSettings


class Table(Frozen):
    """A user's own texts: delimited text, JSON or Parquet."""

    path: str = Field(
        description="file; `${NAME:-default}` is read from the environment; or hf://datasets/USER/NAME[@REVISION]/FILE",
        json_schema_extra={"in_key": False},  # what it holds decides, not where it lies
    )
    text_column: str = Field(description="column that holds the text")
    emotion_column: str | None = Field(
        default=None, description="column with the label; none: the texts are unlabelled"
    )
    concept_column: str | None = Field(
        default=None,
        description="column with what the emotion is about (e.g. grief); none, or an empty cell: not known",
    )
    group_column: str | None = Field(
        default=None, description="column that must not straddle a split (e.g. the annotator)"
    )
    split_column: str | None = Field(
        default=None,
        description="column with train, val, test or held_out, or another usual name of these; empty cells are dealt",
    )
    id_column: str | None = Field(default=None, description="column with a unique id")
    valence_column: str | None = Field(
        default=None,
        description="column with how pleasant the text is, a number in any range; an empty cell: not rated. `valence` also "
        "finds the names that published norms use",
    )
    arousal_column: str | None = Field(
        default=None, description="column with how exciting the text is; likewise, `arousal`"
    )
    segments: bool = Field(
        default=False,
        description="one row for each sentence of a text, in one group (unlabelled texts in prompts.tables only; "
        "transfer tables are always read sentence by sentence)",
    )

    @model_validator(mode="after")
    def _unlabelled_segments(self) -> "Table":
        # A caption that is sad as a whole has sentences that are not; its label would be wrong on them.
        if self.segments and self.emotion_column is not None:
            raise ValueError("segments: true is for unlabelled texts; leave out emotion_column or segments")
        if self.segments and self.rated:
            raise ValueError(
                "segments: true is for texts without ratings; leave out their columns or segments"
            )
        return self

    @property
    def rated(self) -> bool:
        """Whether a column of ratings is named."""
        return self.valence_column is not None or self.arousal_column is not None


class PromptSettings(Frozen):
    """Which texts the study is about."""

    generate: int = Field(default=20_000, ge=0, le=100_000, description="prompts made by the grammar (rows)")
    neutral_share: float = Field(
        default=0.12, ge=0, lt=1, description="share of generated prompts without an emotion"
    )
    twin_share: float = Field(
        default=0.05, ge=0, le=1, description="share of emotion prompts that get a neutral twin"
    )
    held_out_share: float = Field(
        default=0.08,
        ge=0,
        lt=1,
        description="share of generated prompts made of held-out words, scenes and templates",
    )
    scene_share: float = Field(
        default=0.12,
        ge=0,
        le=1,
        description="share of emotion prompts that paint a scene, a metaphor or a situation",
    )
    caption_share: float = Field(
        default=0.05, ge=0, le=1, description="share of captions of several sentences"
    )
    special_share: float = Field(
        default=0.04, ge=0, le=0.5, description="share of negations and mixed emotions, kept for tests"
    )
    tables: tuple[Table, ...] = Field(
        default=(), description="the user's own texts, mixed with the generated ones"
    )
    precomputed: str | None = Field(
        default=None,
        description="folder with embeddings.npy and labels.npy, instead of texts",
        json_schema_extra={"in_key": False},
    )
    fractions: tuple[float, float, float] = Field(
        default=(0.58, 0.04, 0.38), description="train, val, test shares of the groups"
    )

    @field_validator("fractions")
    @classmethod
    def _sum_to_one(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) <= 0 or abs(sum(value) - 1) > 1e-6:
            raise ValueError("train, val and test shares must be positive and add up to 1")
        return value

    @model_validator(mode="after")
    def _some_source(self) -> "PromptSettings":
        if self.precomputed is not None and self.tables:
            raise ValueError("precomputed embeddings and tables of texts cannot be mixed")
        if self.precomputed is None and not self.tables and self.generate == 0:
            raise ValueError("nothing to study: set generate, tables or precomputed")
        return self


QUICKSTART_SAE = SAESettings(expansion_factor=10, learning_rate=1.5e-3, epochs=12)
"""Measured on generated prompts with the bundled encoder (docs/choosing.md)."""


Tracker = Literal["none", "tensorboard", "wandb", "trackio"]


class Settings(Frozen):
    """Everything that decides the result of a study. The defaults are the quickstart."""

    name: str = Field(default="quickstart", description="shown in the report")
    seed: int = Field(default=0, ge=0, description="the one seed from which every other is derived")
    control: Literal["none", "shuffle-labels", "untrained-rows", "untrained-random"] = Field(
        default="none",
        description="a study that must find nothing: emotions dealt anew (shuffle-labels), or dictionaries that learned "
        "nothing, of differences of training rows (untrained-rows) or random directions (untrained-random)",
    )
    emotions: tuple[str, ...] = Field(
        default=("happy", "sad", "calm", "energetic"),
        description="the labels, in order; none ([]) for a study of ratings alone",
    )
    prompts: PromptSettings = PromptSettings()
    encoder: EncoderSettings = EncoderSettings()
    core: CoreSettings = Field(
        default=CoreSettings(),
        description="the features that may be claimed, and are fixed before the rest is trained",
    )
    sae: SAESettings = Field(
        default=QUICKSTART_SAE,
        description="of the rest that rebuilds what the core leaves, or of the only SAE where there is no core; "
        "a file with its own sae section starts from SAESettings, the roadmap's defaults",
    )
    imported: ImportSettings | None = Field(
        default=None,
        description="an SAE that others trained, judged in place of the study's own; there is then no core, and nothing is trained",
    )
    sweep: dict[str, list[Any]] = Field(
        default_factory=dict, description="SAE setting -> values to try; empty: no sweep"
    )
    seeds: int = Field(
        default=2,
        ge=1,
        le=64,
        description="other pipelines on the same rows, under seeds of their own: their cores, or, without a core, their SAEs (count)",
    )
    features: FeatureSettings = FeatureSettings()
    names: NameSettings = NameSettings()
    namer: NamerSettings | None = Field(
        default=None, description="a language model that names features instead; scored by the same detection"
    )
    validation: ValidationSettings = ValidationSettings()
    verdict: VerdictSettings = Field(
        default=VerdictSettings(), description="thresholds of the go / no-go criteria"
    )
    transfer: tuple[Table, ...] = Field(
        default=(), description="labelled texts the features are judged on and never chosen from"
    )

    engine: EngineSettings = Field(
        default=EngineSettings(),
        description="who does the work; of no influence on the result",
        json_schema_extra={"in_key": False},
    )
    steer: SteerSettings | None = Field(
        default=None, description="what `moodlens steer` makes of it; none: its defaults"
    )
    track: Tracker = Field(
        default="none",
        description="program that is shown what a run found, besides the files of the study",
        json_schema_extra={"in_key": False},  # it is told of results and makes none
    )

    @field_validator("emotions")
    @classmethod
    def _labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if (value and not 2 <= len(value) <= 50) or len(set(value)) != len(value):
            raise ValueError("give 2 to 50 different labels, or none ([]) for a study of ratings alone")
        check_labels(value)
        return value

    @model_validator(mode="after")
    def _something_to_look_for(self) -> "Settings":
        tables = self.prompts.tables
        rated = any(table.rated for table in tables)
        labels = self.prompts.generate or self.prompts.precomputed is not None
        labels = labels or any(table.emotion_column is not None for table in tables)
        if any(table.rated for table in self.transfer):
            raise ValueError("transfer tables are judged by their labels; name ratings in prompts.tables")
        if self.emotions:
            if rated and not labels:
                raise ValueError("no text has a label; set emotions: [] to study the ratings alone")
        elif not rated:
            raise ValueError(
                "emotions: [] leaves nothing to look for; name a valence_column or arousal_column in prompts.tables"
            )
        elif labels:
            raise ValueError(
                "emotions: [] is for ratings alone; set prompts.generate to 0 and leave out emotion_column"
            )
        elif self.transfer:
            raise ValueError("emotions: [] leaves no label to judge transfer tables by; leave them out")
        return self

    @model_validator(mode="after")
    def _imported_alone(self) -> "Settings":
        if self.imported is not None and (self.sweep or self.control.startswith("untrained")):
            raise ValueError(
                "an imported SAE is not trained: leave out sweep, and control but for shuffle-labels"
            )
        return self

    @field_validator("sweep")
    @classmethod
    def _axes(cls, value: dict[str, list[Any]], info: ValidationInfo) -> dict[str, list[Any]]:
        if "sae" in info.data:  # else its own message comes first
            try:
                grid(info.data["sae"], value)
            except BadInput as error:
                raise ValueError(str(error).removeprefix("sweep: ")) from error
        return value


def read_study(path: Path | str | None, changes: Sequence[str] = ()) -> Settings:
    """Read a study file (none: the quickstart) and apply ``a.b=c`` changes; values are YAML.

    Raises:
        BadInput: the file is missing or not YAML, or a setting is wrong.
    """
    if path is None:
        # Changes to the quickstart change its SAE, and leave the rest of it as it is.
        values = {"sae": QUICKSTART_SAE.model_dump(exclude_unset=True)}
    else:
        values = read_yaml(path)
        values.pop("provenance", None)  # what a finished study adds to its own study.yaml
        if isinstance(values.get("engine"), str):
            values["engine"] = {"kind": values["engine"]}
    changes = [re.sub(r"^\s*engine\s*=\s*(?=\w)", "engine.kind=", change) for change in changes]
    return validate(Settings, apply_changes(values, changes), str(path or "study"), changes)


def expand_path(text: str) -> Path:
    """Replace ``${NAME}`` and ``${NAME:-default}`` by the environment and ``~`` by the home folder.

    Raises:
        BadInput: a variable without a default is not set.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        expansion = os.environ.get(name) or default
        if expansion is None:
            raise BadInput(f"{text}: the environment variable {name} is not set")
        return expansion

    path = re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}", value, text)
    # A name such as ~$captions.csv is a name.
    return Path(path).expanduser() if path == "~" or path.startswith("~/") else Path(path)


def is_hub_table(text: str) -> bool:
    """Whether a table's path is an address of the hub; a command line makes one slash of two."""
    return text.startswith(("hf://", "hf:/datasets/"))


def with_absolute_paths(settings: Settings) -> Settings:
    """The settings with every path absolute and every variable in it filled in.

    A study folder may then be used from anywhere, and one file typed in two ways is one.

    Raises:
        BadInput: a variable without a default is not set.
    """

    def absolute(text: str) -> str:
        return text if is_hub_table(text) else str(expand_path(text).absolute())

    def moved(tables: tuple[Table, ...]) -> tuple[Table, ...]:
        return tuple(table.model_copy(update={"path": absolute(table.path)}) for table in tables)

    prompts = settings.prompts.model_copy(
        update={
            "tables": moved(settings.prompts.tables),
            "precomputed": settings.prompts.precomputed and absolute(settings.prompts.precomputed),
        }
    )
    imported = settings.imported and settings.imported.model_copy(
        update={
            "path": absolute(settings.imported.path),
            "others": tuple(absolute(other) for other in settings.imported.others),
        }
    )
    kind, colon, place = settings.encoder.id.partition(":")
    encoder = settings.encoder
    if colon and place and kind != "api" and Path(place).expanduser().is_dir():
        encoder = encoder.model_copy(update={"id": f"{kind}:{os.path.realpath(os.path.expanduser(place))}"})
    return settings.model_copy(
        update={
            "prompts": prompts,
            "transfer": moved(settings.transfer),
            "encoder": encoder,
            "imported": imported,
        }
    )
