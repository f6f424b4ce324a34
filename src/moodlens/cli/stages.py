"""The whole study, and a verb for each stage, made from the stages themselves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moodlens.cli.options import Data, Force, GroupColumn, Json, LabelColumn, Out, Set, Shard, TextColumn, app
from moodlens.cli.output import emit, progress_bars
from moodlens.cli.streams import complain, say
from moodlens.pipeline.flow import FLOW

if TYPE_CHECKING:
    from moodlens.settings.study import Settings


@app.callback(invoke_without_command=True)
def _top(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        import moodlens

        say([moodlens.__version__])
        raise typer.Exit
    if context.invoked_subcommand is None:
        say(context.get_help().split("\n"))


@app.command()
def run(
    study: Annotated[Path | None, typer.Argument(metavar="STUDY.yaml", help="None: the quickstart.")] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The study folder.")] = ...,  # type: ignore[assignment]
    changes: Set = [],  # noqa: B006
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run a whole study: prompts to verdict and report."""
    from moodlens.pipeline.run import run as run_study
    from moodlens.pipeline.stages.report import run_summary
    from moodlens.settings.study import read_study

    settings = read_study(study, changes)
    with progress_bars(as_json) as progress:
        done = run_study(settings, out, force=force, progress=progress)
    value, lines = run_summary(done)
    emit(value, as_json, lines)


def run_stage(
    stage: str,
    data: Path,
    out: Path | None,
    changes: list[str],
    force: bool,
    as_json: bool,
    columns: tuple[str | None, str | None, str | None] = (None, None, None),
) -> None:
    """Run a study up to ``stage`` and print what that stage says."""
    from moodlens.cli.target import embeddings_alone, study_for
    from moodlens.pipeline.outdated import finished
    from moodlens.pipeline.run import run as run_study
    from moodlens.pipeline.stages import STAGES

    if stage == "probe":
        alone = embeddings_alone(data, out, changes, columns)
        if alone is not None:
            from moodlens.pipeline.stages.embedding import phase0_lines, probe_precomputed

            value, lines = phase0_lines(probe_precomputed(alone))
            emit(value, as_json, lines)
            return
    settings, folder = study_for(data, out, changes, *columns)
    before = finished(folder)
    with progress_bars(as_json) as progress:
        study = run_study(settings, folder, until=stage, force=force, progress=progress)
    value, lines = next(each for each in STAGES if each.name == stage).summary(study)
    emit(value, as_json, lines)
    warn_outdated(folder, before)


def warn_outdated(folder: Path, before: frozenset[str]) -> None:
    """Say on standard error which of the stages that were finished ``before`` no longer hold, if any."""
    from moodlens.pipeline.outdated import outdated_line

    line = outdated_line(folder, before)
    if line is not None:
        complain(line)


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
        run_stage(stage, data, out, changes, force, as_json, (text_column, label_column, group_column))

    app.command(name=stage, help=f"{text} Runs what it needs first; skips what has not changed.")(verb)


def _shared_verb(stage: str, text: str) -> None:
    def verb(
        data: Data,
        out: Out = None,
        shard: Shard = None,
        text_column: TextColumn = None,
        label_column: LabelColumn = None,
        group_column: GroupColumn = None,
        changes: Set = [],  # noqa: B006
        force: Force = False,
        as_json: Json = False,
    ) -> None:
        columns = text_column, label_column, group_column
        if shard is None:
            run_stage(stage, data, out, changes, force, as_json, columns)
        else:
            from moodlens.cli.target import study_for

            _run_share(stage, shard, *study_for(data, out, changes, *columns), as_json)

    app.command(name=stage, help=f"{text} Runs what it needs first; skips what has not changed.")(verb)


def _run_share(stage: str, shard: str, settings: "Settings", folder: Path, as_json: bool) -> None:
    from moodlens.pipeline.share import parse_share, run_share

    number, of = parse_share(shard)
    share = run_share(settings, folder, stage, number, of)
    if share is None:
        emit({"stage": stage, "shard": shard, "state": "done"}, as_json, [f"{stage} is done already"])
        return
    value = {"stage": stage, "shard": shard, "own": share.own, "ready": share.ready, "units": share.total}
    after = f"when all jobs have ended: moodlens {stage} {folder}"
    emit(value, as_json, [f"{stage}, job {number} of {of}: {share}", after])


for _name, (_module, _text) in FLOW.items():
    if _name in ("embed", "sweep", "train"):
        _shared_verb(_name, _text)
    elif _name != "transfer":  # takes texts of its own (moodlens.cli.texts)
        _stage_verb(_name, _text)


@app.command()
def verify(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")], as_json: Json = False
) -> None:
    """Check the content of every file of a study against what its stage wrote, and say which stages stand."""
    from moodlens.core.errors import BadInput
    from moodlens.core.lines import table
    from moodlens.pipeline.opened import stage_states

    states = stage_states(study, deep=True)
    faults = {file: fault for each in states.values() for file, fault in each.faults.items()}
    value = {
        "study": str(study),
        "stages": {name: each.state for name, each in states.items()},
        "faults": faults,
        "whole": not faults,
    }
    emit(value, as_json, table(["stage", "state"], [[name, each.state] for name, each in states.items()]))
    if faults:
        listed = "; ".join(f"{file}: {fault}" for file, fault in sorted(faults.items())[:5])
        raise BadInput(
            f"{study}: {len(faults)} files are not as they were written ({listed}); the stage's verb mends it"
        )


@app.command()
def doctor(as_json: Json = False) -> None:
    """Versions, devices, and which encoders can be loaded here."""
    from moodlens.cli.doctor import examine

    value, lines = examine()
    emit(value, as_json, lines)
