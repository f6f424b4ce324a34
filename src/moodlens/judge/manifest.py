"""Lists of a run's clips for programs that measure quality of sound: Fréchet and kernel distances, aesthetics.

One clip a line of JSON, as musegauge reads it (``musegauge run --manifest FILE``, Apache-2.0; its version 0.1.4): `clip_id`,
`path`, `prompt`, `prompt_id`; further keys are kept beside its results. Such distances compare sets of clips, so there is
a list for every condition, each beside the unsteered clips.
"""

import json
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from moodlens.core import BadInput, atomic_write, digest
from moodlens.judge.clips import Clip, folder_clips, run_clips
from moodlens.steer.run import check_folder

ALL = "clips.jsonl"


def write_manifests(run: Path | str, out: Path | str) -> dict[str, int]:
    """Write a list of all clips of a steering run, and one for every condition.

    Args:
        run: folder of ``moodlens steer``.
        out: folder of the lists, empty or not there yet; paths in them are relative to it.

    Returns:
        file name -> number of clips: ``clips.jsonl``, ``none.jsonl`` (unsteered), and METHOD-EMOTION-COEFFICIENT.jsonl.

    Raises:
        BadInput: not a finished run, a clip is missing or changed, or ``out`` cannot be written or holds other files.
    """
    folder, keys = run_clips(run)
    clips, out = folder_clips(folder, keys), Path(out)
    check_folder(out, run)
    if out.is_dir() and any(out.iterdir()):
        raise BadInput(f"{out}: is not empty; name another folder")
    conditions: dict[str, list[Clip]] = defaultdict(list)
    told: dict[str, set[tuple[str | None, str | None, float | None]]] = defaultdict(set)
    for clip in clips:
        name = _condition(clip)
        conditions[name].append(clip)
        told[name.casefold()].add((clip.facts.method, clip.facts.emotion, clip.facts.coefficient or None))
    if any(len(same) > 1 for same in told.values()) or "clips" in told:
        raise BadInput(
            f"{run}: two conditions would have one file, for their emotions differ by case or signs alone; rename one"
        )
    lists = {ALL: clips} | {f"{name}.jsonl": part for name, part in sorted(conditions.items())}
    for name, part in lists.items():
        with atomic_write(out / name) as tmp:
            tmp.write_text("".join(_line(clip, out) for clip in part), encoding="utf-8")
    return {name: len(part) for name, part in lists.items()}


def _condition(clip: Clip) -> str:
    facts = clip.facts
    parts: Sequence[str | None] = (
        facts.method,
        facts.emotion,
        None if not facts.coefficient else f"{facts.coefficient:g}",
    )
    return "-".join(re.sub(r"[^\w.]+", "_", part) for part in parts if part)


def _line(clip: Clip, out: Path) -> str:
    facts = clip.facts
    prompt = clip.prompt or ""
    told = {
        "clip_id": facts.key,
        "path": os.path.relpath(clip.path.resolve(), out.resolve()),
        "prompt": prompt,
        "prompt_id": digest(prompt)[:8],
        "method": facts.method,
        "direction": facts.direction,
        "emotion": facts.emotion,
        "coefficient": facts.coefficient,
        "seed": facts.seed,
        "text": facts.text,
    }
    return (
        json.dumps({name: value for name, value in told.items() if value is not None}, ensure_ascii=False)
        + "\n"
    )
