"""What a report is about: a study, the settings it was run with, and what of it can be read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from moodlens.embed.manifest import EncoderInfo
from moodlens.settings.base import read_yaml
from moodlens.settings.study import Settings
from moodlens.study.notes import Reading
from moodlens.study.record import Record, TableSchema
from moodlens.study.study import MAIN, Study


@dataclass(frozen=True)
class Need:
    """Something of a study that is neither a record nor a table."""

    file: str
    """Without it there is nothing to read."""
    stage: str
    """The verb that makes it."""
    read: Callable[[Study], Any]
    living: bool = False
    """It lies in the study's own folder and is no part of a run."""


Needed = Need | type[Record] | TableSchema


@dataclass(frozen=True)
class Subject:
    """The study that a report is about."""

    study: Study
    settings: Settings

    @property
    def path(self) -> Path:
        """Where its files are."""
        return self.study.path

    @property
    def emotions(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return self.settings.emotions

    @property
    def is_control(self) -> bool:
        """Whether there is nothing to find, so that anything found is a false claim."""
        return self.settings.control != "none"

    @cached_property
    def encoder(self) -> EncoderInfo:
        """What made the embeddings."""
        embedded = (self.path / "embeddings" / "manifest.json").is_file()
        return self.study.encoder_info if embedded else EncoderInfo(encoder=self.settings.encoder.id)

    @cached_property
    def provenance(self) -> Mapping[str, object]:
        """The versions that the study was run with."""
        path = self.path / "study.yaml"
        told = read_yaml(path).get("provenance") if path.is_file() else None
        return told if isinstance(told, dict) else {}

    @cached_property
    def readings(self) -> dict[int, Reading]:
        """Feature -> what a person read in it last, in the SAE that the study has now."""
        trained = (self.path / "sae" / MAIN / "cfg.json").is_file()
        return self.study.notes.latest(self.study.sae_key) if trained else {}

    def get(self, need: Needed) -> Any:
        """What is needed, None where it was not measured; tables have nulls for NaN.

        Raises:
            BadInput: a file is damaged; the line names the verb that makes it anew.
        """
        living = isinstance(need, Need) and need.living
        if not ((self.study.home if living else self.path) / need.file).is_file():
            return None
        if isinstance(need, Need):
            with self.study.made_by(need.stage):
                return need.read(self.study)
        if isinstance(need, TableSchema):
            return self.study.table(need).fill_nan(None)
        return self.study.read(need)


def command(need: Needed) -> str:
    """What measures something."""
    return f"moodlens {need.stage} DIR"


ROWS = Need("prompts.parquet", "prompts", lambda study: study.rows)
SAE_MAIN = Need(f"sae/{MAIN}/cfg.json", "train", lambda study: study.sae())
CODES = Need(f"sae/{MAIN}/sae_weights.safetensors", "train", lambda study: study.codes())
