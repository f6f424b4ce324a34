"""Everything a study folder holds, read once; what is not there is None."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from moodlens.core import BadInput
from moodlens.report.files import json_file, table_file
from moodlens.report.readings import read_readings
from moodlens.settings.study import Settings, read_study
from moodlens.study.families import Families
from moodlens.study.records.sae import Sweep

if TYPE_CHECKING:
    import polars as pl

MAIN = "main"


@dataclass(frozen=True)
class Evidence:
    """The files of one study. Frames are polars; everything else is plain JSON."""

    folder: Path
    settings: Settings
    provenance: dict[str, Any]
    encoder: dict[str, Any]
    prompts: "pl.DataFrame | None" = None
    phase0: dict[str, Any] | None = None
    sae_config: dict[str, Any] | None = None
    reconstruction: dict[str, Any] | None = None
    histories: dict[str, list[dict[str, Any]]] | None = None
    sweep: "pl.DataFrame | None" = None
    features: "pl.DataFrame | None" = None
    selection: dict[str, Any] | None = None
    families: Families | None = None
    interventions: "pl.DataFrame | None" = None
    stability: "pl.DataFrame | None" = None
    agreement: dict[str, Any] | None = None
    transfer: dict[str, Any] | None = None
    verdict: dict[str, Any] | None = None
    pairs: dict[str, Any] | None = None
    readings: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Feature -> what a person read in it: ``name``, ``state`` (clear or unclear), ``note``, ``by``."""
    given_codes: np.ndarray | None = None
    """Activations of every prompt, where the caller had them."""

    @property
    def name(self) -> str:
        """The study's name."""
        return self.settings.name

    @property
    def is_control(self) -> bool:
        """Whether the labels were shuffled, so that anything found is a false claim."""
        return self.settings.control != "none"

    @property
    def sae_name(self) -> str:
        """The SAE the verdict is about."""
        return str((self.verdict or {}).get("sae") or MAIN)

    def criterion(self, name: str) -> dict[str, Any] | None:
        """One criterion of the verdict, or None."""
        return next((c for c in (self.verdict or {}).get("criteria", ()) if c["id"] == name), None)

    @property
    def emotions(self) -> tuple[str, ...]:
        """Names of the labels, in order."""
        return self.settings.emotions

    @property
    def named(self) -> "pl.DataFrame | None":
        """The table of features where they have names."""
        table = self.features
        known = table is not None and "name_score" in table.columns and table["name_score"].count()
        return table if known else None

    @property
    def judged_held_out(self) -> "pl.DataFrame | None":
        """Emotion features that were judged on held-out rows; None where no feature was."""
        table = self.features
        if table is None or not table["held_out_auroc"].count():
            return None
        return table.filter(table["emotion_feature"] & table["held_out_auroc"].is_not_null())

    @cached_property
    def labels(self) -> np.ndarray:
        """Index into ``emotions`` of every prompt, -1 where there is none, ``(n,)``."""
        assert self.prompts is not None
        index = {emotion: i for i, emotion in enumerate(self.emotions)}
        return np.array([index.get(emotion, -1) for emotion in self.prompts["emotion"]], dtype=np.int64)

    @cached_property
    def codes(self) -> np.ndarray | None:
        """Activations of every prompt, ``(n, d_sae)``; None where the SAE or the embeddings are not there.

        Raises:
            BadInput: the embeddings are not those of the prompts, or belong to another encoder than the SAE.
        """
        if self.given_codes is not None:
            return self.given_codes
        sae_folder, store_folder = self.folder / "sae" / self.sae_name, self.folder / "embeddings"
        if self.prompts is None or self.sae_config is None or not (store_folder / "manifest.json").is_file():
            return None
        from moodlens.embed import EmbeddingStore
        from moodlens.sae import encode_rows, load_sae

        store = EmbeddingStore.open(store_folder)
        if store.rows != self.prompts.height:
            raise BadInput(
                f"{store_folder}: {store.rows} rows for {self.prompts.height} prompts; embed them again"
            )
        return encode_rows(load_sae(sae_folder, encoder_id=self.encoder.get("encoder")), store.array())


def read_evidence(study_dir: Path | str, *, codes: np.ndarray | None = None) -> Evidence:
    """Read a study folder; ``codes`` are the activations of its prompts, where they are at hand.

    Raises:
        BadInput: it is not a study folder, or one of its files is damaged.
    """
    folder = Path(study_dir)
    path = folder / "study.yaml"
    if not path.is_file():
        raise BadInput(
            f"{folder}: not a study folder (no study.yaml); make one with: moodlens run --out {folder}"
        )
    settings = read_study(path)
    provenance = yaml.safe_load(path.read_text(encoding="utf-8")).get("provenance") or {}
    manifest = json_file(folder, "embeddings/manifest.json") or {}
    verdict = json_file(folder, "verdict.json")
    sae_name = str((verdict or {}).get("sae") or MAIN)
    return Evidence(
        folder=folder,
        settings=settings,
        provenance=provenance,
        encoder=manifest.get("info") or {"encoder": settings.encoder.id},
        prompts=table_file(folder, "prompts.parquet"),
        phase0=json_file(folder, "phase0.json"),
        sae_config=json_file(folder, f"sae/{sae_name}/cfg.json"),
        reconstruction=json_file(folder, "reconstruction.json"),
        histories=_histories(folder / "sae", sae_name) or None,
        sweep=_sweep(folder),
        features=table_file(folder, "features.parquet"),
        selection=json_file(folder, "selection.json"),
        families=Families.read(folder) if (folder / Families.file).is_file() else None,
        interventions=table_file(folder, "interventions.parquet"),
        stability=table_file(folder, "stability.parquet"),
        agreement=json_file(folder, "agreement.json"),
        transfer=json_file(folder, "transfer.json"),
        verdict=verdict,
        pairs=json_file(folder, "pairs.json"),
        readings=read_readings(folder / "notes.db", sae_name, _weights(folder, sae_name)),
        given_codes=codes,
    )


def _weights(folder: Path, sae: str) -> str | None:
    config = json_file(folder, f"sae/{sae}/cfg.json") or {}
    return (config.get("metadata") or {}).get("weights_sha256")


def _histories(folder: Path, first: str) -> dict[str, list[dict[str, Any]]]:
    """The chosen SAE's history, then those of the other seeds."""
    files = {path.parent.name: path for path in folder.glob("*/history.jsonl")}
    seeds = sorted((n for n in files if n.startswith("seed-")), key=lambda n: (len(n), n))
    names = [n for n in (first, *seeds) if n in files]
    if not names:
        return {}
    from moodlens.sae import read_history

    return {name: history for name in names if (history := read_history(files[name]))}


def _sweep(folder: Path) -> "pl.DataFrame | None":
    frame = table_file(folder, "sweep.parquet")
    if frame is None or not frame.height or not (folder / Sweep.file).is_file():
        return frame if frame is not None and frame.height else None
    import polars as pl

    return frame.with_columns(pl.lit(Sweep.read(folder).reason).alias("reason"))
