"""The result table of a steering run: every method at matched strength, beside chance and the trivial methods."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodlens.core import BadInput, Progress, read_table, silent, write_json
from moodlens.judge.effects import ACOUSTIC, Shifts, readouts
from moodlens.judge.hypotheses import HYPOTHESES
from moodlens.judge.judge import EDITING, Judge, ResultSettings

if TYPE_CHECKING:
    import polars as pl

RESULTS = "results.json"


def steer_results(
    scores: "pl.DataFrame", emotions: Sequence[str], settings: ResultSettings | None = None
) -> dict[str, Any]:
    """Judge scored clips. A pure function of the table of :func:`moodlens.judge.score_folder`.

    Returns:
        See docs/scores.md: ``rows``, ``controls``, ``dose``, ``specificity``, ``comparisons``, ``equal_change``,
        ``hypotheses``, ``distance``, ``statements`` and the settings used.

    Raises:
        BadInput: there is no readout, no unsteered clip, or no strength that all methods share.
    """
    s = settings or ResultSettings()
    emotions = tuple(emotions)
    acoustic = [m for m in {m: 0 for signs in HYPOTHESES.values() for m in signs} if m in scores.columns]
    found = readouts(scores, emotions)
    columns = [*(c for by in found.values() for c in by.values()), *acoustic]
    shifts = Shifts.of_clips(scores, columns).with_acoustics(scores, emotions)
    own = {e: f"{ACOUSTIC}_{e}" for e in emotions if f"{ACOUSTIC}_{e}" in shifts.frame.columns}
    if own:
        found[ACOUSTIC] = own
    if not found:
        raise BadInput(
            "results: no score has a column for every emotion; score the clips with CLAP or acoustics"
        )
    judge = Judge(scores, shifts, emotions, found, s)
    rows, controls = judge.rows()
    out: dict[str, Any] = {
        "settings": s.model_dump(),
        "emotions": emotions,
        "readouts": {name: list(by) for name, by in found.items()},
        "coefficient": judge.coefficient,
        "n_prompts": len(shifts.prompts),
        "n_seeds": scores["seed"].n_unique(),
        "n_clips": scores.height,
        "rows": rows,
        "controls": controls,
        "dose": judge.dose(),
        "specificity": judge.specificity(),
        "comparisons": judge.comparisons(),
        "equal_change": judge.equal_change(),
        "hypotheses": judge.hypotheses() if own else [],
        "distance": judge.distance(),
    }
    return out | {"statements": statements(out)}


def write_results(
    out: Path | str, emotions: Sequence[str], settings: ResultSettings | None = None
) -> dict[str, Any]:
    """Judge ``out/scores.parquet`` and write ``out/results.json``.

    Raises:
        BadInput: the clips are not scored, or cannot be judged.
    """
    from moodlens.judge.score import SCORES

    results = steer_results(read_table(Path(out) / SCORES), emotions, settings)
    write_json(Path(out) / RESULTS, results)
    return results


def judge_run(
    out: Path | str,
    *,
    clap: str | None,
    acoustics: bool = True,
    settings: ResultSettings | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Score the clips of a steering run and judge them: ``out/scores.parquet`` and ``out/results.json``.

    Args:
        out: folder of the run.
        clap: checkpoint (hub name or folder); None leaves CLAP and preservation out.
        acoustics: measure tempo, key, loudness and the like, which needs the extra ``audio``.

    Raises:
        BadInput: no score is asked for, a checkpoint is collapsed or absent, or the run is not whole.
    """
    from moodlens.judge import AcousticScore, Clap, ClapScore, PreservationScore, score_run
    from moodlens.steer.run import run_directions

    emotions = run_directions(out).emotions
    scores: list[Any] = [AcousticScore()] if acoustics else []
    if clap is not None:
        judge = Clap.load(clap)
        scores += [ClapScore(judge, emotions), PreservationScore(judge)]
    score_run(out, scores, progress=progress)
    return write_results(out, emotions, settings)


def statements(results: dict[str, Any]) -> list[str]:
    """What the tables say, one sentence each, losses of the SAE first."""
    lines = []
    for row in sorted(results["comparisons"], key=lambda r: r["difference"]):
        c = "" if row["coefficient"] is None else f" at coefficient {row['coefficient']:g}"
        ci = "" if row["ci"] is None else f" [{row['ci'][0]:+.3f}, {row['ci'][1]:+.3f}]"
        names = {"method": row["method"], "baseline": row["baseline"]}
        ahead = names.get(row["ahead"])
        figures = (
            f"{row['method']} {row['effect']:+.3f}, {row['baseline']} {row['baseline_effect']:+.3f}{c}, difference "
            f"{row['difference']:+.3f}{ci}, q = {row['q']:.2g}, {row['n_prompts']} prompts"
        )
        if ahead is None:
            lines.append(f"{row['readout']}: {row['method']} and {row['baseline']} do the same ({figures}).")
            continue
        other = names["baseline" if row["ahead"] == "method" else "method"]
        verb = "beats" if row["winner"] else "is ahead of"
        rest = "" if row["winner"] else "; the difference is within chance"
        lines.append(f"{row['readout']}: {ahead} {verb} {other} ({figures}){rest}.")
    for readout in results["readouts"]:
        rows = [
            r for r in results["rows"] if r["readout"] == readout and _compared(r, results["coefficient"])
        ]
        if not rows:
            continue
        moved = [f"{r['method']} towards {r['emotion']}" for r in rows if r["moved"]]
        what = ", ".join(moved) if moved else "nothing"
        beside = (
            "" if any(r["random_p"] is not None for r in rows) else " (no random directions to compare with)"
        )
        lines.append(f"{readout}: beyond chance and beyond random directions moved: {what}{beside}.")
    least = 2.0 ** -results["n_prompts"]
    if least > results["settings"]["alpha"]:
        lines.append(
            f"{results['n_prompts']} prompts cannot give a p below {least:.2g}: nothing can reach "
            f"{results['settings']['alpha']:g}; use more prompts."
        )
    return lines


def _compared(row: dict[str, Any], coefficient: float | None) -> bool:
    return row["coefficient"] == coefficient or row["method"] == EDITING


def result_lines(results: dict[str, Any]) -> list[str]:
    """For a terminal: the methods at matched strength, specificity, then the statements."""
    c = results["coefficient"]
    at = "" if c is None else f", coefficient {c:g}"
    lines = [f"{results['n_clips']} clips, {results['n_prompts']} prompts, {results['n_seeds']} seeds{at}"]
    for row in (r for r in results["rows"] if _compared(r, c)):
        ci = "" if row["ci"] is None else f" [{row['ci'][0]:+.3f}, {row['ci'][1]:+.3f}]"
        beside = "" if row["random_p95"] is None else f"  random p95 {row['random_p95']:+.3f}"
        mark = "  moved" if row["moved"] else ""
        lines.append(
            f"  {row['readout']:<9} {row['method']:<22} {row['emotion']:<10} {row['effect']:+.3f}{ci}"
            f"  q {row['q']:.2g}{beside}{mark}"
        )
    for row in results["specificity"]:
        lines.append(
            f"  {row['readout']:<9} {row['method']:<22} own minus other emotions {row['difference']:+.3f}  q {row['q']:.2g}"
        )
    return lines + list(results["statements"])
