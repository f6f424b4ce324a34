"""The stages of the embeddings: making them, and whether emotion is in them at all."""

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from moodlens.core.errors import BadInput
from moodlens.core.files import plain
from moodlens.core.lines import describe
from moodlens.core.progress import Progress
from moodlens.engine import Share, executor_of
from moodlens.pipeline.stage import Summary, stage
from moodlens.settings.base import Frozen
from moodlens.settings.engine import EngineSettings
from moodlens.settings.study import EncoderSettings, PromptSettings, Settings, expand_path
from moodlens.settings.validation import Phase0Settings
from moodlens.stats.equal import equal_rows, nearly_constant, parted_rows
from moodlens.study.records.embed import Embeddings
from moodlens.study.records.phase0 import Phase0
from moodlens.study.rows import SCALES, UNKNOWN, Rows
from moodlens.study.state import WORK
from moodlens.study.study import Study

if TYPE_CHECKING:
    from moodlens.embed.manifest import Corpus, EncoderInfo


class EmbedSection(Frozen):
    """What decides the embeddings."""

    encoder: EncoderSettings
    prompts: PromptSettings
    engine: EngineSettings = Field(default=EngineSettings(), json_schema_extra={"in_key": False})


def _encoder_files(section: EmbedSection, home: Path) -> list[Path]:
    """The files whose content decides the embeddings: weights replaced in place make them anew."""
    from moodlens.embed.encoders import encoder_files

    if section.prompts.precomputed is not None:
        return [expand_path(section.prompts.precomputed) / "embeddings.npy"]
    try:
        return encoder_files(section.encoder.id, revision=section.encoder.revision)
    except BadInput:  # said when it is loaded; a finished study does without
        return []


def one_name(settings: EncoderSettings) -> EncoderSettings:
    """The settings with the folder's own path, however it was typed; left alone where there is no such folder."""
    from moodlens.embed.encoders import encoder_id

    try:
        return settings.model_copy(update={"id": encoder_id(settings.id)})
    except BadInput:
        return settings


def embed_summary(study: Study) -> Summary:
    """What the store holds, and what of the texts is not in it."""
    record = study.read(Embeddings)
    value = {"rows": record.n, **study.encoder_info.model_dump(), "store": str(study.path / "embeddings")}
    lines = [*describe(value), *record.remarks]
    return value | {"n_equal": record.n_equal, "texts": record.texts and record.texts.model_dump()}, lines


@stage(
    "embed",
    needs=("prompts",),
    section=lambda s: EmbedSection(encoder=one_name(s.encoder), prompts=s.prompts, engine=s.engine),
    inputs=_encoder_files,
    wide=True,
    summary=embed_summary,
)
def embed(study: Study, section: EmbedSection, progress: Progress) -> Iterable[str]:
    """Encode every prompt -> embeddings/, embed.json."""
    from moodlens.embed.base import norms
    from moodlens.embed.corpus import corpus_of, embed_to_store, embed_units
    from moodlens.embed.encoders import encoder_of
    from moodlens.embed.manifest import EncoderInfo
    from moodlens.embed.precomputed import read_precomputed
    from moodlens.embed.store import EmbeddingStore

    target, report = study.path / "embeddings", None
    if section.prompts.precomputed is not None:
        data = read_precomputed(expand_path(section.prompts.precomputed))
        shutil.rmtree(target, ignore_errors=True)
        unit = bool(section.encoder.unit)
        info = EncoderInfo(
            encoder=data.encoder or "precomputed", d_in=data.x.shape[1], pooling="mean", unit=unit
        )
        x = data.x / norms(data.x)[:, None] if unit else data.x
        store = EmbeddingStore.create(target, info, "float32")
        store.append(x)
    else:
        settings, texts = section.encoder, study.rows.texts.tolist()
        encoder = encoder_of(settings)
        encoder.settle(texts)
        executor, units = executor_of(section.engine), study.home / WORK / "embed"
        if isinstance(section.engine, Share):
            embed_units(encoder, texts, units, executor, shard_rows=settings.shard_rows, dtype="float32")
        _drop_other(target, encoder.info(), corpus_of(texts, settings.shard_rows))
        store, report = embed_to_store(
            encoder,
            texts,
            target,
            shard_rows=settings.shard_rows,
            dtype="float32",
            executor=executor,
            units=units,
            progress=progress,
        )
    equal = equal_rows(store)
    _check_distinct(study, store.array(), equal)
    record = Embeddings(n=len(store), n_equal=len(store) - int(equal.max(initial=-1)) - 1, texts=report)
    return [*(f"embeddings/{file}" for file in store.files), study.write(record)]


def _check_distinct(study: Study, x: np.ndarray, equal: np.ndarray) -> None:
    """Refuse embeddings in which nothing differs, or in which one observation counts as two."""
    rows, where = study.rows, study.home / "embeddings"
    if nearly_constant(x):
        raise BadInput(
            f"{where}: all {len(x)} rows are equal to rounding, so nothing can be found in them: does the encoder know "
            f"the words of {rows.texts[0][:60]!r}?"
        )
    judged = np.union1d(rows.labelled(), np.concatenate([rows.rated(scale) for scale in SCALES]))
    parted = judged[parted_rows(equal[judged], rows.group[judged])]
    if len(parted):
        a, b = (int(row) for row in parted[:2])
        raise BadInput(
            f"{where}: {len(parted)} {'labelled' if rows.emotions else 'rated'} texts have the same embedding as a text of another group, such as rows {a} "
            f"and {b} ({rows.texts[a][:60]!r}, {rows.texts[b][:60]!r}): the encoder cannot tell them apart; give them one "
            "group or drop them"
        )


def _drop_other(target: Path, info: "EncoderInfo", source: "Corpus") -> None:
    """Remove embeddings of other texts, of another encoder or damaged; keep what a killed run has finished of these."""
    from moodlens.embed.store import EmbeddingStore

    if not (target / "manifest.json").is_file():
        return
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
    return phase0_lines(study.read(Phase0))


def phase0_lines(phase0: Phase0) -> Summary:
    """Phase 0, of a study or of embeddings alone."""
    value = plain(phase0.model_dump())
    head = f"{phase0.n} texts, {phase0.n_groups} groups, {phase0.d_in} dimensions"
    parts = {"similarity": _short(value["similarity"]), "linear probe": _short(value["linear_probe"])}
    note = "t and t_p take pairs of texts for independent, which they are not: no evidence; believe permutation and group_folds"
    return value, [head, *describe(parts), note]


def _short(value: Mapping[str, object]) -> dict[str, object]:
    """The entries that fit on a line: no matrices."""
    kept = {}
    for key, item in value.items():
        if isinstance(item, list) and (len(item) > 8 or any(isinstance(i, (list, Mapping)) for i in item)):
            continue
        kept[key] = _short(item) if isinstance(item, Mapping) else item
    return kept


@stage(
    "probe",
    needs=("embed", "prompts"),
    section=lambda s: s.validation.phase0,
    summary=probe_summary,
    labels=True,
)
def probe(study: Study, settings: Phase0Settings, progress: Progress) -> Iterable[str]:
    """Phase 0 over every plain labelled row -> phase0.json."""
    from moodlens.validate.phase0 import phase0

    file = study.write(phase0(study.x, study.rows, settings, seed=study.seed))
    progress("phase 0", 1, 1)
    return [file]


def probe_precomputed(settings: Settings) -> Phase0:
    """Phase 0 of ``prompts.precomputed`` without a study folder; the same numbers that a study of it finds.

    Raises:
        BadInput: the embeddings or labels cannot be used.
    """
    import polars as pl

    from moodlens.embed.precomputed import read_precomputed
    from moodlens.prompts.copies import copy_keys
    from moodlens.validate.phase0 import phase0

    assert settings.prompts.precomputed is not None
    data = read_precomputed(expand_path(settings.prompts.precomputed))
    # As in a study: nothing is known of how these prompts were built, so each row is its own group.
    group = [f"row-{i}" for i in equal_rows(data.x)]
    copy = None if data.texts is None else copy_keys(pl.Series(data.texts)).to_list()
    label = np.where((data.labels < 0) & ~data.neutral, UNKNOWN, data.labels)
    rows = Rows.of(label, emotions=settings.emotions, group=group, copy=copy)
    return phase0(data.x, rows, settings.validation.phase0, seed=settings.seed)
