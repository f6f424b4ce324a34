"""The verb that lists a run's clips for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from moodlens.cli.options import Json, app
from moodlens.cli.output import emit
from moodlens.core.lines import table


@app.command()
def manifest(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A steering run.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the lists go; a new folder.")],
    as_json: Json = False,
) -> None:
    """List a run's clips, all and by condition, for musegauge: Fréchet and kernel distances, aesthetics."""
    from moodlens.judge.manifest import write_manifests

    lists = write_manifests(run, out)
    lines = table(["list", "clips"], [[str(out / name), n] for name, n in lists.items()])
    emit({"out": str(out), "lists": lists}, as_json, lines)
