"""The first stages: prompts, embeddings, phase 0."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moodlens.core import BadInput, Progress, digest, file_sha256, write_json, write_table
from moodlens.settings.study import Settings, expand_path
from moodlens.study.study import Study

PRECOMPUTED_FILES = ("embeddings.npy", "labels.npy", "metadata.json", "prompts.jsonl")


def input_hashes(study: Settings) -> list[str]:
    """The hashes of the outside files a study reads, so that a changed file is noticed."""
    if study.prompts.precomputed is not None:
        folder = expand_path(study.prompts.precomputed)
        return [file_sha256(folder / name) for name in PRECOMPUTED_FILES if (folder / name).is_file()]
    paths = [expand_path(table.path) for table in study.prompts.tables]
    return [file_sha256(path) for path in paths if path.is_file()]


def make_prompts(folder: Study, progress: Progress) -> Iterable[str]:
    """Generated prompts and the user's tables, split by group -> prompts.parquet."""
    from moodlens.prompts import assign_splits

    study = folder.study
    if study.prompts.precomputed is not None:
        frame = _precomputed_prompts(study)
    else:
        frame = _texts(study)
    frame = assign_splits(frame, fractions=study.prompts.fractions, seed=study.seed)
    if study.control == "shuffle-labels":
        frame = shuffle_labels(frame, seed=study.seed)
    write_table(folder.path / "prompts.parquet", frame)
    progress("prompts", frame.height, frame.height)
    return ["prompts.parquet"]


def _texts(study: Settings) -> pl.DataFrame:
    from moodlens.prompts import EMOTIONS, generate, read_tables

    settings = study.prompts
    generated = None
    if settings.generate:
        if not set(study.emotions) <= set(EMOTIONS):
            raise BadInput(
                f"study: the grammar knows {', '.join(EMOTIONS)}; for other emotions set prompts.generate to 0 "
                "and give your own texts in prompts.tables"
            )
        generated = generate(
            settings.generate,
            seed=study.seed,
            emotions=study.emotions,
            neutral_share=settings.neutral_share,
            twin_share=settings.twin_share,
            special=settings.special_share,
            held_out_share=settings.held_out_share,
            scene_share=settings.scene_share,
            caption_share=settings.caption_share,
        )
    frames, _ = read_tables(settings.tables, emotions=study.emotions, generated=generated)
    cut = [False] * (generated is not None) + [table.segments for table in settings.tables]
    frames = [split_into_segments(frame) if long else frame for frame, long in zip(frames, cut, strict=True)]
    return pl.concat(frames, how="diagonal_relaxed")


def split_into_segments(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each sentence of each text; id and group say which text it is from.

    A text of one sentence keeps its id; the others' rows are ``ID/1``, ``ID/2`` and so on. Rows without a group
    get their text's, so that no text straddles a split.
    """
    from moodlens.embed.segments import segments

    parts = frame["text"].map_elements(segments, return_dtype=pl.List(pl.String), skip_nulls=False)
    # The id as group is what a row without one would get when splits are dealt.
    group = pl.when(pl.col("group").fill_null("") == "").then(pl.col("id")).otherwise(pl.col("group"))
    split = frame.with_columns(group=group, text=parts, n=parts.list.len()).explode("text")
    place = pl.int_range(1, pl.len() + 1).over("id")
    named = pl.when(pl.col("n") > 1).then(pl.format("{}/{}", "id", place)).otherwise(pl.col("id"))
    return split.with_columns(id=named).drop("n")


def _precomputed_prompts(study: Settings) -> pl.DataFrame:
    from moodlens.embed import read_precomputed

    assert study.prompts.precomputed is not None
    path = expand_path(study.prompts.precomputed)
    data = read_precomputed(path)
    if tuple(data.emotions) != study.emotions:
        raise BadInput(
            f"{path}: its labels are {', '.join(data.emotions)}; set emotions to [{', '.join(data.emotions)}]"
        )
    n = len(data.x)
    texts = data.texts or [f"row {i}" for i in range(n)]
    return pl.DataFrame(
        {
            "id": [f"row-{i}" for i in range(n)],
            "text": texts,
            "emotion": [data.emotions[label] if label >= 0 else None for label in data.labels],
            "kind": ["plain" if label >= 0 else "neutral" for label in data.labels],
            "about": [None] * n,
            "split": [""] * n,
            # Nothing is known of how these prompts were built, so each row stands for itself.
            "group": [f"row-{i}" for i in range(n)],
            "source": [str(study.prompts.precomputed)] * n,
        },
        schema_overrides={"emotion": pl.String, "about": pl.String},
    )


def shuffle_labels(frame: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    """Deal the emotions anew among the labelled groups of each split; group sizes and split sizes stay.

    The result looks like a study and holds no emotion: whatever is found in it is an artefact.
    """
    rng = np.random.default_rng([seed, 0x5FFE])
    labelled = frame.filter(pl.col("emotion").is_not_null())
    pairs = labelled.select("split", "group", "emotion").unique(["split", "group"]).sort("split", "group")
    dealt = [
        part.with_columns(pl.Series("emotion", rng.permutation(part["emotion"].to_numpy()), dtype=pl.String))
        for part in pairs.partition_by("split", maintain_order=True)
    ]
    new = pl.concat(dealt).rename({"emotion": "dealt"})
    joined = frame.join(new, on=["split", "group"], how="left", maintain_order="left")
    emotion = pl.when(pl.col("emotion").is_not_null()).then(pl.col("dealt")).otherwise(None)
    return joined.with_columns(emotion.alias("emotion")).drop("dealt")


def embed_prompts(folder: Study, progress: Progress) -> Iterable[str]:
    """Encode every prompt -> embeddings/."""
    from moodlens.embed import EmbeddingStore, embed_to_store, get_encoder, read_precomputed

    study = folder.study
    target = folder.path / "embeddings"
    if study.prompts.precomputed is not None:
        path = expand_path(study.prompts.precomputed)
        data = read_precomputed(path)
        shutil.rmtree(target, ignore_errors=True)
        info = {
            "encoder": data.metadata.get("model", data.metadata.get("encoder", "precomputed")),
            "revision": None,
            "pooling": "mean",
            "d_in": int(data.x.shape[1]),
        }
        EmbeddingStore.create(target, info, "float32").append(data.x)
    else:
        encoder = get_encoder(study.encoder.id, dtype=study.encoder.dtype)
        shard_rows = study.encoder.shard_rows
        _drop_other(target, encoder.info(), folder.texts, shard_rows)
        embed_to_store(
            encoder, folder.texts, target, shard_rows=shard_rows, dtype="float32", progress=progress
        )
    return ["embeddings/manifest.json"]


def _drop_other(target: Path, info: dict[str, Any], texts: list[str], shard_rows: int) -> None:
    """Remove embeddings of other texts, of another encoder or damaged; keep what a killed run has finished of these."""
    from moodlens.embed import EmbeddingStore

    if not (target / "manifest.json").is_file():
        return
    source = {"texts": digest(list(texts)), "n": len(texts), "shard_rows": shard_rows}
    try:
        store = EmbeddingStore.open(target)
        same = store.info == info and store.source == source
        if same and store.rows:
            store.array()
    except BadInput:  # damaged: what `moodlens embed DIR --force` is for
        same = False
    if not same:
        shutil.rmtree(target)


def probe_embeddings(folder: Study, progress: Progress) -> Iterable[str]:
    """Phase 0 over every plain labelled row -> phase0.json."""
    rows = np.flatnonzero((folder.labels >= 0) & (folder.kinds == "plain"))
    result = _phase0(folder.study, folder.x[rows], folder.labels[rows], folder.groups[rows])
    write_json(folder.path / "phase0.json", result)
    progress("phase 0", 1, 1)
    return ["phase0.json"]


def probe_precomputed(study: Settings) -> dict[str, Any]:
    """Phase 0 of ``prompts.precomputed`` without a study folder; the same numbers that a study of it finds.

    Raises:
        BadInput: the embeddings or labels cannot be used.
    """
    from moodlens.embed import read_precomputed

    assert study.prompts.precomputed is not None
    data = read_precomputed(expand_path(study.prompts.precomputed))
    rows = np.flatnonzero(data.labels >= 0)
    # As in a study: nothing is known of how these prompts were built, so each row is its own group.
    groups = np.unique([f"row-{i}" for i in range(len(data.x))], return_inverse=True)[1]
    return _phase0(study, data.x[rows], data.labels[rows], groups[rows])


def _phase0(study: Settings, x: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    from moodlens.validate.probe import phase0

    return phase0(
        x,
        labels,
        groups,
        study.emotions,
        seed=study.seed,
        n_permutations=study.validation.phase0.n_permutations,
        n_shuffles=study.validation.phase0.n_shuffles,
    )
