"""The verbs that make and judge music."""

from pathlib import Path
from typing import Annotated, Any

import typer

from moodlens.cli.options import Json, app
from moodlens.cli.output import describe, emit, progress_bars, table

Model = Annotated[str | None, typer.Option("--model", help="MusicGen checkpoint: hub name or folder.")]
ClapName = Annotated[
    str | None,
    typer.Option("--clap", metavar="NAME", help="CLAP checkpoint (laion/clap-htsat-unfused, or a folder)."),
]
Acoustics = Annotated[
    bool, typer.Option("--acoustics/--no-acoustics", help="Tempo, key, loudness, brightness, onsets.")
]


@app.command()
def steer(
    source: Annotated[
        Path, typer.Argument(metavar="DIR", help="A study folder, or a folder of saved directions.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where the clips go; none: DIR/steer, for the report."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", metavar="FILE", help="A study file with a steer: section; none: DIR's."),
    ] = None,
    model: Model = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", metavar="FILE", help="Prompts to steer, one a line.")
    ] = None,
    emotion: Annotated[
        list[str], typer.Option("--emotion", help="Steer towards this; may be repeated.")
    ] = [],  # noqa: B006
    method: Annotated[list[str], typer.Option("--method", help="Use this method; may be repeated.")] = [],  # noqa: B006
    control: Annotated[list[str], typer.Option("--control", help="Use this control; may be repeated.")] = [],  # noqa: B006
    coefficient: Annotated[
        list[float],
        typer.Option("--coefficient", help="Strength in difference-in-means norms; may be repeated."),
    ] = [],  # noqa: B006
    seed: Annotated[list[int], typer.Option("--seed", help="Of the draws; may be repeated.")] = [],  # noqa: B006
    seconds: Annotated[float | None, typer.Option("--seconds", help="Length of a clip.")] = None,
    clap: ClapName = None,
    acoustics: Acoustics = True,
    judge: Annotated[
        bool, typer.Option("--judge/--no-judge", help="Score the clips when they are made.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Generate music with the study's features added to MusicGen's conditioning, beside every baseline."""
    from moodlens.judge.results import judge_run, result_lines
    from moodlens.settings.steer import read_prompts, read_steer_settings
    from moodlens.steer import run_steer

    where = settings if settings is not None else source if (source / "study.yaml").is_file() else None
    chosen = read_steer_settings(
        where,
        model=model,
        prompts=None if prompts is None else read_prompts(prompts),
        emotions=tuple(emotion) or None,
        methods=tuple(method) or None,
        controls=tuple(control) or None,
        coefficients=tuple(coefficient) or None,
        seeds=tuple(seed) or None,
        seconds=seconds,
    )
    out = source / "steer" if out is None else out
    with progress_bars(as_json) as progress:
        made = run_steer(source, out, chosen, progress)
        results = judge_run(out, clap=clap, acoustics=acoustics, progress=progress) if judge else None
    value = made.summary() | ({} if results is None else {"results": results})
    emit(
        value,
        as_json,
        [*describe(made.summary()), *([] if results is None else ["", *result_lines(results)])],
    )


@app.command()
def judge(
    clips: Annotated[Path, typer.Argument(metavar="DIR", help="A steering run, or any folder of WAV files.")],
    clap: ClapName = None,
    emotion: Annotated[
        list[str], typer.Option("--emotion", help="Emotions CLAP chooses from, for a folder of WAV files.")
    ] = ["happy", "sad", "calm", "energetic"],  # noqa: B006
    acoustics: Acoustics = True,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Scores of a folder of WAV files, as .csv or .parquet."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Score clips: acoustics, CLAP. Of a steering run it also writes the result table."""
    from moodlens.cli.summaries import records
    from moodlens.judge.results import judge_run, result_lines
    from moodlens.pipeline.score import write_frame

    if (clips / "run.json").is_file():
        with progress_bars(as_json) as progress:
            results = judge_run(clips, clap=clap, acoustics=acoustics, progress=progress)
        emit(results, as_json, result_lines(results))
        return
    from moodlens.judge import AcousticScore, Clap, ClapScore, score_folder

    scores: list[Any] = [AcousticScore()] if acoustics else []
    if clap is not None:
        scores.append(ClapScore(Clap.load(clap), tuple(emotion)))
    with progress_bars(as_json) as progress:
        frame = score_folder(clips, scores, progress=progress)
    if out is not None:
        write_frame(frame, out)
    rows = records(frame)
    shown = [name for name in frame.columns if any(row[name] is not None for row in rows)]
    emit({"clips": rows}, as_json, table(shown, [[row[name] for name in shown] for row in rows]))


@app.command()
def rank(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    clips: Annotated[
        Path, typer.Option("--clips", metavar="DIR", help="WAV files whose likelihood is asked for.")
    ],
    model: Annotated[str, typer.Option("--model", help="MusicGen checkpoint.")] = "facebook/musicgen-small",
    top: Annotated[int, typer.Option("--top", min=1, help="Features measured exactly and shown.")] = 50,
    every: Annotated[
        bool, typer.Option("--all", help="Rank every live feature, not only emotion features.")
    ] = False,
    seconds: Annotated[float, typer.Option("--seconds", help="Read from the start of each clip.")] = 2.0,
    as_json: Json = False,
) -> None:
    """Rank features by how much they change MusicGen's predictions, without sampling any music."""
    from moodlens.cli.summaries import records
    from moodlens.pipeline.rank import rank_study_features
    from moodlens.study.study import Study

    folder = Study.open(source)
    with progress_bars(as_json) as progress:
        frame = rank_study_features(
            folder, clips, model, top=top, every=every, seconds=seconds, progress=progress
        )
    rows = records(frame)
    shown = ["rank", "feature", "emotion", "name", "kl"]
    emit({"features": rows}, as_json, table(shown, [[row.get(name) for name in shown] for row in rows]))


@app.command()
def listen(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A steering run; or, with --answers, the folder of a listening test."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where the listening test goes.")
    ] = None,
    answers: Annotated[
        list[Path],
        typer.Option("--answers", metavar="FILE", help="Answers a listener sent back; may be repeated."),
    ] = [],  # noqa: B006
    coefficient: Annotated[float, typer.Option("--coefficient", help="Strength of the steered clips.")] = 1.0,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Trials for each method and emotion.")] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the pairs, their order and sides.")] = 0,
    as_json: Json = False,
) -> None:
    """Make a blind listening test from a steering run, or analyse the answers that came back."""
    from moodlens.core import BadInput
    from moodlens.judge.answers import analyse_answers
    from moodlens.judge.listen import ListenSettings, make_listening_test

    if answers:
        found = analyse_answers(answers, source)
        columns = ["method", "emotion", "n", "share", "ci", "p", "q"]
        rows = [[cell.get(name) for name in columns] for cell in found["cells"]]
        head = f"{found['n_listeners']} listeners, {found['n_answers']} answers; chance is 0.5"
        emit(found, as_json, [head, *table(columns, rows)])
        return
    if out is None:
        raise BadInput(f"{source}: say where the listening test goes with --out DIR, or give --answers")
    settings = ListenSettings(coefficient=coefficient, pairs=pairs, seed=seed)
    value = make_listening_test(source, out, settings).summary()
    lines = [*describe(value), "", "send listeners the page alone; the key says which clip is which: keep it"]
    emit(value, as_json, lines)
