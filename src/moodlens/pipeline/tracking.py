"""What a run found, for the tracker that someone looks at anyway: TensorBoard, Weights & Biases or Trackio.

The study's own files (``sae/NAME/history.jsonl``, the records) are always written and are all that anything here reads, so a
tracker adds nothing to a study and decides nothing in it: with one or without, every stage has the same key.
"""

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from moodlens.core.errors import BadInput
from moodlens.settings.study import Settings, Tracker
from moodlens.study.records.sae import Reconstruction
from moodlens.study.records.verdict import Verdict
from moodlens.study.state import read_states
from moodlens.study.study import Study

FOLDER = "track"
"""Where trackers that keep files keep them, in the study's folder."""
PROJECT = "moodlens"


def check_tracker(tracker: Tracker) -> None:
    """Say what is missing before the study runs.

    Raises:
        BadInput: the tracker's package is not installed.
    """
    if tracker != "none" and find_spec(tracker) is None:
        raise BadInput(
            f"track: {tracker} is not installed; pip install 'moodlens[{tracker}]', or set track to none"
        )


def track(study: Study, settings: Settings, folder: Path) -> None:
    """Tell the tracker of ``settings`` what the study holds: every epoch of its SAEs, and the verdict's numbers.

    Args:
        folder: where a tracker that keeps files keeps them; what an earlier run of the study left there is replaced.

    Raises:
        BadInput: the tracker did not take it; the study itself stands.
    """
    if settings.track == "none":
        return
    histories, summary = epochs(study.path), numbers(study)
    try:
        {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}[settings.track](
            settings, folder / settings.track, histories, summary
        )
    except Exception as error:  # a program of others, which may want a network
        if isinstance(error, BadInput):
            raise
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadInput(f"track: {settings.track} did not take the study, which is finished: {why}") from error


def epochs(folder: Path) -> dict[str, list[dict[str, float]]]:
    """Name of an SAE -> its epochs, each the numbers that the history has for it."""
    from moodlens.sae.history import read_history

    by_name = {}
    for path in sorted(folder.glob("sae/*/history.jsonl")):
        entries = [entry.model_dump(exclude_none=True) for entry in read_history(path)]
        by_name[path.parent.name] = [
            {name: float(value) for name, value in entry.items()} for entry in entries
        ]
    return by_name


def numbers(study: Study) -> dict[str, float]:
    """What the finished stages found, flat: reconstruction, every criterion of the verdict, and its strongest control."""
    states, figures = read_states(study.path), {}
    if "train" in states:
        held_out = study.read(Reconstruction).held_out
        figures |= {f"test/{name}": float(value) for name, value in held_out.model_dump().items()}
    if "verdict" in states:
        verdict = study.read(Verdict)
        figures["verdict/go"] = float(verdict.go)
        for criterion in verdict.criteria:
            control = criterion.strongest
            values = {
                criterion.id: criterion.value,
                f"{criterion.id}/control": None if control is None else control.value,
            }
            figures |= {
                f"verdict/{name}": float(value) for name, value in values.items() if value is not None
            }
    return figures


Histories = Mapping[str, list[dict[str, float]]]
Numbers = Mapping[str, float]


def _tensorboard(settings: Settings, folder: Path, histories: Histories, summary: Numbers) -> None:
    from torch.utils.tensorboard import SummaryWriter

    shutil.rmtree(folder, ignore_errors=True)
    for name, entries in histories.items():
        with SummaryWriter(str(folder / name)) as writer:
            for entry in entries:
                for what, value in entry.items():
                    if what not in ("epoch", "step"):
                        writer.add_scalar(f"sae/{what}", value, int(entry["step"]))
    with SummaryWriter(str(folder / "study")) as writer:
        writer.add_text("settings", f"```json\n{settings.model_dump_json(indent=2)}\n```")
        for what, value in summary.items():
            writer.add_scalar(what, value, 0)


def _wandb(settings: Settings, folder: Path, histories: Histories, summary: Numbers) -> None:
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    quiet = wandb.Settings(silent=True, console="off", disable_git=True, disable_code=True)
    with wandb.init(
        project=PROJECT,
        name=settings.name,
        dir=str(folder),
        config=settings.model_dump(mode="json"),
        settings=quiet,
    ) as run:
        for name in histories:
            run.define_metric(f"{name}/*", step_metric=f"{name}/step")
        for name, entries in histories.items():
            for entry in entries:
                run.log({f"{name}/{what}": value for what, value in entry.items()})
        run.summary.update(dict(summary))


def _trackio(settings: Settings, folder: Path, histories: Histories, summary: Numbers) -> None:
    # It prints what it does, where a verb prints its result.
    with _environment(TRACKIO_DIR=str(folder)), redirect_stdout(io.StringIO()):
        trackio: Any = import_module("trackio")
        trackio.init(project=PROJECT, name=settings.name, config=settings.model_dump(mode="json"))
        try:
            for name, entries in histories.items():
                for entry in entries:
                    trackio.log({f"{name}/{what}": value for what, value in entry.items()})
            if summary:
                trackio.log(dict(summary))
        finally:
            trackio.finish()


@contextmanager
def _environment(**defaults: str) -> Iterator[None]:
    """Variables as a program reads them at its start, where the user has not set them."""
    new: dict[str, Any] = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
