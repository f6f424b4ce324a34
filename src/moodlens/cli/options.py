"""The command line's one Typer app, and the options that several verbs share."""

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Find emotion features in the text embeddings that drive text-to-music models, prove that they are real, "
    "and steer music with them.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def _changes(example: str) -> Any:
    return typer.Option("--set", metavar="NAME=VALUE", help=f"Change a setting, e.g. {example}.")


Set = Annotated[list[str], _changes("sae.k=16")]
SteerSet = Annotated[list[str], _changes("directions.n_matched=40")]
JudgeSet = Annotated[list[str], _changes("readout=acoustic, of a run")]
"""What a verb's settings are differs, and an example that it refuses helps nobody."""
Device = Annotated[str, typer.Option("--device", help="auto (CUDA if there is one), cpu, cuda ...")]
Force = Annotated[bool, typer.Option("--force", help="Run again although nothing has changed.")]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do the I-th of N shares of the work and no more, beside the other jobs.",
    ),
]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Study folder to make, if DATA is not one.")
]
TextColumn = Annotated[
    str | None, typer.Option("--text-column", help="Column with the text, if DATA is a table.")
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="Column with the emotion, if there is one.")
]
GroupColumn = Annotated[
    str | None, typer.Option("--group-column", help="Column that must not straddle a split.")
]
Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        help="A study folder; or, with --out, a study file, a table of texts, or a folder with embeddings.npy.",
    ),
]
