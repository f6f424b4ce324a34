"""Bring your SAE, get an honest report: other people's SAEs under the study's verdict."""

from pathlib import Path
from typing import Annotated

import typer

from moodlens.cli.options import Force, GroupColumn, Json, LabelColumn, Set, TextColumn, app
from moodlens.cli.output import emit, progress_bars


@app.command(name="import")
def import_sae(
    sae: Annotated[
        Path,
        typer.Argument(
            metavar="SAE",
            help="A folder of SAELens, dictionary_learning, sparsify or latentsae, or a .pt file of HypotheSAEs.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The study folder.")],
    texts: Annotated[
        Path | None,
        typer.Option(
            "--texts",
            metavar="TEXTS",
            help="Labelled texts to judge it on, as a table or a study file; none: generated prompts.",
        ),
    ] = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", metavar="ID", help="Whose embeddings it takes, such as st:NAME."),
    ] = None,
    library: Annotated[
        str | None, typer.Option("--library", help="Whose files they are; none: told by the files.")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option("--input", metavar="raw|unit", help="Rows that it takes; none: as its files say."),
    ] = None,
    others: Annotated[
        list[Path],
        typer.Option("--other", metavar="SAE", help="Another of its recipe, of another seed; repeat."),
    ] = [],  # noqa: B006
    changes: Set = [],  # noqa: B006
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Judge an SAE that others trained: features, controls, names, causes, transfer, verdict and report."""
    from moodlens.cli.target import imported_study
    from moodlens.pipeline.run import run as run_study
    from moodlens.pipeline.stages.report import run_summary
    from moodlens.settings.base import validate
    from moodlens.settings.imported import ImportSettings

    columns = (text_column, label_column, group_column)
    given = {"path": str(sae), "library": library, "input": scale, "others": [str(other) for other in others]}
    settings = imported_study(
        validate(ImportSettings, given, str(sae)), out, texts, columns, encoder, changes
    )
    with progress_bars(as_json) as progress:
        done = run_study(settings, out, force=force, progress=progress)
    value, lines = run_summary(done)
    emit(value, as_json, lines)
