"""The verb that ranks a study's features by what they do to a generator, without a clip."""

from pathlib import Path
from typing import Annotated

import typer

from moodlens.cli.options import Device, Json, app
from moodlens.cli.output import emit, progress_bars
from moodlens.cli.streams import complain
from moodlens.core.errors import BadInput
from moodlens.core.lines import table


@app.command()
def rank(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    clips: Annotated[
        list[str],
        typer.Option(
            "--clips",
            metavar="[EMOTION=]DIR",
            help="Folder of sound files on which the generator's predictions are compared (MusicGen: of tokens; Stable Audio: "
            "of noise); may be repeated, for clips of several emotions.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model", help="MusicGen or Stable Audio checkpoint whose text encoder is the study's."
        ),
    ] = "facebook/musicgen-small",
    top: Annotated[
        int, typer.Option("--top", min=1, max=1_000_000, help="Features measured exactly and shown.")
    ] = 50,
    every: Annotated[
        bool, typer.Option("--all", help="Rank every live feature, not only emotion features.")
    ] = False,
    seconds: Annotated[float, typer.Option("--seconds", help="Read from the start of each clip.")] = 2.0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Rank features by how much they change a generator's predictions, beside random directions, without making any music."""
    from moodlens.pipeline.opened import OpenStudy
    from moodlens.pipeline.rank import rank_study_features
    from moodlens.pipeline.target import records

    folders: dict[str, Path] = {}
    for given in clips:
        emotion, _, folder = ("", "", given) if Path(given).exists() else given.rpartition("=")
        if emotion in folders:
            raise BadInput(
                f"--clips {given}: a second folder of {emotion or 'no emotion'}; put them into one"
            )
        folders[emotion] = Path(folder)
    study = OpenStudy.open(source)
    with progress_bars(as_json) as progress:
        frame = rank_study_features(
            study, folders, model, top=top, every=every, seconds=seconds, device=device, progress=progress
        )
    rows = records(frame)
    strength = "kl" if "kl" in frame.columns else "shift"
    gains = [
        name
        for name in frame.columns
        if name.startswith("gain_") and not name.endswith(("_random_p", "_random_p95"))
    ]
    shown = ["rank", "feature", "emotion", "name", strength, "random_p"]
    shown += [column for name in gains for column in (name, f"{name}_random_p")]
    bars = [
        f"{strength} {rows[0]['random_p95']:.4g}",
        *(f"{n} {rows[0][f'{n}_random_p95']:.4g}" for n in gains),
    ]
    beside = f"random directions of the same length, 95th percentile: {', '.join(bars)}"
    if gains and not any(row[name] for row in rows for name in gains):
        complain(
            "rank: every gain is 0: to this generator the clips of all emotions are the same; give other clips"
        )
    emit(
        {"features": rows},
        as_json,
        [*table(shown, [[row.get(n) for n in shown] for row in rows]), "", beside],
    )
