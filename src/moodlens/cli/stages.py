"""The whole study, and its stages one by one."""

from pathlib import Path
from typing import Annotated

import typer

from moodlens.cli.options import Data, Force, GroupColumn, Json, LabelColumn, Out, Set, TextColumn, app
from moodlens.cli.output import emit, progress_bars


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        import moodlens

        print(moodlens.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def run(
    study: Annotated[Path | None, typer.Argument(metavar="STUDY.yaml", help="None: the quickstart.")] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The study folder.")] = ...,  # type: ignore[assignment]
    changes: Set = [],  # noqa: B006
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run a whole study: prompts to verdict and report."""
    from moodlens.cli.summaries import run_summary
    from moodlens.pipeline.run import run as run_study
    from moodlens.settings.study import read_study

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
    from moodlens.pipeline.run import run as run_study

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
def probe(
    data: Data,
    out: Out = None,
    text_column: TextColumn = None,
    label_column: LabelColumn = None,
    group_column: GroupColumn = None,
    changes: Set = [],  # noqa: B006
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Phase 0: is the emotion in the embeddings at all? A folder with embeddings.npy needs no --out.

    Runs what it needs first; skips what has not changed.
    """
    from moodlens.cli.summaries import phase0
    from moodlens.cli.target import embeddings_alone
    from moodlens.pipeline.texts import probe_precomputed

    alone = embeddings_alone(data, out, changes)
    if alone is None:
        _stage("probe", data, out, changes, force, as_json, (text_column, label_column, group_column))
        return
    value, lines = phase0(probe_precomputed(alone))
    emit(value, as_json, lines)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Versions, devices, and which encoders can be loaded here."""
    from moodlens.cli.doctor import examine

    value, lines = examine()
    emit(value, as_json, lines)
