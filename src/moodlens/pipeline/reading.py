"""Features of a study laid out for a person, and what the person says of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from moodlens.core import BadInput, read_json, read_table
from moodlens.features.inspect import inspect_feature, top_features
from moodlens.pipeline.proof import load_families
from moodlens.pipeline.sae import MAIN
from moodlens.study.notes import Notes
from moodlens.study.study import Study


def inspect_features(
    folder: Study, features: Sequence[int], emotion: str | None, top: int, n: int
) -> list[dict[str, Any]]:
    """What :func:`moodlens.features.inspect.inspect_feature` finds on the test rows.

    Args:
        features: their numbers; empty: the ``top`` emotion features of ``emotion``, or of each.

    Raises:
        BadInput: the features stage has not run, or there is no such feature.
    """
    if not (folder.path / "features.parquet").is_file():
        raise BadInput(f"{folder.path}: no features.parquet yet; run: moodlens features {folder.path}")
    table = read_table(folder.path / "features.parquet")
    chosen = list(features) or top_features(table, emotion, top)
    if not chosen:
        raise BadInput(f"{folder.path}: it has no emotion feature; name one with --feature N")
    rows = folder.rows("test")
    codes = folder.codes(MAIN)[rows]
    strength = load_families(folder).scores(codes)
    said = notes(folder).latest(sae_key(folder))
    found = []
    for feature in chosen:
        lean = table["emotion"][feature] if 0 <= feature < table.height else None
        found.append(
            inspect_feature(
                feature,
                table,
                codes,
                [folder.texts[row] for row in rows],
                folder.labels[rows],
                folder.study.emotions,
                seed=folder.study.seed,
                n=n,
                decoder=np.asarray(folder.decoder(MAIN)),
                strength=None if lean is None else strength[:, folder.study.emotions.index(lean)],
                reading=said.get(feature),
            )
        )
    return found


def sae_key(folder: Study) -> str:
    """Name and weights of the study's SAE: a reading of another SAE's feature 7 is of another feature."""
    config = read_json(folder.path / "sae" / MAIN / "cfg.json")
    return f"{MAIN}@{config['metadata'].get('weights_sha256', '')[:12]}"


def notes(folder: Study) -> Notes:
    """The study's notes."""
    return Notes(folder.path / "notes.db")


def record_reading(folder: Study, feature: int, *, name: str, clarity: str, note: str, author: str) -> None:
    """Keep a person's reading of a feature in notes.db; the next report is made anew and shows it."""
    notes(folder).add(feature, sae=sae_key(folder), name=name, clarity=clarity, note=note, author=author)
    folder.forget(["report"])
