"""`moodlens listen`: a blind listening test, and what its answers say."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moodlens.cli.options import Json, app
from moodlens.cli.output import emit
from moodlens.cli.streams import complain
from moodlens.core.errors import BadInput
from moodlens.core.lines import describe, table

if TYPE_CHECKING:
    from moodlens.study.records.judge import ListeningResults


WHERE = {
    None: "send listeners the page alone",
    "jspsych": "the folder jspsych goes on a web server, or opens from a file",
    "webmushra": "the folder configs goes into webMUSHRA's own; its address ends with ?config=NAME.yaml",
}
"""What becomes of a test, by what it was exported to."""


@app.command()
def listen(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A steering run; or, with --answers, the folder of a listening test."
        ),
    ],
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="With --answers: more of them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the listening test goes.")
    ] = None,
    answers: Annotated[
        list[Path],
        typer.Option("--answers", metavar="FILE", help="Answers that listeners sent back; one or more."),
    ] = [],  # noqa: B006
    coefficient: Annotated[float, typer.Option("--coefficient", help="Strength of the steered clips.")] = 1.0,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="WHAT",
            help="What each clip is compared with: unsteered, random (directions), or a method, head to head; none: "
            "unsteered, or random where clips are then heard less often.",
        ),
    ] = None,
    method: Annotated[
        list[str],
        typer.Option("--method", help="Methods compared; may be repeated; none: all that the run has."),
    ] = [],  # noqa: B006
    emotion: Annotated[
        list[str],
        typer.Option("--emotion", help="Emotions asked for; may be repeated; none: all that the run has."),
    ] = [],  # noqa: B006
    pairs: Annotated[
        int, typer.Option("--pairs", min=1, max=1_000, help="Trials for each method and emotion.")
    ] = 2,
    quality: Annotated[
        bool | None,
        typer.Option(
            "--quality/--no-quality",
            help="Also ask which of the two sounds better; none: where two methods meet head to head.",
        ),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(
            "--export", metavar="PROGRAM", help="Files for jspsych or webmushra, in place of the page."
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the pairs, their order and sides.")] = 0,
    as_json: Json = False,
) -> None:
    """Make a blind listening test from a steering run, or analyse the answers that came back."""
    from moodlens.judge.answers import analyse_answers
    from moodlens.judge.listen import make_listening_test
    from moodlens.settings.base import validate
    from moodlens.settings.judge import ListenSettings

    if answers:
        test, files = _test_and_answers([source, *(more or [])], answers)
        heard = analyse_answers(files, test)
        emit(heard.model_dump(), as_json, heard_lines(heard))
        return
    if more:
        raise BadInput(f"{more[0]}: one folder at a time; answers are given with --answers")
    if out is None:
        raise BadInput(f"{source}: say where the listening test goes with --out DIR, or give --answers")
    values = {"coefficient": coefficient, "pairs": pairs, "seed": seed, "against": against}
    values |= {"methods": method, "emotions": emotion, "quality": quality, "export": export}
    made = make_listening_test(source, out, validate(ListenSettings, values, "listen"))
    value, warning = made.summary(), made.warning()
    lines = [*describe(value), "", f"{WHERE[export]}; the key says which clip is which: keep it"]
    if warning:
        complain(f"listen: {warning}")
    emit(value, as_json, lines)


def heard_lines(heard: "ListeningResults") -> list[str]:
    """For a terminal: how often each method's clips were taken, and where it was asked, how often for the better music."""
    columns = ["method", "against", "emotion", "n", "share", "ci", "p", "q"]
    asked = any(cell.quality is not None for cell in heard.cells)
    quality = {"better": "share", "better_ci": "ci", "better_p": "p"} if asked else {}
    rows = []
    for cell in heard.cells:
        better = [None if cell.quality is None else getattr(cell.quality, name) for name in quality.values()]
        rows.append([*(getattr(cell, name) for name in columns), *better])
    undecided = f", {heard.n_undecided} undecided" if heard.n_undecided else ""
    head = f"{heard.n_listeners} listeners, {heard.n_answers} answers{undecided}; chance is 0.5"
    return [head, *table([*columns, *quality], rows)]


def _test_and_answers(places: list[Path], answers: list[Path]) -> tuple[Path, list[Path]]:
    """The test among the arguments, and the files: a shell writes ``--answers *.json`` as one option and more arguments."""
    from moodlens.study.records.judge import ListeningKey

    tests = [place for place in places if place.is_dir() or place.name == ListeningKey.file]
    if len(tests) != 1:
        raise BadInput(f"{places[0]}: name one listening test (the folder that holds {ListeningKey.file})")
    return tests[0], [*answers, *(place for place in places if place is not tests[0])]
