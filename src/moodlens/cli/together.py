"""The verb that lays two generators side by side."""

from pathlib import Path
from typing import Annotated

import typer

from moodlens.cli.options import Json, app
from moodlens.cli.output import emit
from moodlens.core.errors import BadInput
from moodlens.core.lines import table

ENDINGS = (".png", ".svg", ".pdf")


@app.command()
def together(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN", help="Two judged steering runs.")],
    readout: Annotated[
        str | None, typer.Option("--readout", metavar="NAME", help="clap, musicnn, acoustic ...")
    ] = None,
    coefficient: Annotated[
        list[float], typer.Option("--coefficient", help="Of each run, in their order; none: 1.")
    ] = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The figure, as .png, .svg or .pdf.")
    ] = None,
    as_json: Json = False,
) -> None:
    """One direction, two generators: which effects do both show?"""
    from moodlens.judge.together import compare_runs

    if out is not None and (out.suffix.lower() not in ENDINGS or not out.parent.is_dir()):
        raise BadInput(f"{out}: name a file that ends in {', '.join(ENDINGS)}, in a folder that is there")
    compared = compare_runs(runs, readout=readout, coefficients=coefficient)
    if out is not None:
        from moodlens.report.together import draw_together

        draw_together(compared, out)
    told = [row for row in compared.rows if row.p is not None]
    head = f"{compared.models[0]} and {compared.models[1]}, read by {compared.readout}; {compared.n_random} random directions beside"
    columns = ["direction", "emotion", "first", "second", "p_both", "q"]
    cells = [[r.direction, r.emotion, *r.effects, r.p_both, r.q] for r in told]
    alike = ", ".join(f"{e} {'-' if v is None else format(v, '.2f')}" for e, v in compared.agreement.items())
    lines = [head, *table(columns, cells), "", f"random directions move both alike (Spearman): {alike}"]
    emit(compared.model_dump(), as_json, lines)
