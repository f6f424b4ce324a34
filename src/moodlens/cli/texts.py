"""The features on any texts: scores, and transfer to labelled ones."""

from pathlib import Path
from typing import Annotated

import typer

from moodlens.cli.options import Data, Force, GroupColumn, Json, LabelColumn, Out, Set, TextColumn, app
from moodlens.cli.output import emit, progress_bars


@app.command()
def transfer(
    data: Data,
    texts: Annotated[
        Path | None,
        typer.Argument(metavar="TEXTS", help="Labelled texts to judge the features on; kept in study.yaml."),
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
    from moodlens.pipeline.run import run as run_study
    from moodlens.pipeline.stages.proof import transfer_summary

    settings, folder = study_for(data, out, changes)
    if texts is None and (text_column or label_column or group_column):
        raise BadInput("the columns are those of TEXTS, which is missing: moodlens transfer DATA TEXTS ...")
    if texts is not None:
        settings = with_texts(settings, texts, text_column, label_column, group_column)
    with progress_bars(as_json) as progress:
        study = run_study(settings, folder, until="transfer", force=force, progress=progress)
    value, lines = transfer_summary(study)
    emit(value, as_json, lines)


@app.command()
def score(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    texts: Annotated[Path, typer.Argument(metavar="TEXTS", help="Texts as .csv, .jsonl or .parquet.")],
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
    from moodlens.cli.scoring import score_lines, score_value
    from moodlens.cli.target import text_table
    from moodlens.pipeline.opened import OpenStudy
    from moodlens.pipeline.score import check_target, score_table, write_frame

    if out is not None:
        check_target(out, texts)
    opened = OpenStudy.open(study)
    opened.require("features")
    table, settings = text_table(texts, text_column, label_column, group_column), opened.settings
    with progress_bars(as_json) as progress:
        scored = score_table(opened, table, settings.encoder, settings.validation.transfer, progress=progress)
    if out is not None:
        write_frame(scored.table, out)
    value = score_value(scored, opened.emotions, out)
    emit(value, as_json, score_lines(scored, opened.emotions, out))
