"""Any texts under a study's features: activations, family scores and, with labels, AUROC beside the dense baselines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from moodlens.core.errors import BadInput
from moodlens.core.progress import Progress, shifted, silent
from moodlens.pipeline.texts import read_texts, told
from moodlens.settings.study import EncoderSettings, Table
from moodlens.settings.validation import ReadingSettings, TransferSettings
from moodlens.study.records.transfer import TransferSet
from moodlens.study.rows import DEV, UNKNOWN, Rows
from moodlens.study.study import Study

if TYPE_CHECKING:
    from moodlens.embed.base import Encoder
    from moodlens.sae.model import SAE
    from moodlens.validate.methods import Method


TOGETHER = 8192
"""Texts that are scored together, at most: what bounds the memory, whatever the table holds."""
CHARACTERS = 2**22
"""Of them, at most, or one text."""


@dataclass(frozen=True)
class Part:
    """Neighbouring texts, scored."""

    table: pl.DataFrame
    """One row per text: id, text, emotion, ``family_EMOTION``, ``words`` and ``feature_N`` of every emotion feature.

    Families are read as the setting says (:mod:`moodlens.validate.methods`), in standard deviations of train + val
    rows. ``words`` says what the largest family score stands on. Activations are the largest of a text's sentences.
    """
    words: list[dict[str, dict[str, float]]]
    """Of every text: emotion -> the words that carry most of its family's score -> their share. Empty where tokens are
    not read."""


Take = Callable[[Part], None]
"""What is done with the texts of a table as they are scored; they come in order."""


def score_table(
    study: Study,
    table: Table,
    encoder: EncoderSettings,
    settings: TransferSettings,
    *,
    take: Take = lambda part: None,
    progress: Progress = silent,
) -> TransferSet:
    """Read texts with the study's encoder, SAE and families, each method in its own way, a part of them at a time.

    Of what was scored, nothing is kept here but what AUROC needs of labelled texts.

    Args:
        study: whose.
        table: of any length.
        encoder: of the study.
        settings: how methods read, and resamples.
        take: given each part.
        progress: counts texts.

    Returns:
        Counts and, where two emotions are labelled, AUROCs.

    Raises:
        BadInput: the file or a column cannot be used, the features are not there yet, the study has no encoder
            (precomputed embeddings), or the labels are not the study's.
    """
    from moodlens.prompts import read_prompts

    frame, report = read_prompts(table.model_copy(update={"split_column": None}), emotions=study.emotions)
    result = score_frame(
        study,
        frame,
        report.file,
        encoder,
        settings,
        grouped=table.group_column is not None or report.n_duplicates > 0,
        take=take,
        progress=progress,
    )
    return result.model_copy(update={"table": report.line})


def score_frame(
    study: Study,
    frame: pl.DataFrame,
    name: str,
    encoder: EncoderSettings,
    settings: TransferSettings,
    *,
    grouped: bool,
    take: Take = lambda part: None,
    progress: Progress = silent,
) -> TransferSet:
    """As :func:`score_table`, for texts that are read already (columns id, text, emotion, group)."""
    index = {emotion: i for i, emotion in enumerate(study.emotions)}
    unknown = set(frame["emotion"].drop_nulls().unique()) - set(index)
    if unknown:
        raise BadInput(
            f"{name}: labels {', '.join(sorted(unknown))} are not the study's: {', '.join(study.emotions)}"
        )
    label = np.array([index.get(emotion, UNKNOWN) for emotion in frame["emotion"]], dtype=np.int64)
    known = np.flatnonzero(label >= 0)
    group = frame["group"].gather(known).to_numpy() if grouped else None
    rows = Rows.of(label[known], emotions=study.emotions, group=group)
    methods, n_seen = study_methods(study, settings.reading), 0
    read, trained = _Reader.of(study, encoder, methods), trained_keys(study.prompts)
    kept: dict[str, list[np.ndarray]] = {method: [] for method in methods}
    texts = parts_of(frame)
    if len(texts) > 1:  # what an endpoint may be sent is asked of all, before any is
        read.encoder.settle(frame["text"].to_list())
    for begin, end in texts:
        part, labelled = frame[begin:end], label[begin:end] >= 0
        scores = read.part(part, take, shifted(progress, begin, frame.height))
        for method, values in scores.items():
            kept[method].append(values[labelled])
        n_seen += count_seen(part["text"].filter(labelled).to_list(), trained)
    readings = {method: how.how.words for method, how in methods.items()}
    result = _judged(
        study, name, {m: np.concatenate(values) for m, values in kept.items()}, readings, rows, settings
    )
    return result.model_copy(update={"n_seen": n_seen, "n_texts": frame.height})


def parts_of(frame: pl.DataFrame) -> list[tuple[int, int]]:
    """Begin and end of the parts in which the texts of ``frame`` are scored."""
    sizes, out, begin, characters = frame["text"].str.len_chars().to_list(), [], 0, 0
    for row, size in enumerate(sizes):
        if row > begin and (row - begin == TOGETHER or characters + size > CHARACTERS):
            out.append((begin, row))
            begin, characters = row, 0
        characters += size
    return [*out, (begin, len(sizes))]


@dataclass(frozen=True)
class _Reader:
    """What reads a part: the study's encoder, methods and emotion features."""

    encoder: "Encoder"
    methods: "dict[str, Method]"
    sae: "SAE"
    features: np.ndarray
    emotions: tuple[str, ...]

    @classmethod
    def of(cls, study: Study, encoder: EncoderSettings, methods: "dict[str, Method]") -> "_Reader":
        chosen = study.features.filter(pl.col("emotion_feature"))["feature"].to_numpy()
        return cls(study_encoder(study, encoder), methods, study.sae(), chosen, study.emotions)

    def part(self, frame: pl.DataFrame, take: Take, progress: Progress) -> dict[str, np.ndarray]:
        """Score the texts of ``frame`` and hand them on; returns the scores of every method, ``(n, C)`` each."""
        texts = frame["text"].to_list()
        read = read_texts(self.encoder, texts, self.methods, self.sae, self.features, progress=progress)
        family = read.scores["family"]
        table = frame.select("id", "text", "emotion").with_columns(
            *(pl.Series(f"family_{e}", family[:, c]) for c, e in enumerate(self.emotions)),
            pl.Series("words", [told(own, family[i], self.emotions) for i, own in enumerate(read.words)]),
            *(pl.Series(f"feature_{f}", read.activations[:, i]) for i, f in enumerate(self.features)),
        )
        words = [
            {emotion: dict(own[c]) for c, emotion in enumerate(self.emotions)} if own else {}
            for own in read.words
        ]
        take(Part(table, words))
        return read.scores


def _judged(
    study: Study,
    name: str,
    scores: dict[str, np.ndarray],
    readings: dict[str, str],
    rows: Rows,
    settings: TransferSettings,
) -> TransferSet:
    """AUROCs of the labelled texts ``rows``, where they are of two emotions; else only how many there are."""
    from moodlens.validate.transfer import counted_set, transfer_set

    if len(np.unique(rows.label)) > 1:
        return transfer_set(name, scores, readings, rows, settings, seed=study.seed)
    return counted_set(name, readings, rows)


def study_methods(study: Study, reading: ReadingSettings) -> "dict[str, Method]":
    """Every method of the study, standardised by its plain and neutral train + val rows.

    The dense baselines are fitted on them too. ``family_gated`` is among them where the study has denied prompts.
    """
    from moodlens.sae.model import encode_rows
    from moodlens.validate.denial import Denial
    from moodlens.validate.methods import all_methods
    from moodlens.validate.readouts import DenseBaselines

    dev = study.rows.where(*DEV)
    x, sae, families = study.x_of(dev), study.sae(), study.families
    members = families.on_members()[0]
    baselines = DenseBaselines.fit(x, study.rows[dev], study.seed)
    methods = all_methods(
        families, study.W_dec(), lambda rows: encode_rows(sae, rows, features=members), baselines, x, reading
    )
    denial = Denial.fit(study.x, study.rows)
    if denial is not None:
        methods["family_gated"] = methods["family"].gated(denial, study.x, study.rows)
    return methods


def trained_keys(prompts: pl.DataFrame) -> frozenset[str]:
    """Keys of the texts that a study trained on, its train + val prompts (:func:`moodlens.prompts.copies.copy_keys`)."""
    from moodlens.prompts.copies import copy_keys

    return frozenset(copy_keys(prompts.filter(pl.col("split").is_in(["train", "val"]))["text"]))


def count_seen(texts: list[str], trained: frozenset[str]) -> int:
    """How many texts the study trained on: as a whole or by a sentence, they are among its train + val prompts.

    Labels played no part for them unless the study's own table has them; their words did.
    """
    from moodlens.embed.segments import segments
    from moodlens.prompts.copies import count_copies

    return count_copies(([text, *segments(text)] for text in texts), trained)


def study_encoder(study: Study, settings: EncoderSettings) -> "Encoder":
    """The encoder of the study, checked against what made its embeddings.

    Raises:
        BadInput: the embeddings were made elsewhere, or by another version of the encoder.
    """
    from moodlens.embed.encoders import encoder_of

    info = study.encoder_info
    if settings.id == "precomputed":
        raise BadInput(
            f"{study.path}: its embeddings were made elsewhere, so new texts cannot be embedded; "
            "set encoder.id to the encoder that made them, such as t5:google-t5/t5-base"
        )
    # As the embeddings were made, not as `auto` would decide on this machine or on these texts.
    encoder = encoder_of(settings, dtype=info.dtype, long_texts=info.long_texts)
    info_now = encoder.info()
    key = info.differs(info_now, "max_length", "long_texts", "dtype", "by_token")
    if key is not None:
        raise BadInput(
            f"{study.path / 'embeddings'}: made with {key} {getattr(info, key)!r}, "
            f"but {settings.id} now has {getattr(info_now, key)!r}"
        )
    return encoder
