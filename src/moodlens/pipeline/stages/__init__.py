"""The stages of a study, in an order in which they can run one by one."""

from importlib import import_module

from moodlens.pipeline.flow import FLOW
from moodlens.pipeline.stage import Stage

STAGES: tuple[Stage, ...] = tuple(
    getattr(import_module(f"{__name__}.{module}"), name) for name, (module, _) in FLOW.items()
)
