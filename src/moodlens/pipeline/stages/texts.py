"""The first stages: prompts, embeddings, phase 0."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from moodlens.core.errors import BadInput
from moodlens.core.files import digest, read_json, write_json
from moodlens.core.lines import describe, table
from moodlens.core.progress import Progress
from moodlens.pipeline.stage import Summary, stage
from moodlens.prompts.tables import TableReport
from moodlens.settings.base import Frozen
from moodlens.settings.study import EncoderSettings, PromptSettings, Settings, expand_path
from moodlens.settings.validation import Phase0Settings
from moodlens.stats.equal import equal_rows
from moodlens.study.records.embed import Embeddings
from moodlens.study.records.prompts import PROMPTS, Prompts
from moodlens.study.rows import Rows
from moodlens.study.study import Study

PRECOMPUTED_FILES = ("embeddings.npy", "labels.npy", "metadata.json", "prompts.jsonl")
SPLITS = ("train", "val", "test", "held_out")


class PromptsSection(Frozen):
    """What decides the texts. Every later stage builds on them, and so on the seed and the emotions."""

    seed: int
    emotions: tuple[str, ...]
    control: str
    prompts: PromptSettings


class EmbedSection(Frozen):
    """What decides the embeddings."""

    encoder: EncoderSettings
    prompts: PromptSettings


def prompt_files(section: PromptsSection, home: Path) -> list[Path]:
    """The outside files that hold the texts."""
    if section.prompts.precomputed is not None:
        folder = expand_path(section.prompts.precomputed)
        return [folder / name for name in PRECOMPUTED_FILES]
    return [expand_path(one.path) for one in section.prompts.tables]


def prompts_summary(study: Study) -> Summary:
    """Counts of emotions by split."""
    frame, record = study.prompts, study.read(Prompts)
    counts = frame.group_by("emotion", "split").agg(pl.len(), pl.col("group").n_unique().alias("groups"))
    splits = [split for split in SPLITS if split in set(frame["split"])]
    cells = {(row["emotion"], row["split"]): row for row in counts.to_dicts()}
    rows, by = [], {}
    for emotion in (*study.emotions, None):
        of_emotion = {split: cells[emotion, split] for split in splits if (emotion, split) in cells}
        if of_emotion:
            name = "(none)" if emotion is None else emotion
            by[name] = {
                split: {"rows": cell["len"], "groups": cell["groups"]} for split, cell in of_emotion.items()
            }
            shown = (
                f"{of_emotion[s]['len']} ({of_emotion[s]['groups']})" if s in of_emotion else "-"
                for s in splits
            )
            rows.append([name, *shown])
    value = record.model_dump() | {"by_split": by}
    lines = [f"{record.n} prompts; rows (groups) by split:", *table(["emotion", *splits], rows)]
    read = [*(one.line for one in record.tables), *record.remarks]
    return value, [*lines, *([""] if read else []), *read]


@stage(
    "prompts",
    section=lambda s: PromptsSection(seed=s.seed, emotions=s.emotions, control=s.control, prompts=s.prompts),
    inputs=prompt_files,
    wide=True,  # nothing can run beside it
    summary=prompts_summary,
)
def prompts(study: Study, section: PromptsSection, progress: Progress) -> Iterable[str]:
    """Generated prompts and the user's tables, split by group -> prompts.parquet, prompts.json."""
    from moodlens.prompts.splits import assign_splits, split_remarks

    reports: list[TableReport] = []
    if section.prompts.precomputed is None:
        frame, reports = _texts(section)
    else:
        frame = _precomputed_prompts(section)
    given = frame["split"]
    frame = assign_splits(frame, fractions=section.prompts.fractions, seed=section.seed)
    if section.control == "shuffle-labels":
        frame = shuffle_labels(frame, seed=section.seed)
    missing = [name for name in PROMPTS.columns if name not in frame.columns]
    frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in missing).select(
        *PROMPTS.columns
    )
    record = Prompts(
        emotions=section.emotions,
        seed=section.seed,
        control=section.control,
        n=frame.height,
        n_groups=frame["group"].n_unique(),
        tables=tuple(reports),
        remarks=tuple(split_remarks(given, frame)),
    )
    progress("prompts", frame.height, frame.height)
    return [study.write_table(PROMPTS, frame), study.write(record)]


def _texts(section: PromptsSection) -> tuple[pl.DataFrame, list[TableReport]]:
    from moodlens.prompts import EMOTIONS, generate, read_tables

    settings = section.prompts
    generated = None
    if settings.generate:
        if not set(section.emotions) <= set(EMOTIONS):
            raise BadInput(
                f"study: the grammar knows {', '.join(EMOTIONS)}; for other emotions set prompts.generate to 0 "
                "and give your own texts in prompts.tables"
            )
        generated = generate(
            settings.generate,
            seed=section.seed,
            emotions=section.emotions,
            neutral_share=settings.neutral_share,
            twin_share=settings.twin_share,
            special=settings.special_share,
            held_out_share=settings.held_out_share,
            scene_share=settings.scene_share,
            caption_share=settings.caption_share,
        )
    frames, reports = read_tables(settings.tables, emotions=section.emotions, generated=generated)
    cut = [False] * (generated is not None) + [table.segments for table in settings.tables]
    frames = [split_into_segments(frame) if long else frame for frame, long in zip(frames, cut, strict=True)]
    return pl.concat(frames, how="diagonal_relaxed"), reports


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


def _precomputed_prompts(section: PromptsSection) -> pl.DataFrame:
    from moodlens.embed import read_precomputed

    assert section.prompts.precomputed is not None
    path = expand_path(section.prompts.precomputed)
    data = read_precomputed(path)
    if tuple(data.emotions) != section.emotions:
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
            "source": [str(section.prompts.precomputed)] * n,
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


def _encoder_files(section: EmbedSection, home: Path) -> list[Path]:
    """The files whose content decides the embeddings: weights replaced in place make them anew."""
    from moodlens.embed.encoders import encoder_files

    if section.prompts.precomputed is not None:
        return [expand_path(section.prompts.precomputed) / "embeddings.npy"]
    return encoder_files(section.encoder.id)


def _one_name(settings: EncoderSettings) -> EncoderSettings:
    """The settings with the folder's own path, however it was typed; left alone where there is no such folder."""
    from moodlens.embed.encoders import encoder_id

    try:
        return settings.model_copy(update={"id": encoder_id(settings.id)})
    except BadInput:
        return settings


def embed_summary(study: Study) -> Summary:
    """What the store holds, and what of the texts is not in it."""
    record = study.read(Embeddings)
    value = {"rows": record.n, **study.encoder_info, "store": str(study.path / "embeddings")}
    lines = [*describe(value), *_not_read(record)]
    return value | {"n_equal": record.n_equal, "texts": record.texts and record.texts.model_dump()}, lines


def _not_read(record: Embeddings) -> list[str]:
    """Sentences on rows that are not what they seem."""
    texts, lines = record.texts, []
    if texts is not None and texts.n_cut:
        lines.append(
            f"{texts.n_cut} texts were cut at {texts.max_length} tokens: {texts.tokens_cut} tokens were not read, and "
            f"{texts.n_same_after_cutting} texts differ from another only in these"
        )
    elif texts is not None and texts.n_long:
        lines.append(f"{texts.n_long} texts of more than {texts.max_length} tokens were read in parts")
    if texts is not None and texts.n_without_known_token:
        row = next(example for example in texts.examples if example.what == "no known token")
        lines.append(
            f"{texts.n_without_known_token} texts have no token that the encoder knows, the first in row {row.row}: "
            f"{row.text!r}"
        )
    if record.n_equal:
        lines.append(f"{record.n_equal} rows are equal to an earlier one to rounding")
    return [*lines, texts.dtype_note] if texts is not None and texts.dtype_note else lines


@stage(
    "embed",
    needs=("prompts",),
    section=lambda s: EmbedSection(encoder=_one_name(s.encoder), prompts=s.prompts),
    inputs=_encoder_files,
    wide=True,
    summary=embed_summary,
)
def embed(study: Study, section: EmbedSection, progress: Progress) -> Iterable[str]:
    """Encode every prompt -> embeddings/, embed.json."""
    from moodlens.embed.corpus import embed_to_store
    from moodlens.embed.encoders import get_encoder
    from moodlens.embed.precomputed import read_precomputed
    from moodlens.embed.store import EmbeddingStore

    target, report = study.path / "embeddings", None
    if section.prompts.precomputed is not None:
        data = read_precomputed(expand_path(section.prompts.precomputed))
        shutil.rmtree(target, ignore_errors=True)
        info = {
            "encoder": data.metadata.get("model", data.metadata.get("encoder", "precomputed")),
            "revision": None,
            "pooling": "mean",
            "d_in": int(data.x.shape[1]),
        }
        store = EmbeddingStore.create(target, info, "float32")
        store.append(data.x)
    else:
        settings, texts = section.encoder, study.rows.texts.tolist()
        encoder = get_encoder(settings.id, dtype=settings.dtype, long_texts=settings.long_texts)
        encoder.settle(texts)
        _drop_other(target, encoder.info(), texts, settings.shard_rows)
        store, report = embed_to_store(
            encoder, texts, target, shard_rows=settings.shard_rows, dtype="float32", progress=progress
        )
    n_distinct = int(equal_rows(store).max(initial=-1)) + 1
    record = Embeddings(n=len(store), n_equal=len(store) - n_distinct, texts=report)
    shards = read_json(target / "manifest.json")["shards"]
    files = ["embeddings/manifest.json", *(f"embeddings/{shard['file']}" for shard in shards)]
    return [*files, study.write(record)]


def _drop_other(target: Path, info: dict[str, Any], texts: list[str], shard_rows: int) -> None:
    """Remove embeddings of other texts, of another encoder or damaged; keep what a killed run has finished of these."""
    from moodlens.embed.store import EmbeddingStore

    if not (target / "manifest.json").is_file():
        return
    source = {"texts": digest(list(texts)), "n": len(texts), "shard_rows": shard_rows}
    try:
        store = EmbeddingStore.open(target)
        same = store.info == info and store.source == source
        if same and store.rows:
            store.array()
    except BadInput:  # damaged
        same = False
    if not same:
        shutil.rmtree(target)


def probe_summary(study: Study) -> Summary:
    """Phase 0."""
    return phase0_lines(read_json(study.path / "phase0.json"))


def phase0_lines(value: dict[str, Any]) -> Summary:
    """Phase 0, of a study or of embeddings alone."""
    head = f"{value['n']} texts, {value['n_groups']} groups, {value['d_in']} dimensions"
    parts = {"similarity": _short(value["similarity"]), "linear probe": _short(value["linear_probe"])}
    return value, [head, *describe(parts)]


def _short(value: dict[str, Any]) -> dict[str, Any]:
    """The entries that fit on a line: no matrices."""
    kept = {}
    for key, item in value.items():
        if isinstance(item, list) and (len(item) > 8 or any(isinstance(i, (list, dict)) for i in item)):
            continue
        kept[key] = _short(item) if isinstance(item, dict) else item
    return kept


@stage(
    "probe",
    needs=("embed", "prompts"),
    section=lambda s: s.validation.phase0,
    summary=probe_summary,
)
def probe(study: Study, settings: Phase0Settings, progress: Progress) -> Iterable[str]:
    """Phase 0 over every plain labelled row -> phase0.json."""
    rows = study.rows.labelled()
    write_json(study.path / "phase0.json", _phase0(study.x[rows], study.rows[rows], settings, study.seed))
    progress("phase 0", 1, 1)
    return ["phase0.json"]


def probe_precomputed(settings: Settings) -> dict[str, Any]:
    """Phase 0 of ``prompts.precomputed`` without a study folder; the same numbers that a study of it finds.

    Raises:
        BadInput: the embeddings or labels cannot be used.
    """
    from moodlens.embed.precomputed import read_precomputed

    assert settings.prompts.precomputed is not None
    data = read_precomputed(expand_path(settings.prompts.precomputed))
    # As in a study: nothing is known of how these prompts were built, so each row is its own group.
    group = [f"row-{i}" for i in range(len(data.x))]
    rows = Rows.of(data.labels, emotions=settings.emotions, group=group)
    labelled = rows.labelled()
    return _phase0(data.x[labelled], rows[labelled], settings.validation.phase0, settings.seed)


def _phase0(x: np.ndarray, rows: Rows, settings: Phase0Settings, seed: int) -> dict[str, Any]:
    from moodlens.validate.probe import phase0

    return phase0(
        x,
        rows.label,
        rows.group,
        rows.emotions,
        seed=seed,
        n_permutations=settings.n_permutations,
        n_shuffles=settings.n_shuffles,
    )
