"""`moodlens push` and `moodlens pull`: SAEs and directions on the model hub."""

from pathlib import Path
from typing import Annotated

import typer

from moodlens.cli.options import Json, app
from moodlens.cli.output import emit, progress_bars
from moodlens.core.errors import BadInput


@app.command()
def push(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    repo: Annotated[
        str | None, typer.Argument(metavar="[USER/REPO]", help="Where on the hub; it is made if need be.")
    ] = None,
    directions_only: Annotated[
        bool, typer.Option("--directions-only", help="Only the directions, without SAE, report and page.")
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="A new repository is private.")] = False,
    license_id: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="Of what is shared, e.g. apache-2.0.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Write the repository into a new folder instead of pushing."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Push a study's SAE and directions to the model hub, with a card that carries the verdict and its controls."""
    from moodlens.hub.bundle import bundle
    from moodlens.hub.client import push as push_study
    from moodlens.hub.names import Place, place
    from moodlens.pipeline.opened import OpenStudy

    if (repo is None) == (out is None):
        raise BadInput("push: say where to, USER/REPO on the hub or --out DIR, and only one of them")
    where = place(repo) if repo is not None else None
    opened = OpenStudy.open(study)
    with progress_bars(as_json) as progress:
        if out is not None:
            _new(out)
            shared = bundle(
                opened,
                out,
                repo="USER/REPO",
                sae=not directions_only,
                license_id=license_id,
                progress=progress,
            )
            value = {"folder": str(out), "files": list(shared.files)}
            lines = [f"{out}: {len(shared.files) + 1} files"]
        else:
            assert isinstance(where, Place)
            done = push_study(
                opened,
                where,
                sae=not directions_only,
                private=private,
                license_id=license_id,
                progress=progress,
            )
            shared = done.shared
            value = {
                "repository": done.repo,
                "revision": done.revision,
                "url": done.url,
                "files": list(shared.files),
            }
            lines = [f"pushed {len(shared.files) + 1} files: hub:{done.repo}@{done.revision}", done.url]
    lines += _remarks(shared.encoder, shared.go)
    emit(value, as_json, lines)


def _new(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: exists already and is not empty; choose a new folder")


def _remarks(encoder: str, go: bool | None) -> list[str]:
    lines = []
    if encoder.partition(":")[2].startswith(("/", "~", ".")):
        lines.append(
            f"the encoder is a folder of this machine ({encoder}): say in the card where others find it"
        )
    if not go:
        lines.append("the card says that this was not judged" if go is None else "the card says NO-GO")
    return lines


@app.command()
def pull(
    repo: Annotated[
        str, typer.Argument(metavar="USER/REPO[@REVISION]", help="What moodlens push made, by anyone.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")] = ...,  # type: ignore[assignment]
    pages: Annotated[
        bool, typer.Option("--pages", help="Also its HTML pages, which run in your browser when opened.")
    ] = False,
    limit: Annotated[
        float, typer.Option("--limit", metavar="GB", min=0.001, help="Largest size of all files.")
    ] = 4.0,
    as_json: Json = False,
) -> None:
    """Pull an SAE and directions from the model hub; every file is checked, and none is run."""
    from moodlens.hub.client import pull as pull_repo
    from moodlens.hub.names import place

    with progress_bars(as_json) as progress:
        done = pull_repo(place(repo), out, pages=pages, limit=limit, progress=progress)
    value = {"folder": str(out), **done.model_dump(exclude={"version"})}
    lines = [f"{out}: hub:{done.repository}@{done.revision}"]
    if done.left_out:
        lines.append(f"left out: {', '.join(done.left_out)} (--pages fetches them)")
    emit(value, as_json, lines)
