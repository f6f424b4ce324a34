"""Which finished stages a run has left outdated: their files stay, and were made for other prompts or settings."""

import shlex
from pathlib import Path

from moodlens.pipeline.opened import expected_keys
from moodlens.pipeline.stage import needed
from moodlens.study.state import read_states, standing
from moodlens.study.study import Study


def finished(folder: Path) -> frozenset[str]:
    """The stages whose files fit each other, whatever the settings ask for now; none where there is no study yet."""
    states = read_states(folder)
    return frozenset(name for name in states if standing(folder, name, states, None).state == "done")


def outdated(folder: Path, before: frozenset[str]) -> list[str]:
    """Those of the stages ``before`` that do not hold now, in the order of the flow."""
    from moodlens.pipeline.stages import STAGES

    states, keys = read_states(folder), expected_keys(Study(folder).settings, folder)
    return [
        each.name
        for each in STAGES
        if each.name in before and standing(folder, each.name, states, keys).state != "done"
    ]


def outdated_line(folder: Path, before: frozenset[str]) -> str | None:
    """One line for people: what is outdated and the fewest verbs that make it anew; None where nothing is."""
    from moodlens.pipeline.stages import STAGES

    names = outdated(folder, before)
    if not names:
        return None
    verbs: list[str] = []
    for name in reversed(names):
        if not any(name in needed(STAGES, verb) for verb in verbs):
            verbs.insert(0, name)
    commands = " && ".join(f"moodlens {verb} {shlex.quote(str(folder))}" for verb in verbs)
    return f"outdated now: {', '.join(names)}; run: {commands}"
