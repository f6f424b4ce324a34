"""The verbs that make and judge music."""

import inspect
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from moodlens.cli.options import Device, Json, JudgeSet, SteerSet, app
from moodlens.cli.output import emit, progress_bars
from moodlens.cli.streams import say
from moodlens.core.errors import BadInput
from moodlens.core.lines import describe, table
from moodlens.core.progress import Progress
from moodlens.settings.steer import DirectionSettings, SteerSettings

EMOTIONS = ("happy", "sad", "calm", "energetic")
"""What CLAP chooses from for sounds that are of no study."""

FLAGS: Mapping[str, tuple[str, Any]] = {
    "model": ("--model", str),
    "dtype": ("--dtype", str),
    "device": ("--device", str),
    "batch": ("--batch", str),
    "prompts": ("--prompts", Path),
    "emotions": ("--emotion", list[str]),
    "methods": ("--method", list[str]),
    "controls": ("--control", list[str]),
    "coefficients": ("--coefficient", list[float]),
    "control_coefficients": ("--control-coefficient", list[float]),
    "seeds": ("--seed", list[int]),
    "seconds": ("--seconds", float),
    "guidance": ("--guidance", float),
    "steps": ("--steps", int),
    "melody": ("--melody", str),
    "continue_from": ("--continue-from", str),
    "negative": ("--negative", str),
    "n_random": ("--n-random", int),
}
"""Settings of a steering run that have an option of their own: its name and type. Lists are given option by option."""

Flags = dict[str, Any]
"""What was given of :data:`FLAGS`; None where nothing was."""

CAN_BE_NONE = ("methods", "controls")
BESIDE = dict.fromkeys(CAN_BE_NONE, "; none: no such clips") | {"prompts": ": a file with one prompt a line"}
"""What an option says besides its setting's description."""

ClapName = Annotated[
    str | None,
    typer.Option("--clap", metavar="NAME", help="CLAP checkpoint (laion/clap-htsat-unfused, or a folder)."),
]
Acoustics = Annotated[
    bool, typer.Option("--acoustics/--no-acoustics", help="Tempo, key, loudness, brightness, onsets.")
]

Scorers = Annotated[
    list[str],
    typer.Option("--scorer", metavar="NAME", help="musicnn, or one of another package; may be repeated."),
]


def with_flags(verb: Callable[..., None]) -> Callable[..., None]:
    """Give ``verb`` an option for every one of :data:`FLAGS`; what they are for, the settings say."""
    fields = SteerSettings.model_fields | {"n_random": DirectionSettings.model_fields["n_random"]}

    def option(name: str) -> inspect.Parameter:
        flag, kind = FLAGS[name]
        text = f"{fields[name].description}{BESIDE.get(name, '')}."
        info = typer.Option(flag, help=text[0].upper() + text[1:])
        many = kind not in (str, float, int, Path)
        wanted = Annotated[kind, info] if many else Annotated[kind | None, info]
        return inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=[] if many else None, annotation=wanted
        )

    @wraps(verb)
    def run(**given: Any) -> None:
        flags = {name: given.pop(name) for name in FLAGS}
        verb(**given, flags=flags)

    signature = inspect.signature(verb)
    kept = [p.replace(kind=p.KEYWORD_ONLY) for p in signature.parameters.values() if p.name != "flags"]
    run.__dict__["__signature__"] = signature.replace(parameters=[*kept, *map(option, FLAGS)])
    return run


@app.command()
@with_flags
def steer(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A study folder, a folder of saved directions, or hub:USER/REPO[@REVISION].",
        ),
    ],
    flags: Flags,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where the clips go; none: DIR/steer, for the report."),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option("--settings", metavar="FILE", help="A study file with a steer: section; none: DIR's."),
    ] = None,
    changes: SteerSet = [],  # noqa: B006
    clap: ClapName = None,
    scorer: Scorers = [],  # noqa: B006
    acoustics: Acoustics = True,
    judge: Annotated[
        bool, typer.Option("--judge/--no-judge", help="Score the clips when they are made.")
    ] = True,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="I/N", help="Make every N-th clip alone, from the I-th on: one machine's part."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Generate music with the study's features added to a generator's text conditioning, beside every baseline."""
    from moodlens.judge.reach import Reach
    from moodlens.judge.results import check_judgeable, check_readout, judge_run, scorers
    from moodlens.judge.words import result_lines
    from moodlens.pipeline.opened import OpenStudy
    from moodlens.settings.steer import read_steer_settings
    from moodlens.steer.run import check_folder, read_prompts, run_steer, source_directions
    from moodlens.steer.shards import read_shard

    origin: tuple[str, ...] = ()
    if str(source).startswith("hub:"):
        if out is None:
            raise BadInput(f"{source}: say where the clips go with --out DIR")
        source, origin = directions_from_hub(str(source))
    where = settings if settings is not None else source if (source / "study.yaml").is_file() else None
    n_random = flags.pop("n_random")
    few = [] if n_random is None else [f"directions.n_random={n_random}"]
    given = {name: _chosen(name, value) for name, value in flags.items()}
    if given["prompts"] is not None:
        given["prompts"] = read_prompts(given["prompts"])
    chosen = read_steer_settings(where, [*few, *changes], **given)
    part = None if shard is None else read_shard(shard)
    judge = judge and part is None  # there are clips of other shards to wait for
    out = source / "steer" if out is None else out
    check_folder(out, source)
    study = OpenStudy.open(source) if (source / "study.yaml").is_file() else source
    directions = source_directions(study, chosen)
    directions = replace(directions, notes=(*directions.notes, *origin))
    scores, reach = None, None
    if judge:  # whatever the judge lacks is said before the first clip, not after the last
        check_judgeable(chosen, acoustics=acoustics)
        scores = scorers(
            directions.emotions, clap=clap, acoustics=acoustics, device=chosen.device, more=scorer
        )
        check_readout(chosen.judge.readout, scores, directions.emotions, chosen.seconds)
        reach = Reach.of(chosen, directions)
    with _alone_in(out), progress_bars(as_json) as progress:
        told = [] if reach is None or as_json else reach.lines()
        made = run_steer(directions, out, chosen, _after(told, progress), shard=part)
        results = None if scores is None else judge_run(out, scores, model=made.model, progress=progress)
    summary = made.summary() | ({} if reach is None else {"reach": reach.summary()})
    lines = [
        *describe(summary),
        *([] if part is None else ["", f"when all are there: moodlens merge RUN {out} ..."]),
    ]
    lines += [*([] if results is None else ["", *result_lines(results)])]
    emit(summary | ({} if results is None else {"results": results.model_dump()}), as_json, lines)


def directions_from_hub(text: str) -> tuple[Path, tuple[str, ...]]:
    """The checked directions of a repository, in the hub client's cache, and a note that names the commit."""
    from moodlens.hub.client import pulled_directions
    from moodlens.hub.names import place

    folder, at = pulled_directions(place(text))
    return folder, (f"directions of {at}",)


def _after(lines: list[str], progress: Progress) -> Progress:
    """``progress``, before whose first call the lines are said: nothing is wrong by then, and no clip is made yet."""

    def report(what: str, done: int, total: int) -> None:
        if lines:
            say([*lines, ""])
            lines.clear()
        progress(what, done, total)

    return report


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the whole run.")],
    shards: Annotated[
        list[Path], typer.Argument(metavar="SHARD...", help="Folders that `moodlens steer --shard` left.")
    ],
    as_json: Json = False,
) -> None:
    """Put the shards of a steering run together, as if one machine had made them all."""
    from moodlens.steer.shards import merge_shards

    with _alone_in(out), progress_bars(as_json) as progress:
        run = merge_shards(out, shards, progress)
    emit({"folder": str(out), "n_clips": len(run.clips), "notes": list(run.notes)}, as_json)


@contextmanager
def _alone_in(out: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if need be and goes again if nothing comes of it."""
    from moodlens.pipeline.transaction import LOCK, locked

    fresh = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out):
            yield
    finally:
        if fresh and set(os.listdir(out)) <= {LOCK}:
            shutil.rmtree(out)


def _chosen(setting: str, value: Any) -> Any:
    """What an option says: None where it was not given, and no method or control at all for ``none``."""
    if not isinstance(value, list):
        return value
    return () if value == ["none"] and setting in CAN_BE_NONE else tuple(value) or None


@app.command()
def judge(
    clips: Annotated[
        Path, typer.Argument(metavar="DIR", help="A steering run, or any folder of sound files.")
    ],
    clap: ClapName = None,
    scorer: Scorers = [],  # noqa: B006
    emotion: Annotated[
        list[str],
        typer.Option(
            "--emotion", help=f"CLAP chooses from these (none: {', '.join(EMOTIONS)}); not for a run."
        ),
    ] = [],  # noqa: B006
    acoustics: Acoustics = True,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Scores of a folder of sound files, as .csv or .parquet."),
    ] = None,
    changes: JudgeSet = [],  # noqa: B006
    change: Annotated[
        bool,
        typer.Option(
            "--change",
            help="Load a run's generator and measure how far each condition moves it, where that was not done: what methods "
            "are compared at.",
        ),
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Score clips: acoustics, CLAP, musicnn. Of a steering run it also writes the result table."""
    from moodlens.judge.clips import check_whole, is_run
    from moodlens.judge.results import judge_run, scorers
    from moodlens.judge.score import score_folder
    from moodlens.judge.words import result_lines
    from moodlens.pipeline.target import check_target, records, write_frame
    from moodlens.steer.run import run_directions, run_generator
    from moodlens.study.records.steer import SteerRun

    check_whole(clips)
    if is_run(clips):
        if emotion or out is not None:
            what = "--emotion" if emotion else "--out"
            raise BadInput(
                f"{clips}: is a steering run, which has its own emotions and files; leave out {what}"
            )
        with _alone_in(clips), progress_bars(as_json) as progress:
            settings = SteerRun.read(clips).settings.judge.changed(changes)
            emotions = run_directions(clips).emotions
            scores = scorers(emotions, clap=clap, acoustics=acoustics, device=device, more=scorer)
            model = run_generator(clips, device) if change else None
            results = judge_run(clips, scores, settings=settings, model=model, progress=progress)
        emit(results.model_dump(), as_json, result_lines(results))
        return
    if changes or change:
        what = "--set" if changes else "--change"
        raise BadInput(f"{clips}: {what} is for the results of a steering run, which this is not")
    if out is not None:
        check_target(out, clips)
    with progress_bars(as_json) as progress:
        scores = scorers(
            emotion or EMOTIONS, clap=clap, acoustics=acoustics, of_run=False, device=device, more=scorer
        )
        frame = score_folder(clips, scores, progress=progress)
    if out is not None:
        write_frame(frame, out)
    rows = records(frame)
    shown = [name for name in frame.columns if any(row[name] is not None for row in rows)]
    emit({"clips": rows}, as_json, table(shown, [[row[name] for name in shown] for row in rows]))
