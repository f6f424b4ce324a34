"""A tiny study in the space of a tiny MusicGen's own text encoder: in memory, and as the pipeline writes it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from moodlens.embed.manifest import EncoderInfo
from moodlens.embed.store import EmbeddingStore
from moodlens.pipeline.opened import expected_keys
from moodlens.pipeline.stages import STAGES
from moodlens.sae.files import save_sae
from moodlens.sae.model import SAE
from moodlens.settings.base import to_yaml
from moodlens.settings.study import read_study
from moodlens.steer.build import Dictionary, build_directions
from moodlens.steer.directions import Directions
from moodlens.study.families import Families, Family
from moodlens.study.records.prompts import PROMPTS, Prompts
from moodlens.study.records.selection import SELECTION
from moodlens.study.rows import NEUTRAL, Rows
from moodlens.study.state import StageRecord, stamp_files, write_state

ENCODER = "musicgen:tiny"
EMOTIONS = ("happy", "sad", "calm", "energetic")
CUES = {
    "happy": ("happy", "joyful", "bright"),
    "sad": ("sad", "gloomy", "dark"),
    "calm": ("calm", "peaceful", "gentle"),
    "energetic": ("energetic", "driving", "loud"),
}
SOUNDS = ("piano melody", "guitar ballad", "techno beat", "jazz tune", "rock song", "ambient synth")


@dataclass(frozen=True)
class TinyStudy:
    """What directions are made from."""

    rows: Rows
    x: np.ndarray
    dictionary: Dictionary | None

    def directions(self, settings=None) -> Directions:
        return build_directions(
            self.rows,
            self.x,
            encoder=ENCODER,
            revision="random",
            dictionary=self.dictionary,
            settings=settings,
        )


def tiny_study(musicgen, *, d_sae: int = 64, families: bool = True) -> TinyStudy:
    """Prompts of four emotions and none, embedded by ``musicgen``; an SAE of random unit decoder rows."""
    texts, labels, groups = [], [], []
    for c, emotion in enumerate(EMOTIONS):
        for cue in CUES[emotion]:
            for sound in SOUNDS:
                texts.append(f"a {cue} {sound}")
                labels.append(c)
                groups.append(len(set(groups)) if cue not in " ".join(texts[:-1]) else groups[-1])
    for sound in SOUNDS:
        texts.append(f"a simple {sound}")
        labels.append(NEUTRAL)
        groups.append(max(groups) + 1)
    x = musicgen.pooled(texts)
    generator = torch.Generator().manual_seed(5)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, x.shape[1], generator=generator), dim=1)
    sae = SAE(
        W_dec.T.clone(), W_dec, torch.full((d_sae,), -0.2), torch.as_tensor(x.mean(axis=0)), activation="relu"
    )
    made = tuple(
        Family(emotion=emotion, features=(3 * c, 3 * c + 1), weights=(0.6, 0.4))
        for c, emotion in enumerate(EMOTIONS)
    )
    split = np.where(np.array(groups) % 3 == 2, "test", "train")
    rows = Rows.of(labels, emotions=EMOTIONS, group=groups, split=split, texts=texts)
    found = Dictionary(sae, Families(families=made) if families else None, (0, 1, 50) if families else ())
    return TinyStudy(rows, x, found)


def write_study(study: TinyStudy, folder: Path, steer: dict) -> Path:
    """The study as the pipeline leaves it after ``features``, with a ``steer:`` section in its settings."""
    rows = study.rows
    n = len(rows)
    columns = {
        "id": [str(i) for i in range(n)],
        "text": rows.texts.tolist(),
        "emotion": [EMOTIONS[c] if c >= 0 else None for c in rows.label],
        "kind": rows.kind.tolist(),
        "split": rows.split.tolist(),
        "group": [f"g{g:03d}" for g in rows.group],
        "source": ["grammar"] * n,
    }
    empty = {name: [None] * n for name in PROMPTS.columns if name not in columns}
    schema = {name: getattr(pl, column.dtype) for name, column in PROMPTS.columns.items()}
    PROMPTS.write(folder, pl.DataFrame({name: (columns | empty)[name] for name in schema}, schema=schema))
    n_groups = len(np.unique(rows.group))
    facts = {"emotions": EMOTIONS, "seed": 0, "control": "none", "n": n, "n_groups": n_groups}
    Prompts(**facts, tables=(), remarks=()).write(folder)
    store = EmbeddingStore.create(
        folder / "embeddings", EncoderInfo(encoder=ENCODER, revision="random"), "float32"
    )
    store.append(study.x)
    found = study.dictionary
    save_sae(found.sae, folder / "sae" / "main", {"encoder_id": ENCODER})
    found.families.write(folder)
    flags = [f in found.emotion_features for f in range(found.sae.d_sae)]
    table = {
        name: pl.Series(name, [None] * len(flags), dtype=getattr(pl, column.dtype))
        for name, column in SELECTION.columns.items()
        if "*" not in name
    }
    table |= {"feature": pl.Series(range(len(flags)), dtype=pl.Int64), "emotion_feature": flags}
    SELECTION.write(folder, pl.DataFrame(table))
    settings = {"emotions": list(EMOTIONS), "encoder": {"id": ENCODER}, "steer": steer}
    (folder / "study.yaml").write_text(to_yaml(settings), encoding="utf-8")
    mark_finished(folder)
    return folder


def mark_finished(folder: Path) -> None:
    """Records of the stages up to ``features``, for the settings in study.yaml and the files that are there."""
    files = {
        "prompts": ["prompts.parquet", "prompts.json"],
        "embed": [str(p.relative_to(folder)) for p in (folder / "embeddings").rglob("*") if p.is_file()],
        "train": [str(p.relative_to(folder)) for p in (folder / "sae").rglob("*") if p.is_file()],
        "features": ["families.json", "selection.parquet"],
    }
    keys = expected_keys(read_study(folder / "study.yaml"), folder)
    for stage in STAGES[: [each.name for each in STAGES].index("features") + 1]:
        record = StageRecord(
            key=keys[stage.name],
            needs={name: keys[name] for name in stage.needs},
            files=stamp_files(folder, files.get(stage.name, [])),
            inputs={},
            seconds=1,
            began=0,
        )
        write_state(folder, stage.name, record)
