"""Which implementation takes the training steps."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from moodlens.core import BadInput
from moodlens.sae.plain import NOTHING, Given, StepPlan, StepResult, activate, errors, pre_activations, step
from moodlens.sae.rows import Rows, Standard
from moodlens.sae.state import TrainingState
from moodlens.settings.sae import SAESettings


class Stepper(Protocol):
    """Takes training steps on a state that is handed over with :meth:`load` and complete again after :meth:`sync`."""

    def load(self, state: TrainingState) -> None: ...

    def sync(self) -> None: ...

    def step(
        self, data: Rows, index: np.ndarray, now: StepPlan, dead: Tensor, given: Given = NOTHING
    ) -> StepResult:
        """One step on rows ``index`` in rising order."""
        ...

    def errors(
        self, data: Rows, index: np.ndarray, k: float, target: np.ndarray | None = None
    ) -> tuple[float, int, float]:
        """``(sum |z - z_hat|^2, active codes, sum of codes times decoder norms)``; the last is for ``l1`` only."""
        ...


MakeStepper = Callable[[TrainingState, SAESettings, Standard], Stepper]
"""Makes a stepper for a state, resolved settings and the centring."""


def make_stepper(
    state: TrainingState,
    settings: SAESettings,
    standard: Standard,
    rates: np.ndarray,
    device: str,
    threads: int,
) -> Stepper:
    """The fast implementation for these settings on this device; ``rates``: learning rate of every step.

    Raises:
        BadInput: the device does not exist here.
    """
    try:
        torch.empty(0, device=device if device.startswith("cuda") else "cpu" if device == "cpu" else "none")
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"device {device!r} is not available here; use cpu") from error
    if device != "cpu" or (settings.architecture == "l1" and not settings.decoder_norm):
        from moodlens.sae.dense import DenseStep

        return DenseStep(state, settings, standard, device, threads)
    from moodlens.sae.sparse import SparseStep

    return SparseStep(state, settings, standard, rates, threads=threads)


class Plain:
    """The steps of :mod:`moodlens.sae.plain`."""

    def __init__(self, state: TrainingState, settings: SAESettings, standard: Standard) -> None:
        self.state, self.settings, self.standard = state, settings, standard

    def load(self, state: TrainingState) -> None:
        self.state = state

    def sync(self) -> None:
        pass

    def step(
        self, data: Rows, index: np.ndarray, now: StepPlan, dead: Tensor, given: Given = NOTHING
    ) -> StepResult:
        z = torch.from_numpy(self.standard.batch(data, index, given.added))
        target = None if given.target is None else torch.from_numpy(given.target)
        return step(self.state, z, self.settings, now, dead, target)

    def errors(
        self, data: Rows, index: np.ndarray, k: float, target: np.ndarray | None = None
    ) -> tuple[float, int, float]:
        z, p = torch.from_numpy(self.standard.batch(data, index)), self.state.parameters
        codes = activate(self.settings, pre_activations(p, z), k)
        return errors(p, z if target is None else torch.from_numpy(target), codes)
