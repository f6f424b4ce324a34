"""Any texts under a study's features: activations, family scores and, with labels, AUROC beside the dense baselines."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from moodlens.core import BadInput, Progress, atomic_write, file_sha256, read_table, silent, write_table
from moodlens.pipeline.proof import baselines, load_families
from moodlens.pipeline.sae import MAIN
from moodlens.settings.study import Table, expand_path
from moodlens.study.study import Study

if TYPE_CHECKING:
    from moodlens.embed import Encoder


@dataclass(frozen=True)
class Scored:
    """What :func:`score_table` found."""

    result: dict[str, Any]
    """``name, n, n_texts, n_groups, reading`` and, where there are labels, ``auroc``."""
    table: pl.DataFrame
    """One row per text: id, text, emotion, ``family_EMOTION`` and the activation ``feature_N`` of every emotion feature.

    Families are read from pre-activations (:mod:`moodlens.validate.transfer`), so that their scores may be negative.
    """


def table_hashes(tables: Iterable[Table]) -> list[str]:
    """Hashes of the files of ``tables``, so that a changed file is noticed."""
    paths = [expand_path(table.path) for table in tables]
    return [file_sha256(path) for path in paths if path.is_file()]


def score_table(folder: Study, table: Table, *, progress: Progress = silent) -> Scored:
    """Read texts segment by segment with the study's encoder, SAE and families; the largest segment counts.

    Raises:
        BadInput: the file or a column cannot be used, the features are not there yet, the study has no encoder
            (precomputed embeddings), or the labels are not the study's.
    """
    from moodlens.prompts import read_prompts

    frame, report = read_prompts(
        table.model_copy(update={"split_column": None}), emotions=folder.study.emotions
    )
    grouped = table.group_column is not None or report.n_duplicates > 0
    return score_frame(folder, frame, report.file, grouped=grouped, progress=progress)


def score_frame(
    folder: Study, frame: pl.DataFrame, name: str, *, grouped: bool, progress: Progress = silent
) -> Scored:
    """As :func:`score_table`, for texts that are read already (columns id, text, emotion, group)."""
    from moodlens.embed import encode_segments
    from moodlens.sae import encode_rows, pre_activation_rows
    from moodlens.validate.transfer import max_over_segments, transfer_set

    if not (folder.path / "families.json").is_file():
        raise BadInput(f"{folder.path}: no families.json yet; run: moodlens features {folder.path}")
    study = folder.study
    index = {emotion: i for i, emotion in enumerate(study.emotions)}
    unknown = set(frame["emotion"].drop_nulls().unique()) - set(index)
    if unknown:
        raise BadInput(
            f"{name}: labels {', '.join(sorted(unknown))} are not the study's: {', '.join(study.emotions)}"
        )
    labels = np.array([index.get(emotion, -1) for emotion in frame["emotion"]], dtype=np.int64)
    x, owner = encode_segments(study_encoder(folder), frame["text"].to_list(), progress=progress)
    sae = folder.sae(MAIN)
    # Of what is not read nothing is kept: long texts have many segments, and each a row of every feature.
    members, families = load_families(folder).apart()
    codes, pre = encode_rows(sae, x), pre_activation_rows(sae, x, features=members)
    features = read_table(folder.path / "features.parquet")
    found = features.filter(pl.col("emotion_feature"))["feature"].to_numpy()

    per_text = {"family": max_over_segments(families.scores(pre), owner, frame.height)}
    per_text["feature"] = max_over_segments(codes[:, found], owner, frame.height)
    scores = frame.select("id", "text", "emotion").with_columns(
        *(pl.Series(f"family_{e}", per_text["family"][:, c]) for c, e in enumerate(study.emotions)),
        *(pl.Series(f"feature_{f}", per_text["feature"][:, i]) for i, f in enumerate(found)),
    )
    if len(np.unique(labels[labels >= 0])) < 2:
        reading = "as one" if len(x) == frame.height else "per segment, max"
        return Scored({"name": name, "n": frame.height, "n_texts": frame.height, "reading": reading}, scores)
    result = transfer_set(
        name,
        pre,
        codes[:, members],
        x,
        owner,
        labels,
        np.unique(frame["group"].to_numpy(), return_inverse=True)[1] if grouped else None,
        families,
        baselines(folder),
        study.validation.transfer,
        seed=study.seed,
    )
    known = frame.filter(pl.Series(labels >= 0))["text"].to_list()
    return Scored(result | {"n_seen": count_seen(known, folder.prompts)}, scores)


def count_seen(texts: list[str], prompts: pl.DataFrame) -> int:
    """How many texts the study trained on: as a whole or by a sentence, they are among its train + val prompts.

    Labels played no part for them unless the study's own table has them; their words did.
    """
    from moodlens.embed.segments import segments

    rows = prompts.filter(pl.col("split").is_in(["train", "val"]))
    trained = {" ".join(text.split()) for text in rows["text"]}
    return sum(not trained.isdisjoint([" ".join(text.split()), *segments(text)]) for text in texts)


def study_encoder(folder: Study) -> "Encoder":
    """The encoder of the study, checked against what made its embeddings.

    Raises:
        BadInput: the embeddings were made elsewhere, or by another version of the encoder.
    """
    from moodlens.embed import get_encoder

    study, info = folder.study, folder.encoder_info
    if study.encoder.id == "precomputed":
        raise BadInput(
            f"{folder.path}: its embeddings were made elsewhere, so new texts cannot be embedded; "
            "set encoder.id to the encoder that made them, such as t5:google-t5/t5-base"
        )
    encoder = get_encoder(study.encoder.id, dtype=study.encoder.dtype)
    mine = encoder.info()
    for key in ("encoder", "revision", "pooling", "d_in"):
        if info.get(key) != mine.get(key):
            raise BadInput(
                f"{folder.path / 'embeddings'}: made with {key} {info.get(key)!r}, "
                f"but {study.encoder.id} now has {mine.get(key)!r}"
            )
    return encoder


def check_frame_path(path: Path) -> None:
    """Raise BadInput unless a table can be written to ``path``: before the work, not after it."""
    if path.suffix not in (".csv", ".parquet"):
        raise BadInput(f"{path}: tables are written as .csv or .parquet")
    if path.is_dir():
        raise BadInput(f"{path}: is a folder; name a file")


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a table as .csv or .parquet, by the name's ending.

    Raises:
        BadInput: another ending, or the file cannot be written.
    """
    check_frame_path(path)
    if path.suffix == ".parquet":
        write_table(path, frame)
    else:
        with atomic_write(path) as tmp:
            frame.write_csv(tmp)
