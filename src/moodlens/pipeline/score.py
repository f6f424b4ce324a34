"""Any texts under a study's features: activations, family scores and, with labels, AUROC beside the dense baselines."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from moodlens.core.errors import BadInput
from moodlens.core.files import atomic_write, write_table
from moodlens.core.lines import table
from moodlens.core.progress import Progress, silent
from moodlens.pipeline.texts import read_texts, told
from moodlens.settings.study import EncoderSettings, Table
from moodlens.settings.validation import ReadingSettings, TransferSettings
from moodlens.study.records.estimates import Estimate
from moodlens.study.records.transfer import HeldOut, TransferSet
from moodlens.study.rows import DEV, UNKNOWN, Rows
from moodlens.study.study import Study

if TYPE_CHECKING:
    from moodlens.embed.base import Encoder
    from moodlens.validate.methods import Method


@dataclass(frozen=True)
class Scored:
    """What :func:`score_table` found."""

    result: TransferSet
    """Counts and, where two emotions are labelled, AUROCs."""
    table: pl.DataFrame
    """One row per text: id, text, emotion, ``family_EMOTION``, ``words`` and ``feature_N`` of every emotion feature.

    Families are read as the setting says (:mod:`moodlens.validate.methods`), in standard deviations of train + val
    rows. ``words`` says what the largest family score stands on. Activations are the largest of a text's sentences.
    """
    words: list[dict[str, dict[str, float]]]
    """Of every text: emotion -> the words that carry most of its family's score -> their share. Empty where tokens are
    not read."""


def score_table(
    study: Study,
    table: Table,
    encoder: EncoderSettings,
    settings: TransferSettings,
    *,
    progress: Progress = silent,
) -> Scored:
    """Read texts with the study's encoder, SAE and families, each method in its own way.

    Raises:
        BadInput: the file or a column cannot be used, the features are not there yet, the study has no encoder
            (precomputed embeddings), or the labels are not the study's.
    """
    from moodlens.prompts import read_prompts

    frame, report = read_prompts(table.model_copy(update={"split_column": None}), emotions=study.emotions)
    scored = score_frame(
        study,
        frame,
        report.file,
        encoder,
        settings,
        grouped=table.group_column is not None or report.n_duplicates > 0,
        progress=progress,
    )
    return replace(scored, result=scored.result.model_copy(update={"table": report.line}))


def score_frame(
    study: Study,
    frame: pl.DataFrame,
    name: str,
    encoder: EncoderSettings,
    settings: TransferSettings,
    *,
    grouped: bool,
    progress: Progress = silent,
) -> Scored:
    """As :func:`score_table`, for texts that are read already (columns id, text, emotion, group)."""
    from moodlens.validate.transfer import transfer_set

    index = {emotion: i for i, emotion in enumerate(study.emotions)}
    unknown = set(frame["emotion"].drop_nulls().unique()) - set(index)
    if unknown:
        raise BadInput(
            f"{name}: labels {', '.join(sorted(unknown))} are not the study's: {', '.join(study.emotions)}"
        )
    label = [index.get(emotion, UNKNOWN) for emotion in frame["emotion"]]
    rows = Rows.of(label, emotions=study.emotions, group=frame["group"].to_numpy() if grouped else None)
    texts = frame["text"].to_list()
    methods = study_methods(study, settings.reading)
    chosen = study.features.filter(pl.col("emotion_feature"))["feature"].to_numpy()
    read = read_texts(study_encoder(study, encoder), texts, methods, study.sae(), chosen, progress=progress)
    family = read.scores["family"]
    scores = frame.select("id", "text", "emotion").with_columns(
        *(pl.Series(f"family_{e}", family[:, c]) for c, e in enumerate(study.emotions)),
        pl.Series("words", [told(own, family[i], study.emotions) for i, own in enumerate(read.words)]),
        *(pl.Series(f"feature_{f}", read.activations[:, i]) for i, f in enumerate(chosen)),
    )
    known = rows.label >= 0
    n_seen = count_seen(
        [text for text, labelled in zip(texts, known, strict=True) if labelled], study.prompts
    )
    readings = {method: how.how.words for method, how in methods.items()}
    if len(np.unique(rows.label[known])) < 2:
        counts = np.bincount(rows.label[known], minlength=rows.n_emotions)
        result = TransferSet(
            name=name,
            n=int(known.sum()),
            n_texts=len(rows),
            n_groups=len(np.unique(rows.group[known])),
            n_per_emotion=dict(zip(rows.emotions, counts.tolist(), strict=True)),
            readings=readings,
            auroc={},
        )
    else:
        result = transfer_set(name, read.scores, readings, rows, settings, seed=study.seed)
    words = [
        {emotion: dict(own[c]) for c, emotion in enumerate(study.emotions)} if own else {}
        for own in read.words
    ]
    return Scored(result.model_copy(update={"n_seen": n_seen}), scores, words)


def study_methods(study: Study, reading: ReadingSettings) -> "dict[str, Method]":
    """Every method of the study, standardised by its plain and neutral train + val rows.

    The dense baselines are fitted on them too. ``family_gated`` is among them where the study has denied prompts.
    """
    from moodlens.sae.model import encode_rows
    from moodlens.validate.denial import Denial
    from moodlens.validate.methods import all_methods
    from moodlens.validate.readouts import DenseBaselines

    dev = study.rows.where(*DEV)
    x, sae, families = study.x[dev], study.sae(), study.families
    members = families.on_members()[0]
    baselines = DenseBaselines.fit(x, study.rows[dev], study.seed)
    methods = all_methods(
        families, study.W_dec(), lambda rows: encode_rows(sae, rows, features=members), baselines, x, reading
    )
    denial = Denial.fit(study.x, study.rows)
    if denial is not None:
        methods["family_gated"] = methods["family"].gated(denial, study.x, study.rows)
    return methods


def count_seen(texts: list[str], prompts: pl.DataFrame) -> int:
    """How many texts the study trained on: as a whole or by a sentence, they are among its train + val prompts.

    Labels played no part for them unless the study's own table has them; their words did.
    """
    from moodlens.embed.segments import segments
    from moodlens.prompts.copies import count_copies

    trained = prompts.filter(pl.col("split").is_in(["train", "val"]))["text"]
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
    mine = encoder.info()
    key = info.differs(mine, "max_length", "long_texts", "dtype", "by_token")
    if key is not None:
        raise BadInput(
            f"{study.path / 'embeddings'}: made with {key} {getattr(info, key)!r}, "
            f"but {settings.id} now has {getattr(mine, key)!r}"
        )
    return encoder


def check_target(out: Path, source: Path) -> None:
    """Refuse, before any work, a file that :func:`write_frame` could not or should not write.

    Raises:
        BadInput: another ending than .csv or .parquet, a folder, or the table that is read.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise BadInput(f"{out}: tables are written as .csv or .parquet")
    if out.is_dir():
        raise BadInput(f"{out}: is a folder; name a file")
    if out.exists() and source.exists() and out.samefile(source):
        raise BadInput(f"{out}: is the table that is read; it would be overwritten: name another file")


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a table as .csv or .parquet, by the name's ending.

    Raises:
        BadInput: another ending, or the file cannot be written.
    """
    if path.suffix == ".parquet":
        write_table(path, frame)
    else:
        with atomic_write(path) as tmp:
            frame.write_csv(tmp)


def auroc_lines(name: str, result: HeldOut | TransferSet, emotions: tuple[str, ...]) -> list[str]:
    """One table of AUROCs: methods by emotions."""
    if not result.auroc:
        return [f"{name}: {getattr(result, 'note', '') or 'no labels, so no AUROC'}"]
    columns = [*emotions, "mean"]
    alike: dict[str, list[str]] = {}
    for method, how in (result.readings if isinstance(result, TransferSet) else {}).items():
        alike.setdefault(how, []).append(method)

    def cell(estimate: Estimate) -> str:
        if estimate.value is None:
            return "-"
        ci = estimate.ci
        return f"{estimate.value:.3f}" + (f" [{ci[0]:.2f}, {ci[1]:.2f}]" if ci is not None else "")

    rows = [[method, *(cell(parts[c]) for c in columns)] for method, parts in result.auroc.items()]
    seen = result.n_seen if isinstance(result, TransferSet) else None
    note = [f"{seen} of these {result.n} texts, or sentences of them, were trained on: not new to the SAE"]
    return [
        f"{name}: {result.n} labelled texts, {result.n_groups} groups, AUROC",
        *(note if seen else []),
        *table(["method", *columns], rows),
        *(f"{', '.join(methods)}: read by {how}" for how, methods in alike.items()),
        *(
            [
                "each text counts as a group of its own: if some belong together, name their column by --group-column"
            ]
            if isinstance(result, TransferSet) and result.n_groups == result.n
            else []
        ),
    ]


def records(frame: pl.DataFrame) -> list[dict[str, object]]:
    """Rows as dicts with NaN as null."""
    return [
        {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
        for row in frame.to_dicts()
    ]
