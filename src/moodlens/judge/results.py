"""The result table of a steering run: every method at matched strength, beside chance and the trivial methods."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moodlens.core import BadInput, Progress, read_table, silent, write_table
from moodlens.judge.acoustics import SHORTEST, AcousticScore, import_librosa
from moodlens.judge.clips import run_clips
from moodlens.judge.hypotheses import HYPOTHESES
from moodlens.judge.score import SCORES, Score, score_folder
from moodlens.judge.scorers import named_scorers
from moodlens.judge.shifts import ACOUSTIC, Shifts, readouts
from moodlens.judge.tables import EDITING, Judge
from moodlens.settings.judge import ResultSettings
from moodlens.settings.steer import SteerSettings
from moodlens.steer.run import run_directions
from moodlens.study.records.judge import EffectRow, Interval, Results
from moodlens.study.records.steer import SteerRun

if TYPE_CHECKING:
    import polars as pl


def steer_results(
    scores: "pl.DataFrame", emotions: Sequence[str], settings: ResultSettings | None = None
) -> Results:
    """Judge scored clips. A pure function of the table of :func:`moodlens.judge.score_folder`.

    Raises:
        BadInput: there is no readout, no unsteered clip, or no strength that all methods share.
    """
    s = settings or ResultSettings()
    emotions = tuple(emotions)
    acoustic = [m for m in {m: 0 for signs in HYPOTHESES.values() for m in signs} if m in scores.columns]
    read = readouts(scores, emotions)
    columns = [*(c for by in read.values() for c in by.values()), *acoustic]
    shifts = Shifts.of_clips(scores, columns).with_acoustics(scores, emotions)
    stated = {e: f"{ACOUSTIC}_{e}" for e in emotions if f"{ACOUSTIC}_{e}" in shifts.frame.columns}
    if stated:
        read[ACOUSTIC] = stated
    if not read:
        raise BadInput(
            "results: no score has a column for every emotion; score the clips with CLAP or acoustics"
        )
    judge = Judge(scores, shifts, emotions, read, s)
    rows, controls = judge.rows()
    results = Results(
        settings=s,
        emotions=emotions,
        readouts={name: tuple(by) for name, by in read.items()},
        coefficient=judge.coefficient,
        n_prompts=len(shifts.prompts),
        n_seeds=scores["seed"].n_unique(),
        n_clips=scores.height,
        rows=rows,
        controls=controls,
        dose=judge.dose(),
        specificity=judge.specificity(),
        comparisons=judge.comparisons(),
        equal_change=judge.equal_change(),
        hypotheses=judge.hypotheses() if stated else (),
        distance=judge.distance(),
    )
    return results.model_copy(update={"statements": tuple(statements(results))})


def write_results(
    out: Path | str, emotions: Sequence[str], settings: ResultSettings | None = None
) -> Results:
    """Judge ``out/scores.parquet`` and write ``out/results.json``.

    Raises:
        BadInput: the clips are not scored, or cannot be judged.
    """
    path = Path(out) / SCORES
    if not path.is_file():
        raise BadInput(f"{path}: not there yet; score the clips: moodlens judge {out}")
    results = steer_results(read_table(path), emotions, settings)
    results.write(out)
    return results


def scorers(
    emotions: Sequence[str],
    *,
    clap: str | None,
    acoustics: bool = True,
    of_run: bool = True,
    device: str = "auto",
    more: Sequence[str] = (),
) -> list[Score]:
    """Scores of clips, ready to use: what they lack is said here, before any clip is made.

    Args:
        emotions: of the run; CLAP chooses from them.
        clap: checkpoint (hub name or folder); None leaves CLAP and preservation out.
        acoustics: measure tempo, key, loudness and the like, which needs the extra ``audio``.
        of_run: clips with unsteered ones beside them, which are to be judged.
        device: of CLAP.
        more: scorers by name, such as ``musicnn``.

    Raises:
        BadInput: no score is asked for, none that can read these emotions, a checkpoint is collapsed or absent, or
            librosa is.
    """
    add_clap = "add CLAP (--clap laion/clap-htsat-unfused)"
    if not acoustics and clap is None and not more:
        raise BadInput(f"nothing to judge by: leave acoustics in, or {add_clap}")
    if of_run and clap is None and not more and not set(emotions) & set(HYPOTHESES):
        raise BadInput(
            f"acoustics: nothing is stated about {', '.join(emotions)} (only about {', '.join(HYPOTHESES)}), so no result "
            f"could be had; {add_clap}"
        )
    scores: list[Score] = []
    if acoustics:
        import_librosa()
        scores.append(AcousticScore())
    if clap is not None:
        from moodlens.judge.clap import Clap, ClapScore
        from moodlens.judge.distance import PreservationScore

        loaded = Clap.load(clap, device=device)
        scores.append(ClapScore(loaded, emotions))
        scores += [PreservationScore(loaded)] if of_run else []
    return scores + named_scorers(more, emotions, device=device)


def check_judgeable(settings: SteerSettings, *, acoustics: bool) -> None:
    """Raise BadInput unless clips made with ``settings`` can be judged.

    Methods and controls share a strength, and ``acoustics``, where they are asked for, can measure so short a clip.
    """
    if acoustics and settings.seconds < SHORTEST:
        raise BadInput(
            f"seconds: acoustics need clips of {SHORTEST:g} s or more, not {settings.seconds:g} (--no-acoustics, --no-judge)"
        )
    if not settings.methods and not settings.prompt_editing:
        raise BadInput("steer: no method and no prompt editing: there would be nothing to judge (--no-judge)")
    made = [settings.coefficients] * bool(settings.methods) + [settings.at_controls] * bool(settings.controls)
    if made and not any(c > 0 for c in set.intersection(*map(set, made))):
        at = " and ".join(", ".join(f"{c:g}" for c in coefficients) for coefficients in made)
        raise BadInput(
            f"steer: methods and controls share no positive coefficient ({at}), so nothing could be judged; set "
            "control_coefficients, or leave judging out (--no-judge)"
        )


def judge_run(
    out: Path | str,
    scores: Sequence[Score] | None = None,
    *,
    clap: str | None = None,
    acoustics: bool = True,
    settings: ResultSettings | None = None,
    progress: Progress = silent,
) -> Results:
    """Score the clips of a steering run and judge them: ``out/scores.parquet`` and ``out/results.json``.

    Args:
        out: folder of the run.
        scores: from :func:`scorers`, or your own; None: what ``clap`` and ``acoustics`` ask for.

    Raises:
        BadInput: no score is asked for, a checkpoint is collapsed or absent, or the run is not whole.
    """
    folder, keys = run_clips(out)
    emotions = run_directions(out).emotions
    if scores is None:
        scores = scorers(emotions, clap=clap, acoustics=acoustics)
    measured = any(isinstance(score, AcousticScore) for score in scores)
    check_judgeable(SteerRun.read(out).settings, acoustics=measured)
    frame = score_folder(folder, scores, keys=keys, progress=progress)
    results = steer_results(frame, emotions, settings)
    # Both or none: results beside scores that they were not made of would lie.
    write_table(Path(out) / SCORES, frame)
    results.write(out)
    return results


def statements(results: Results) -> list[str]:
    """What the tables say, one sentence each, losses of the SAE first."""
    lines = []
    for row in sorted(results.comparisons, key=lambda r: r.difference):
        c = "" if row.coefficient is None else f" at coefficient {row.coefficient:g}"
        some = f" over {', '.join(row.emotions)}" if len(row.emotions) < len(results.emotions) else ""
        figures = (
            f"{row.method} {row.effect:+.3f}, {row.baseline} {row.baseline_effect:+.3f}{c}{some}, difference "
            f"{row.difference:+.3f}{_ci(row.ci)}, q = {row.q:.2g}, {row.n_prompts} prompts"
        )
        if row.ahead is None:
            lines.append(f"{row.readout}: {row.method} and {row.baseline} do the same ({figures}).")
            continue
        first, second = (row.method, row.baseline) if row.ahead == "method" else (row.baseline, row.method)
        verb = "beats" if row.winner else "is ahead of"
        rest = "" if row.winner else "; the difference is within chance"
        lines.append(f"{row.readout}: {first} {verb} {second} ({figures}){rest}.")
    for readout in results.readouts:
        rows = [r for r in results.rows if r.readout == readout and _compared(r, results.coefficient)]
        if not rows:
            continue
        what = ", ".join(f"{r.method} towards {r.emotion}" for r in rows if r.moved) or "nothing"
        alone = all(r.random_p is None for r in rows)
        beside = " (no random directions to compare with)" if alone else ""
        lines.append(f"{readout}: beyond chance and beyond random directions moved: {what}{beside}.")
    least, alpha = 2.0**-results.n_prompts, results.settings.alpha
    if least > alpha:
        lines.append(
            f"{results.n_prompts} prompts cannot give a p below {least:.2g}: nothing can reach {alpha:g}; use more prompts."
        )
    return lines


def _compared(row: EffectRow, coefficient: float | None) -> bool:
    return row.coefficient == coefficient or row.method == EDITING


def _ci(ci: Interval | None) -> str:
    return "" if ci is None else f" [{ci[0]:+.3f}, {ci[1]:+.3f}]"


def result_lines(results: Results) -> list[str]:
    """For a terminal: the methods at matched strength, specificity, then the statements."""
    c = results.coefficient
    at = "" if c is None else f", coefficient {c:g}"
    lines = [f"{results.n_clips} clips, {results.n_prompts} prompts, {results.n_seeds} seeds{at}"]
    for row in (r for r in results.rows if _compared(r, c)):
        beside = "" if row.random_p95 is None else f"  random p95 {row.random_p95:+.3f}"
        mark = "  moved" if row.moved else ""
        lines.append(
            f"  {row.readout:<9} {row.method:<22} {row.emotion:<10} {row.effect:+.3f}{_ci(row.ci)}"
            f"  q {row.q:.2g}{beside}{mark}"
        )
    for row in results.specificity:
        lines.append(
            f"  {row.readout:<9} {row.method:<22} own minus other emotions {row.difference:+.3f}  q {row.q:.2g}"
        )
    return lines + list(results.statements)
