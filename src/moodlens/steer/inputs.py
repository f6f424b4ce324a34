"""What steering reads from a study folder: files alone, as every stage does."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, read_table

if TYPE_CHECKING:
    from moodlens.sae import SAE
    from moodlens.study.families import Families


@dataclass(frozen=True)
class StudyInputs:
    """The arrays of one study; row i of each belongs to prompt i.

    Attributes:
        x: ``(n, d_in)`` raw embeddings.
        labels: ``(n,)`` index into ``emotions``, -1 for none.
        groups: ``(n,)`` codes.
        splits: ``(n,)`` train, val, test or held_out.
        kinds: ``(n,)`` plain, neutral, negation or mixed.
        texts: the prompts.
        emotions: names in label order.
        encoder: id of the encoder.
        revision: of the encoder, if known.
        sae: None where the study has none yet.
        families: None where the study has none yet.
        emotion_features: every feature that was found to mean an emotion, in a family or not.
    """

    x: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    splits: np.ndarray
    kinds: np.ndarray
    texts: list[str]
    emotions: tuple[str, ...]
    encoder: str
    revision: str | None
    sae: "SAE | None" = None
    families: "Families | None" = None
    emotion_features: tuple[int, ...] = ()

    @property
    def development(self) -> np.ndarray:
        """Row numbers of train and val, without negations and mixtures: all that directions may be made from."""
        usable = np.isin(self.kinds, ("plain", "neutral"))
        return np.flatnonzero(np.isin(self.splits, ("train", "val")) & usable)


def read_study_inputs(folder: Path | str, *, sae: str = "main") -> StudyInputs:
    """Read prompts, embeddings, SAE and families of a study folder.

    Raises:
        BadInput: prompts or embeddings are missing or do not fit together.
    """
    from moodlens.embed import EmbeddingStore

    folder = Path(folder)
    prompts = read_table(folder / "prompts.parquet")
    store = EmbeddingStore.open(folder / "embeddings")
    if store.rows != prompts.height:
        raise BadInput(
            f"{folder / 'embeddings'}: {store.rows} rows for {prompts.height} prompts: embed them again"
        )
    encoder = store.info.get("encoder", store.info.get("id"))
    if not encoder:
        raise BadInput(f"{folder / 'embeddings' / 'manifest.json'}: does not name its encoder")
    families = None
    if (folder / "families.json").is_file():
        from moodlens.study.families import Families

        families = Families.read(folder)
        emotions = families.emotions
    else:
        emotions = _emotions_of(folder)
    index = {emotion: i for i, emotion in enumerate(emotions)}
    model = None
    if (folder / "sae" / sae / "cfg.json").is_file():
        from moodlens.sae import load_sae

        model = load_sae(folder / "sae" / sae, encoder_id=encoder)
    return StudyInputs(
        x=store.array(),
        labels=np.array([index.get(emotion, -1) for emotion in prompts["emotion"]], dtype=np.int64),
        groups=np.unique(prompts["group"].to_numpy(), return_inverse=True)[1],
        splits=prompts["split"].to_numpy().astype(str),
        kinds=prompts["kind"].to_numpy().astype(str),
        texts=prompts["text"].to_list(),
        emotions=emotions,
        encoder=str(encoder),
        revision=store.info.get("revision"),
        sae=model,
        families=families,
        emotion_features=_emotion_features(folder),
    )


def _emotion_features(folder: Path) -> tuple[int, ...]:
    if not (folder / "features.parquet").is_file():
        return ()
    table = read_table(folder / "features.parquet")
    return tuple(table.filter(table["emotion_feature"])["feature"].to_list())


def _emotions_of(folder: Path) -> tuple[str, ...]:
    import yaml

    path = folder / "study.yaml"
    if not path.is_file():
        raise BadInput(f"{folder}: not a study folder (neither families.json nor study.yaml)")
    emotions = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("emotions")
    if not emotions:
        raise BadInput(f"{path}: does not list its emotions")
    return tuple(emotions)
