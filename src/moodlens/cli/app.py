"""The verbs. Each parses its options, calls one function and prints what it returned."""

from pathlib import Path
from typing import Annotated

import typer

from moodlens.cli.output import emit, progress_bars

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find emotion features in the text embeddings that drive text-to-music models, prove that they are real, "
    "and steer music with them.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Set = Annotated[
    list[str], typer.Option("--set", metavar="NAME=VALUE", help="Change a setting, e.g. sae.k=16.")
]
Force = Annotated[bool, typer.Option("--force", help="Run again although nothing has changed.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Study folder to make, if DATA is not one.")
]
TextColumn = Annotated[
    str | None, typer.Option("--text-column", help="Column with the text, if DATA is a table.")
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="Column with the emotion, if there is one.")
]
GroupColumn = Annotated[
    str | None, typer.Option("--group-column", help="Column that must not straddle a split.")
]
Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A study folder; or, with --out, a study file, a table of texts, or a folder with embeddings.npy.",
    ),
]


@app.callback(invoke_without_command=True)
def _top(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        import moodlens

        print(moodlens.__version__)
        raise typer.Exit


@app.command()
def run(
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY.yaml]", help="None: the quickstart.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The study folder.")] = ...,  # type: ignore[assignment]
    changes: Set = [],  # noqa: B006
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run a whole study: prompts to verdict and report."""
    from moodlens.cli.summaries import run_summary
    from moodlens.study import read_study
    from moodlens.study import run as run_study

    settings = read_study(study, changes)
    with progress_bars(as_json) as progress:
        folder = run_study(settings, out, force=force, progress=progress)
    value, lines = run_summary(folder)
    emit(value, as_json, lines)


def _stage(
    stage: str,
    data: Path,
    out: Path | None,
    changes: list[str],
    force: bool,
    as_json: bool,
    columns: tuple[str | None, str | None, str | None] = (None, None, None),
) -> None:
    from moodlens.cli.summaries import SUMMARIES
    from moodlens.cli.target import study_for
    from moodlens.study import run as run_study

    settings, folder_path = study_for(data, out, changes, *columns)
    with progress_bars(as_json) as progress:
        folder = run_study(settings, folder_path, until=stage, force=force, progress=progress)
    value, lines = SUMMARIES[stage](folder)
    emit(value, as_json, lines)


def _stage_verb(stage: str, text: str) -> None:
    def verb(
        data: Data,
        out: Out = None,
        text_column: TextColumn = None,
        label_column: LabelColumn = None,
        group_column: GroupColumn = None,
        changes: Set = [],  # noqa: B006
        force: Force = False,
        as_json: Json = False,
    ) -> None:
        _stage(stage, data, out, changes, force, as_json, (text_column, label_column, group_column))

    app.command(name=stage, help=f"{text} Runs what it needs first; skips what has not changed.")(verb)


for _name, _text in {
    "prompts": "Make or read the prompts and split them by group.",
    "embed": "Encode the prompts into the embedding store.",
    "probe": "Phase 0: is the emotion in the embeddings at all?",
    "sweep": "Train SAEs over a grid of settings and choose one.",
    "train": "Train the chosen SAE and its twins with other seeds.",
    "features": "Find emotion features: choose on train and val, judge on test.",
    "stability": "Which features reappear in SAEs of other seeds?",
    "names": "Name the emotion features and test the names on held-out text.",
    "causal": "Clamp, transplant and keep features, and read what moves.",
    "report": "Verdict, figures, report.html and report.md.",
}.items():
    _stage_verb(_name, _text)


@app.command()
def transfer(
    data: Data,
    texts: Annotated[
        Path | None,
        typer.Argument(
            metavar="[TEXTS]", help="Labelled texts to judge the features on; kept in study.yaml."
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
    from moodlens.cli.summaries import SUMMARIES
    from moodlens.cli.target import study_for, with_texts
    from moodlens.study import run as run_study

    settings, folder_path = study_for(data, out, changes)
    if texts is not None:
        settings = with_texts(settings, texts, text_column, label_column, group_column)
    with progress_bars(as_json) as progress:
        folder = run_study(settings, folder_path, until="transfer", force=force, progress=progress)
    value, lines = SUMMARIES["transfer"](folder)
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
    from moodlens.study import StudyFolder
    from moodlens.study.scoring import score_table, write_scores

    folder = StudyFolder.open(study)
    table = text_table(texts, text_column, label_column, group_column)
    with progress_bars(as_json) as progress:
        scored = score_table(folder, table, progress=progress)
    if out is not None:
        write_scores(scored, out)
    emit(
        score_value(scored, folder.study.emotions, out),
        as_json,
        score_lines(scored, folder.study.emotions, out),
    )


@app.command()
def doctor(as_json: Json = False) -> None:
    """Versions, devices, and which encoders can be loaded here."""
    from moodlens.cli.doctor import examine

    value, lines = examine()
    emit(value, as_json, lines)
