"""One steering run on several machines: each makes every n-th clip in a folder of its own; then they are put together."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from moodlens.core import BadInput, Progress, silent
from moodlens.steer.clips import read_clip
from moodlens.steer.directions import load_directions
from moodlens.steer.run import DIRECTIONS, Shard, check_folder, finish
from moodlens.study.records.steer import CLIPS, SteerRun, SteerShard


def read_shard(text: str) -> Shard:
    """``"2/4"`` -> the second of four.

    Raises:
        BadInput: it is not that.
    """
    match = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text.strip())
    if not match or int(match[1]) > int(match[2]):
        raise BadInput(f"--shard {text}: give number/of, such as 2/4 for the second of four")
    return Shard(int(match[1]), int(match[2]))


def merge_shards(out: Path | str, shards: Sequence[Path | str], progress: Progress = silent) -> SteerRun:
    """Put the clips of shards into ``out``, as if one machine had made them all.

    Args:
        out: folder of the whole run; may hold clips already.
        shards: folders that ``moodlens steer --shard`` left.
        progress: told the clips looked at.

    Returns:
        What was written to ``out/run.json``.

    Raises:
        BadInput: the shards are of different runs, or clips are missing or damaged; then no run is written.
    """
    out, folders = Path(out), [Path(folder) for folder in shards]
    if not folders:
        raise BadInput("merge: name the folders of the shards")
    for folder in folders:
        check_folder(out, folder)
    records = [SteerShard.read(folder) for folder in folders]
    first = records[0]
    for folder, shard in zip(folders[1:], records[1:], strict=True):
        if shard.clips != first.clips:
            raise BadInput(
                f"{folder}: is a shard of another run than {folders[0]} (settings, directions or checkpoint)"
            )
    missing = 0
    for done, key in enumerate(first.clips):
        progress("clips", done, len(first.clips))
        missing += not _brought(key, out / CLIPS, [folder / CLIPS for folder in folders])
    progress("clips", len(first.clips), len(first.clips))
    if missing:
        have = ", ".join(f"{shard.shard}/{shard.of}" for shard in records)
        raise BadInput(
            f"{out}: {missing} of {len(first.clips)} clips are in no shard that was given ({have}); finish the others and "
            "merge again"
        )
    run = SteerRun(settings=first.settings, model=first.model, notes=first.notes, clips=first.clips)
    finish(out, load_directions(folders[0] / DIRECTIONS), run)
    return run


def _brought(key: str, to: Path, places: Sequence[Path]) -> bool:
    """Whether the clip is in ``to``, into which it is copied from the first place that has it whole."""
    if read_clip(to, key) is not None:
        return True
    for place in places:
        if read_clip(place, key) is None:
            continue
        to.mkdir(parents=True, exist_ok=True)
        for name in (f"{key}.wav", f"{key}.json"):  # the JSON last: a clip without it is not there yet
            part = to / f"{name}.part"
            shutil.copyfile(place / name, part)
            part.replace(to / name)
        return True
    return False
