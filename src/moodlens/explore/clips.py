"""Clips of steering runs that lie in the study's folder, and the features that their directions are made of."""

from pathlib import Path

from moodlens.core import BadInput
from moodlens.explore.explored import Explored
from moodlens.explore.feature_records import ClipRun, ClipRuns, ClipShown
from moodlens.judge.clips import is_run
from moodlens.steer.clips import read_clip
from moodlens.study.records.judge import Results
from moodlens.study.records.steer import CLIPS, ClipFacts, DirectionFacts, DirectionsFile, SteerRun

_DIRECTIONS = "directions"


def run_folders(explored: Explored) -> dict[str, Path]:
    """Name -> folder of every steering run in the study's folder; links that lead out of it are none."""
    home = explored.study.path.resolve()
    folders = {}
    for folder in sorted(home.iterdir()):
        if folder.is_dir() and not folder.name.startswith(".") and folder.resolve().is_relative_to(home):
            try:
                if is_run(folder):
                    folders[folder.name] = folder
            except OSError:
                continue
    return folders


def clip_runs(explored: Explored, *, exported: bool = False) -> ClipRuns:
    """The steering runs in the study's folder. ``exported``: nothing can be heard."""
    runs = explored.once("runs", lambda: _runs(explored))
    if exported:
        runs = ClipRuns(
            runs=tuple(
                run.model_copy(
                    update={"clips": tuple(clip.model_copy(update={"audio": None}) for clip in run.clips)}
                )
                for run in runs.runs
            )
        )
    return runs


def clips_of(explored: Explored, feature: int, *, exported: bool = False) -> tuple[ClipShown, ...]:
    """The clips whose direction the feature is part of, and the unsteered ones beside them."""
    played = []
    for run in clip_runs(explored, exported=exported).runs:
        steered = [clip for clip in run.clips if feature in clip.features]
        wanted = {clip.reference for clip in steered}
        played += [clip for clip in run.clips if clip.key in wanted] + steered
    return tuple(played)


def audio_file(explored: Explored, run: str, key: str) -> Path:
    """The sound of a clip that a run lists.

    Raises:
        BadInput: no run of the study has such a clip, or its file is not the run's.
    """
    folder = run_folders(explored).get(run)
    listed = {
        clip.key
        for listed_run in clip_runs(explored).runs
        if listed_run.run == run
        for clip in listed_run.clips
    }
    if folder is None or key not in listed:
        raise BadInput("no such clip")
    path = (folder / CLIPS / f"{key}.wav").resolve()
    if not path.is_relative_to(explored.study.path.resolve()) or not path.is_file():
        raise BadInput("no such clip")
    return path


def _runs(explored: Explored) -> ClipRuns:
    return ClipRuns(
        runs=tuple(
            run for name, folder in run_folders(explored).items() if (run := _run(name, folder)) is not None
        )
    )


def _run(name: str, folder: Path) -> ClipRun | None:
    try:
        record = SteerRun.read(folder)
        directions = {item.name: item for item in DirectionsFile.read(folder / _DIRECTIONS).directions}
    except BadInput:
        return None  # of another version, or half made: `moodlens steer` says what is wrong
    facts = [clip for key in record.clips if (clip := read_clip(folder / CLIPS, key)) is not None]
    plain = {(clip.prompt, clip.seed): clip.key for clip in facts if clip.method == "none"}
    return ClipRun(
        run=name,
        model=record.model.model,
        statements=_statements(folder),
        clips=tuple(_shown(name, clip, plain, directions) for clip in facts),
    )


def _shown(
    run: str, clip: ClipFacts, plain: dict[tuple[str, int], str], directions: dict[str, DirectionFacts]
) -> ClipShown:
    return ClipShown(
        run=run,
        key=clip.key,
        audio=f"api/audio/{run}/{clip.key}.wav",
        features=_features(directions.get(clip.direction or "")),
        reference=None if clip.method == "none" else plain.get((clip.prompt, clip.seed)),
        seconds=clip.samples / clip.sampling_rate,
        **{
            name: getattr(clip, name)
            for name in ("prompt", "method", "direction", "emotion", "coefficient", "seed")
        },
    )


def _features(direction: DirectionFacts | None) -> tuple[int, ...]:
    if direction is None:
        return ()
    told = direction.detail.get("features", direction.detail.get("feature", []))
    numbers = told if isinstance(told, list) else [told]
    return tuple(number for number in numbers if isinstance(number, int))


def _statements(folder: Path) -> tuple[str, ...]:
    try:
        return Results.read(folder).statements
    except BadInput:
        return ()
