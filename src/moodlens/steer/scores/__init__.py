"""Scores of clips: small callables that take one clip and give named numbers.

``score_folder(folder, [AcousticScore()])`` measures every WAV file of a folder. A score never sees which method made a
clip. Names are looked up on first use, so that importing this package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moodlens.steer.scores.acoustics import AcousticScore as AcousticScore
    from moodlens.steer.scores.base import Clip as Clip
    from moodlens.steer.scores.base import Score as Score
    from moodlens.steer.scores.base import read_audio as read_audio
    from moodlens.steer.scores.base import score_folder as score_folder
    from moodlens.steer.scores.base import score_run as score_run
    from moodlens.steer.scores.clap import Clap as Clap
    from moodlens.steer.scores.clap import ClapScore as ClapScore
    from moodlens.steer.scores.hypotheses import HYPOTHESES as HYPOTHESES
    from moodlens.steer.scores.hypotheses import judge_shift as judge_shift
    from moodlens.steer.scores.mmd import mmd_test as mmd_test
    from moodlens.steer.scores.offline import Offline as Offline
    from moodlens.steer.scores.offline import OfflineScore as OfflineScore
    from moodlens.steer.scores.offline import Reference as Reference
    from moodlens.steer.scores.offline import rank_features as rank_features
    from moodlens.steer.scores.offline import read_references as read_references
    from moodlens.steer.scores.preservation import PreservationScore as PreservationScore
    from moodlens.steer.scores.preservation import embedding_preservation as embedding_preservation

_HOME = {
    "AcousticScore": "acoustics",
    "Clap": "clap",
    "ClapScore": "clap",
    "Clip": "base",
    "HYPOTHESES": "hypotheses",
    "Offline": "offline",
    "OfflineScore": "offline",
    "PreservationScore": "preservation",
    "Reference": "offline",
    "Score": "base",
    "embedding_preservation": "preservation",
    "judge_shift": "hypotheses",
    "mmd_test": "mmd",
    "rank_features": "offline",
    "read_audio": "base",
    "read_references": "offline",
    "score_folder": "base",
    "score_run": "base",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
