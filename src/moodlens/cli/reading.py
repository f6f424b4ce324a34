"""`moodlens inspect`: features laid out for a person, who may write down a reading."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from moodlens.cli.options import Json, app
from moodlens.cli.output import emit
from moodlens.cli.streams import write


@app.command()
def inspect(
    study: Annotated[Path, typer.Argument(metavar="DIR", help="A study folder.")],
    feature: Annotated[
        list[int], typer.Option("--feature", metavar="N", help="This feature; may be repeated.")
    ] = [],  # noqa: B006
    emotion: Annotated[
        str | None, typer.Option("--emotion", help="The top features of this emotion.")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, max=1_000_000, help="Features of each emotion.")] = 3,
    n: Annotated[int, typer.Option("-n", min=1, max=1_000_000, help="Prompts in each list.")] = 5,
    record: Annotated[
        bool, typer.Option("--record", help="Ask for a reading of each and keep it in notes.db.")
    ] = False,
    author: Annotated[str, typer.Option("--author", help="Whose readings these are.")] = os.environ.get(
        "USER", ""
    ),
    as_json: Json = False,
) -> None:
    """What fires a feature, what should and does not, its name, its neighbours; and a person's reading of it."""
    from moodlens.core.errors import BadInput
    from moodlens.features.inspect import render_inspect
    from moodlens.pipeline.opened import OpenStudy

    if record and as_json:
        raise BadInput("--record asks questions on the terminal; leave out --json")
    opened = OpenStudy.open(study)
    shown = opened.inspect(feature, emotion=emotion, top=top, n=n)
    if not record:
        lines = [line for feature in shown for line in (*render_inspect(feature), "")]
        emit({"features": [feature.model_dump() for feature in shown]}, as_json, lines[:-1])
        return
    kept: list[dict[str, Any]] = []
    for inspected in shown:
        emit({}, False, [*render_inspect(inspected), ""])
        answer = _ask(inspected.feature)
        if answer is None:
            break
        if answer:
            opened.record_reading(inspected.feature, author=author, **answer)
            kept.append({"feature": inspected.feature, **answer})
    emit({}, False, [f"{len(kept)} readings kept in {opened.notes.path}"])


def _ask(feature: int) -> dict[str, str] | None:
    """A reading from the terminal; {} to skip this feature, None to stop."""

    def line(question: str) -> str | None:
        write(question)
        typed = sys.stdin.readline()
        return typed.strip() if typed else None

    name = line(f"name for feature {feature} (Enter: skip, q: stop): ")
    if name is None or name == "q":
        return None
    if not name:
        return {}
    clarity = ""
    while clarity not in ("clear", "unclear"):
        typed = line("clear or unclear? [c/u]: ")
        if typed is None:
            return None
        clarity = {"c": "clear", "u": "unclear"}.get(typed.lower(), typed.lower())
    note = line("note (Enter: none): ")
    return {"name": name, "clarity": clarity, "note": note or ""}
