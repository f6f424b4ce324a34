"""`moodlens explore`: a study as a web page, served or as one file."""

import os
import sys
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from moodlens.cli.options import Json, app
from moodlens.cli.output import emit, progress_bars


class Dtype(StrEnum):
    """As in the settings of steering."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


@app.command()
def explore(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FILE", help="Write one file that opens without a server, and end."),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", metavar="DIR", help="A study to lay beside it.")
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            "--generator",
            metavar="MODEL",
            help="Make clips in the page with this generator: hub name or folder. Its text encoder must be the study's.",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="Of the generator: auto (CUDA if there is one), cpu, cuda ...")
    ] = "auto",
    dtype: Annotated[Dtype, typer.Option("--dtype", help="What the generator computes in.")] = Dtype.float32,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 is any that is free.")
    ] = 0,
    allow_host: Annotated[
        list[str],
        typer.Option(
            "--allow-host", metavar="NAME", help="A name that browsers may call it by; may be repeated."
        ),
    ] = [],  # noqa: B006
    open_browser: Annotated[
        bool | None,
        typer.Option("--open/--no-open", help="Open a browser; by default where there is a screen."),
    ] = None,
    limit: Annotated[
        float,
        typer.Option(
            "--limit", metavar="MB", min=0.5, max=1000, help="Largest file that --export may write."
        ),
    ] = 4.0,
    as_json: Json = False,
) -> None:
    """See the features, question them, believe them: a web page, served on this machine or written as one file."""
    from moodlens.core.errors import BadInput
    from moodlens.explore.explored import Explored
    from moodlens.explore.page import built_page

    if export is None and find_spec("fastapi") is None:
        raise BadInput(
            "moodlens explore: a served page needs FastAPI: pip install 'moodlens[explore]' (--export FILE works without)"
        )
    if export is not None and generator is not None:
        raise BadInput("--generator: an exported file makes no clips; leave it out, or leave out --export")
    html = built_page()
    explored = Explored(study)
    other = None if compare is None else Explored(compare)
    if export is not None:
        from moodlens.explore.export import write_page

        with progress_bars(as_json) as progress:
            done = write_page(explored, export, html, other=other, limit=limit, progress=progress)
        value = {"file": str(done.path), "bytes": done.size, "left_out": done.left_out or None}
        emit(
            value,
            as_json,
            [
                f"{done.path}: {done.size / 1e6:.1f} MB",
                *([f"left out: {done.left_out}"] if done.left_out else []),
            ],
        )
        return
    from moodlens.explore.server import explorer_app, listen, serve, warm

    listener = listen(host, port)
    studio = None
    if generator is not None:
        from moodlens.explore.generator import load_generator
        from moodlens.explore.studio import Studio

        studio = Studio(explored, load_generator(explored, generator, device=device, dtype=dtype.value))
    shown = "127.0.0.1" if host in ("", "0.0.0.0", "::") else host
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{listener.getsockname()[1]}/"
    application = explorer_app(explored, html, other=other, studio=studio, hosts=(host, *allow_host))
    emit({"url": url, "study": str(study)}, as_json, [f"{study}: {url} (Ctrl-C ends it)"])
    sys.stdout.flush()
    warm(explored)
    if open_browser or (open_browser is None and _has_screen()):
        import webbrowser

        webbrowser.open(url)
    try:
        serve(application, listener)
    finally:
        if studio is not None:
            studio.close()


def _has_screen() -> bool:
    if not sys.stdout.isatty():
        return False
    return sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
