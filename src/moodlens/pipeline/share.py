"""One of several jobs that share the work of a stage: how a batch scheduler's machines embed and train together."""

import re
from pathlib import Path

from moodlens.core.errors import BadInput
from moodlens.core.progress import Progress, silent
from moodlens.engine import Share, ShareDone
from moodlens.pipeline.stage import needed, plan
from moodlens.settings.study import Settings, with_absolute_paths
from moodlens.study.state import read_states, standing
from moodlens.study.study import Study

SHARED = ("embed", "sweep", "train")
"""Stages whose work comes in units."""


def parse_share(text: str) -> tuple[int, int]:
    """``"2/8"`` -> ``(2, 8)``: the second of eight jobs.

    Raises:
        BadInput: it is not of this form, or there is no such job.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    number, of = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= of:
        raise BadInput(f"--shard {text}: write it as I/N, such as 2/8 for the second of eight jobs")
    return number, of


def run_share(
    settings: Settings, out: Path, stage: str, number: int, of: int, *, progress: Progress = silent
) -> ShareDone | None:
    """Do every ``of``-th unit of a stage, from ``number`` on, and leave them in the study folder for a later run.

    Jobs may run at once, on any machines that see the folder. Nothing takes effect but the finished units: the run after
    all jobs takes them in, and does what is missing.

    Returns:
        what was done; None if the stage was done already.

    Raises:
        BadInput: the stage has no units, or what it needs is not there yet.
    """
    from moodlens.pipeline.stages import STAGES

    if stage not in SHARED:
        raise BadInput(f"--shard: {stage} is not shared among jobs, only {', '.join(SHARED)} are")
    settings = with_absolute_paths(settings)
    states = read_states(out)
    keys = plan(settings, out, STAGES, states).keys
    for name in sorted(needed(STAGES, stage)):
        if standing(out, name, states, keys).state != "done":
            raise BadInput(
                f"{out}: {name} must be done before jobs can share {stage}; run: moodlens {name} {out}"
            )
    if standing(out, stage, states, keys).state == "done":
        return None
    if _nothing_to_share(settings, stage):
        raise BadInput(f"{out}: {stage} has no work that jobs could share; run: moodlens {stage} {out}")
    each = next(candidate for candidate in STAGES if candidate.name == stage)
    engine = Share.model_validate(settings.engine.model_dump() | {"kind": "pool", "number": number, "of": of})
    section = each.section(settings.model_copy(update={"engine": engine}))
    view = Study(out, keys=keys).limited_to({*needed(STAGES, stage), stage})
    try:
        each.work(view, section, progress)
    except ShareDone as share:
        return share
    raise AssertionError(f"{stage} went on after its share")


def _nothing_to_share(settings: Settings, stage: str) -> bool:
    if stage == "embed":
        return settings.prompts.precomputed is not None
    if stage == "sweep":
        return not settings.sweep
    return settings.control.startswith("untrained")
