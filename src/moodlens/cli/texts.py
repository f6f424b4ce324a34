"""The features on any texts: scores, and transfer to labelled ones."""

from pathlib import Path
from typing import Annotated

import typer

from moodlens.cli.options import Data, Force, GroupColumn, Json, LabelColumn, Out, Set, TextColumn, app
from moodlens.cli.output import emit, progress_bars
from moodlens.cli.stages import warn_outdated


@app.command()
def transfer(
    data: Data,
    texts: Annotated[
        Path | None,
        typer.Argument(
            metavar="TEXTS",
            help="Labelled texts to judge the features on (.csv, .tsv, .txt, .json, .jsonl, .ndjson or .parquet, packed or not); kept in study.yaml.",
        ),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    out: Out = None,
    changes: Set = [],  # noqa: B006
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Judge the features on held-out words, negations, mixed emotions and other people's labelled texts."""
    from moodlens.cli.target import study_for, with_texts
    from moodlens.core import BadInput
    from moodlens.pipeline.outdated import finished
    from moodlens.pipeline.run import run as run_study
    from moodlens.pipeline.stages.proof import transfer_summary

    settings, folder = study_for(data, out, changes)
    if texts is None and (text_column or label_column or group_column):
        raise BadInput("the columns are those of TEXTS, which is missing: moodlens transfer DATA TEXTS ...")
    if texts is not None:
        settings = with_texts(settings, texts, text_column, label_column, group_column)
    before = finished(folder)
    with progress_bars(as_json) as progress:
        study = run_study(settings, folder, until="transfer", force=force, progress=progress)
    value, lines = transfer_summary(study)
    emit(value, as_json, lines)
    warn_outdated(folder, before)


@app.command()
def score(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    texts: Annotated[
        Path,
        typer.Argument(
            metavar="TEXTS",
            help="Texts as .csv, .tsv, .txt, .json, .jsonl, .ndjson or .parquet, packed or not.",
        ),
    ],
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write one row per text, as .csv or .parquet."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Activations of the emotion features and the family scores for any texts; with labels, AUROC."""
    from contextlib import nullcontext

    from moodlens.cli.scoring import SHOWN, Shown, score_lines, score_value
    from moodlens.cli.target import text_table
    from moodlens.pipeline.opened import OpenStudy
    from moodlens.pipeline.score import Part, score_table
    from moodlens.pipeline.stages.discovery import why_none
    from moodlens.pipeline.target import appended, check_kept, check_target
    from moodlens.study.records.sae import Core
    from moodlens.study.records.selection import Selection

    if out is not None:
        check_target(out, texts)
    opened = OpenStudy.open(study)
    if out is not None:
        check_kept(out, opened)
    opened.require("features")
    table, settings = text_table(texts, text_column, label_column, group_column), opened.settings
    shown = Shown(None if as_json and out is None else SHOWN)
    with progress_bars(as_json) as progress, nullcontext() if out is None else appended(out) as write:

        def take(part: Part) -> None:
            shown.add(part)
            if write is not None:
                write(part.table)

        result = score_table(
            opened, table, settings.encoder, settings.validation.transfer, take=take, progress=progress
        )
    value = score_value(result, shown, opened.emotions, out)
    why = why_none(opened.read(Selection), opened.read(Core)) if opened.emotions else ()
    emit(value, as_json, score_lines(result, shown, opened.emotions, out, why))


@app.command()
def norms(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    ratings: Annotated[
        Path,
        typer.Argument(
            metavar="NORMS",
            help="Words with people's ratings, as .csv, .tsv, .txt, .json, .jsonl, .ndjson or .parquet, packed or not.",
        ),
    ],
    text_column: Annotated[
        str | None, typer.Option("--text-column", help="Column with the word or text.")
    ] = None,
    valence_column: Annotated[
        str | None, typer.Option("--valence-column", help="Column with the rated valence.")
    ] = None,
    arousal_column: Annotated[
        str | None, typer.Option("--arousal-column", help="Column with the rated arousal.")
    ] = None,
    group_column: Annotated[
        str | None, typer.Option("--group-column", help="Rows that belong together; none: words of one root.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write one row per word, as .csv or .parquet."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Correlate the study's emotions with valence and arousal as people rate words; draws the circumplex."""
    from moodlens.pipeline.norms import (
        norms_frame,
        norms_lines,
        read_rated,
        study_norms,
        write_norms,
        written_lines,
    )
    from moodlens.pipeline.opened import OpenStudy
    from moodlens.pipeline.target import check_kept, check_target, write_frame

    if out is not None:
        check_target(out, ratings)
    opened = OpenStudy.open(study)
    if out is not None:
        check_kept(out, opened)
    opened.require("features")
    asked = {
        "text": text_column,
        "valence": valence_column,
        "arousal": arousal_column,
        "group": group_column,
    }
    rated = read_rated(ratings, asked)
    with progress_bars(as_json) as progress:
        record, told = study_norms(opened, rated, progress=progress)
    written = write_norms(opened, record, told)
    if out is not None:
        write_frame(norms_frame(rated, told), out)
    emit(record.model_dump(), as_json, [*norms_lines(record), "", *written_lines(opened, written)])
