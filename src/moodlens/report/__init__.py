"""The report of a study: what was found, beside what chance gives, in one file a colleague can read."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moodlens.report.figures import save_all as save_all
    from moodlens.report.write import render as render

_HOME = {"render": "moodlens.report.write", "save_all": "moodlens.report.figures"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
