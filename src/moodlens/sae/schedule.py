"""What changes from step to step: the step size and the sparsity."""

from dataclasses import dataclass

from moodlens.settings.sae import SAESettings


@dataclass(frozen=True)
class StepPlan:
    """What one training step needs to know."""

    learning_rate: float
    l1: float
    k: float  # mean active features a row


def plan(settings: SAESettings, step: int, total: int) -> StepPlan:
    """Step size: linear up over ``warmup``, level, linear to zero over ``decay``. Sparsity: l1 rises, k falls from 4 k.

    Args:
        step: 0 for the first step.
        total: steps if training is not stopped early.
    """
    assert settings.d_sae is not None
    done = (step + 1) / total
    rate = settings.learning_rate
    if settings.warmup > 0:
        rate *= min(1.0, done / settings.warmup)
    if settings.decay > 0:
        rate *= min(1.0, (total - step) / total / settings.decay)
    ramp = min(1.0, done / settings.sparsity_warmup) if settings.sparsity_warmup > 0 else 1.0
    widest = min(4 * settings.k, max(settings.k, settings.d_sae // 2))
    return StepPlan(
        learning_rate=rate,
        l1=settings.l1_coefficient * ramp,
        k=settings.k + (1 - ramp) * (widest - settings.k),
    )
