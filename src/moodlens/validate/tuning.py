"""What to change in an SAE's settings, in words, after how it does on rows that it has not seen."""

from moodlens.sae.sweep import ACTIVE_BAND, MAX_DEAD, MAX_MSE, MIN_EXPLAINED_VARIANCE
from moodlens.settings.sae import SAESettings
from moodlens.study.records.sae import Reconstruction

OVERFITS = 0.1
"""Explained variance that training rows may have more than held-out ones."""


def advice(measured: Reconstruction, settings: SAESettings | None) -> list[str]:
    """The roadmap's tuning hints; empty if there is nothing to say.

    Args:
        measured: on test and training rows.
        settings: it was trained with, as resolved; None: others trained it, and nothing can be set.
    """
    if settings is None:
        return []
    held_out, train = measured.held_out, measured.train
    hints = []
    l1 = settings.architecture == "l1"
    now = f"l1_coefficient (now {settings.l1_coefficient:g})" if l1 else f"k (now {settings.k})"
    sparser, denser = (f"raise {now}", f"lower {now}") if l1 else (f"lower {now}", f"raise {now}")
    low, high = ACTIVE_BAND
    active = f"{held_out.l0:.0f} features active, {held_out.active_share:.1%} of all"
    if held_out.active_share < low:
        hints.append(f"too sparse: {active}: {denser}")
    elif held_out.active_share > high:
        hints.append(f"not sparse enough: {active}: {sparser}")
    if held_out.explained_variance < MIN_EXPLAINED_VARIANCE or held_out.mse >= MAX_MSE:
        gap = train.explained_variance - held_out.explained_variance
        rebuilt = f"explained variance {held_out.explained_variance:.2f} on held-out rows"
        hints.append(
            f"overfits: {rebuilt}, {gap:.2f} more on training rows: add prompts or lower expansion_factor"
            if gap > OVERFITS
            else f"poor reconstruction: {rebuilt}: {denser}, raise expansion_factor or train for more epochs"
        )
    if held_out.dead_share > MAX_DEAD:
        hints.append(
            f"{held_out.dead_share:.0%} of the features are dead: {'lower l1_coefficient, ' if l1 else ''}"
            "lower dead_feature_threshold or expansion_factor, or add prompts"
        )
    return hints
