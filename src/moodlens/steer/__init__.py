"""Steering: emotion directions in MusicGen's text conditioning, and whether the music moved.

Names are looked up on first use: settings can be read without importing torch or scipy.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moodlens.steer.answers import analyse_answers as analyse_answers
    from moodlens.steer.build import build_directions as build_directions
    from moodlens.steer.directions import Direction as Direction
    from moodlens.steer.directions import Directions as Directions
    from moodlens.steer.directions import load_directions as load_directions
    from moodlens.steer.directions import mix as mix
    from moodlens.steer.directions import orthogonalise as orthogonalise
    from moodlens.steer.directions import save_directions as save_directions
    from moodlens.steer.inputs import StudyInputs as StudyInputs
    from moodlens.steer.inputs import read_study_inputs as read_study_inputs
    from moodlens.steer.listen import ListeningTest as ListeningTest
    from moodlens.steer.listen import ListenSettings as ListenSettings
    from moodlens.steer.listen import make_listening_test as make_listening_test
    from moodlens.steer.musicgen import MusicGen as MusicGen
    from moodlens.steer.musicgen import Sampling as Sampling
    from moodlens.steer.musicgen import Steering as Steering
    from moodlens.steer.run import SteerRun as SteerRun
    from moodlens.steer.run import plan as plan
    from moodlens.steer.run import run_steer as run_steer
    from moodlens.steer.settings import DirectionSettings as DirectionSettings
    from moodlens.steer.settings import Mixture as Mixture
    from moodlens.steer.settings import SteerSettings as SteerSettings
    from moodlens.steer.settings import read_prompts as read_prompts
    from moodlens.steer.settings import read_steer_settings as read_steer_settings

_HOME = {
    "Direction": "directions",
    "DirectionSettings": "settings",
    "Directions": "directions",
    "ListenSettings": "listen",
    "ListeningTest": "listen",
    "Mixture": "settings",
    "MusicGen": "musicgen",
    "Sampling": "musicgen",
    "SteerRun": "run",
    "SteerSettings": "settings",
    "Steering": "musicgen",
    "StudyInputs": "inputs",
    "analyse_answers": "answers",
    "build_directions": "build",
    "load_directions": "directions",
    "make_listening_test": "listen",
    "mix": "directions",
    "orthogonalise": "directions",
    "plan": "run",
    "read_prompts": "settings",
    "read_steer_settings": "settings",
    "read_study_inputs": "inputs",
    "run_steer": "run",
    "save_directions": "directions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)


class _Callable(ModuleType):
    """The room and its main function share a name: ``moodlens.steer(study, out)`` is :func:`run_steer`."""

    def __call__(self, *args: Any, **kwargs: Any) -> "SteerRun":
        from moodlens.steer.run import run_steer

        return run_steer(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
