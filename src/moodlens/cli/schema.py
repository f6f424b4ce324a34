"""`moodlens schema`: what the files of a study, and the study file itself, may hold."""

import json
from typing import Annotated, Any

import typer

from moodlens.cli.options import Json, app
from moodlens.cli.output import emit

STUDY = "study.yaml"


@app.command()
def schema(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One file, such as verdict.json or study.yaml; none: all of them."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the JSON schema of every record, the columns of every table, and the settings of a study file."""
    from moodlens.core.errors import BadInput
    from moodlens.settings.base import nearest
    from moodlens.settings.study import Settings
    from moodlens.study.formats import json_schemas

    schemas: dict[str, Any] = {STUDY: Settings.model_json_schema(), **json_schemas()}
    if name is not None and name not in schemas:
        raise BadInput(f"schema {name}: no such file of a study{nearest(name, schemas)}")
    value = schemas if name is None else schemas[name]
    emit(value, as_json, json.dumps(value, indent=2, ensure_ascii=False).split("\n"))
