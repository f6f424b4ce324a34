"""The result table of a steering run: every method at matched strength, beside chance and the trivial methods."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, Progress, read_table, silent, write_table
from moodlens.judge.acoustics import SHORTEST, AcousticScore, import_librosa
from moodlens.judge.change import measure_changes, read_changes, unmeasurable
from moodlens.judge.clips import Clip, run_clips
from moodlens.judge.equal_change import equal_change
from moodlens.judge.exploratory import distance, dose, hypotheses
from moodlens.judge.hypotheses import HYPOTHESES
from moodlens.judge.mixtures import mixtures
from moodlens.judge.score import CACHE, SCORES, Score, score_folder
from moodlens.judge.scorers import named_scorers
from moodlens.judge.shifts import ACOUSTIC, Shifts, readouts
from moodlens.judge.tables import Judge
from moodlens.judge.words import statements
from moodlens.settings.judge import ResultSettings
from moodlens.settings.steer import JUDGEABLE, SteerSettings, check_known
from moodlens.steer.clips import read_clip, write_wav
from moodlens.steer.run import run_directions
from moodlens.study.records.judge import Results
from moodlens.study.records.steer import SteerRun

if TYPE_CHECKING:
    import polars as pl

    from moodlens.steer.generator import Generator

NOISE_RATE = 32000
"""Samples a second of the noise that scores are asked about."""


def steer_results(
    scores: "pl.DataFrame",
    emotions: Sequence[str],
    settings: ResultSettings | None = None,
    *,
    renamed: bool = False,
    unmeasurable: str | None = None,
) -> Results:
    """Judge scored clips. A pure function of the table of :func:`moodlens.judge.score_folder`.

    Args:
        scores: a row for each clip; with the columns ``change``, ``seed_shift`` and ``change_of`` of
            :func:`moodlens.judge.change.measure_changes` methods are also compared at equal change.
        emotions: of the run.
        settings: name the confirmatory table, among other things.
        renamed: whether they named it after the clips were made, which is said in the results.
        unmeasurable: why the columns ``change`` and its like could not be had of these clips; None: they could.

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
        readout=judge.readout,
        renamed=renamed,
        n_confirmatory=sum(row.q is not None for row in rows),
        coefficient=judge.coefficient,
        n_prompts=len(shifts.prompts),
        n_seeds=scores["seed"].n_unique(),
        n_clips=scores.height,
        rows=rows,
        controls=controls,
        dose=dose(judge),
        specificity=judge.specificity(),
        comparisons=judge.comparisons(),
        equal_change=equal_change(judge),
        unmeasurable=unmeasurable,
        hypotheses=hypotheses(judge) if stated else (),
        distance=distance(judge),
        mixtures=mixtures(judge),
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

    Methods and controls share a strength, which is the confirmatory table's where it names one; its methods are known;
    and ``acoustics``, where they are asked for, can measure so short a clip.
    """
    if acoustics and settings.seconds < SHORTEST:
        raise BadInput(
            f"seconds: acoustics need clips of {SHORTEST:g} s or more, not {settings.seconds:g} (--no-acoustics, --no-judge)"
        )
    if not settings.methods and not settings.prompt_editing:
        raise BadInput("steer: no method and no prompt editing: there would be nothing to judge (--no-judge)")
    check_known("judge.methods", settings.judge.methods, JUDGEABLE)
    shared, named = settings.shared_coefficients, settings.judge.coefficient
    if not settings.methods and not settings.controls:
        return
    if not shared:
        made = [settings.coefficients] * bool(settings.methods)
        made += [settings.at_controls] * bool(settings.controls)
        at = " and ".join(", ".join(f"{c:g}" for c in coefficients) for coefficients in made)
        raise BadInput(
            f"steer: methods and controls share no positive coefficient ({at}), so nothing could be judged; set "
            "control_coefficients, or leave judging out (--no-judge)"
        )
    if named is not None and named not in shared:
        raise BadInput(
            f"judge.coefficient: {named:g} is not among the positive ones that all methods and controls are made at: "
            + ", ".join(f"{c:g}" for c in shared)
        )


def check_readout(
    readout: str | None, scores: Sequence[Score], emotions: Sequence[str], seconds: float
) -> None:
    """Raise BadInput unless ``scores`` give the readout that a confirmatory table names.

    What a score gives is known from its values alone, so each is asked about one clip of noise.
    """
    if readout is None:
        return
    import polars as pl

    with TemporaryDirectory() as folder:
        noise = 0.1 * np.random.default_rng(0).standard_normal((1, int(seconds * NOISE_RATE)))
        path = Path(folder) / "noise.wav"
        write_wav(path, noise, NOISE_RATE)
        columns = {name: [0] for score in scores for name in _columns(score, Clip(path))}
    known = list(readouts(pl.DataFrame(columns), emotions))
    if any(isinstance(score, AcousticScore) for score in scores) and set(emotions) & set(HYPOTHESES):
        known.append(ACOUSTIC)
    if readout not in known:
        raise BadInput(
            f"judge.readout: {readout} is not among what the clips are scored with: {', '.join(known) or 'nothing'} "
            "(--clap and --scorer add others)"
        )


def _columns(score: Score, clip: Clip) -> Iterable[str]:
    # Acoustic measures are of no emotion, and take a while.
    return () if isinstance(score, AcousticScore) else score(clip)


def judge_run(
    out: Path | str,
    scores: Sequence[Score] | None = None,
    *,
    clap: str | None = None,
    acoustics: bool = True,
    settings: ResultSettings | None = None,
    model: "Generator | None" = None,
    progress: Progress = silent,
) -> Results:
    """Score the clips of a steering run and judge them: ``out/scores.parquet`` and ``out/results.json``.

    Args:
        out: folder of the run.
        scores: from :func:`scorers`, or your own; None: what ``clap`` and ``acoustics`` ask for.
        settings: None: those of the run, which named the confirmatory table before its clips were made.
        model: the run's generator, to measure how far each condition moves it; None: what was measured before counts.

    Raises:
        BadInput: no score is asked for, a checkpoint is collapsed or absent, or the run is not whole.
    """
    import polars as pl

    folder, keys = run_clips(out)
    emotions = run_directions(out).emotions
    if scores is None:
        scores = scorers(emotions, clap=clap, acoustics=acoustics)
    measured = any(isinstance(score, AcousticScore) for score in scores)
    run = SteerRun.read(out).settings
    settings = settings or run.judge
    check_judgeable(run.model_copy(update={"judge": settings}), acoustics=measured)
    check_readout(settings.readout, scores, emotions, run.seconds)
    frame = score_folder(folder, scores, keys=keys, cache=Path(out) / CACHE, progress=progress)
    seconds = settings.change_seconds
    changes = None
    if seconds:
        changes = (
            read_changes(out, seconds) if model is None else measure_changes(out, model, seconds, progress)
        )
    if changes is not None:
        moved = changes.select("key", "change", "seed_shift", pl.col("of").alias("change_of"))
        frame = frame.join(moved, on="key", how="left", maintain_order="left")
    first = read_clip(folder, keys[0]) if keys else None  # every clip of a run is made in the same way
    why = None if first is None or changes is not None else unmeasurable(first.how)
    renamed = not settings.named_as(run.judge)
    results = steer_results(frame, emotions, settings, renamed=renamed, unmeasurable=why)
    # Both or none: results beside scores that they were not made of would lie.
    write_table(Path(out) / SCORES, frame)
    results.write(out)
    return results
