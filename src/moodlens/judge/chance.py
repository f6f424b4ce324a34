"""What is claimed of clips, against directions that mean nothing.

Every direction does something, and the same to every prompt: a test over prompts alone finds an effect in any of them.
So an effect must stand out from those of random directions at the same strength, among which a direction without a
meaning would be one more; the t distribution with one degree of freedom less than there are random directions takes
account of how few they are (a prediction interval for one new value). And it must hold over prompts, for which the
results are to hold. ``p`` is the larger of the two p-values: both must be small (an intersection-union test, Berger 1982).
"""

from collections.abc import Sequence

import numpy as np

from moodlens.settings.steer import EDITING, LAYER_METHOD, LAYER_RANDOM, NEUTRAL_EDITING

FEWEST = 3
"""Random directions below which nothing is tested against them."""
KINDS = {
    "random": "random directions",
    LAYER_RANDOM: "random directions in the layers",
    "neutral_difference": "differences of neutral words",
    NEUTRAL_EDITING: "neutral words",
}
"""What the controls that methods are compared with consist of."""
MORE = {
    "random": "controls: random; directions.n_random",
    LAYER_RANDOM: f"controls: {LAYER_RANDOM}; layers.n_random",
    "neutral_difference": "controls: neutral_difference; neutral_words",
    NEUTRAL_EDITING: "neutral_words",
}
"""The settings that make more of them."""


def control_of(method: str, *, paired: bool) -> str:
    """The control whose directions a method's are compared with.

    Args:
        method: that is judged.
        paired: whether differences of neutral words are made at the same strength.
    """
    if method == EDITING:
        return NEUTRAL_EDITING
    if method == LAYER_METHOD:
        return LAYER_RANDOM
    return "neutral_difference" if paired and method == "prompt_difference" else "random"


def beyond_p(effect: float, drawn: np.ndarray) -> float | None:
    """One-sided p that ``effect`` is above what one more direction like the ``(n,)`` drawn ones has; None: too few."""
    from scipy.stats import t

    n, spread = len(drawn), _spread(drawn)
    if spread is None:
        return None
    return float(t.sf((effect - drawn.mean()) / (spread * np.sqrt(1 + 1 / n)), n - 1))


def beside_usual(values: np.ndarray, usual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(values, beyond)``, each without NaN: shifts over prompts, and what they have beyond those of random directions.

    Both of a prompt hold the noise of its unsteered clip, which their difference does not. Where no random direction was
    made at any of the prompts, ``beyond`` is the values themselves.
    """
    beyond = values - usual if np.isfinite(values - usual).any() else values
    return values[np.isfinite(values)], beyond[np.isfinite(beyond)]


def contrast_p(value: float, parts: Sequence[np.ndarray], *, two_sided: bool) -> float | None:
    """p of a sum of one value from each of several groups of draws, if each were one more draw of its group.

    The sum's expected value must be 0, as that of a contrast between directions of one kind is.

    Args:
        value: the sum.
        parts: ``(n,)`` draws of each summand, with their sign and weight.
        two_sided: whether either sign counts.

    Returns:
        None where a group has too few draws.
    """
    from scipy.stats import t

    spreads = [_spread(part) for part in parts]
    known = [spread for spread in spreads if spread is not None]
    if not parts or len(known) < len(parts):
        return None
    z = value / np.sqrt(np.sum(np.square(known)))
    p = t.sf(abs(z) if two_sided else z, min(map(len, parts)) - 1)
    return float(2 * p if two_sided else p)


def both(first: float | None, second: float | None) -> float | None:
    """The larger of two p-values; None where one is not known, for then nothing is claimed."""
    if first is None or second is None or np.isnan(first) or np.isnan(second):
        return None
    return max(first, second)


def _spread(drawn: np.ndarray) -> float | None:
    if len(drawn) < FEWEST:
        return None
    spread = float(drawn.std(ddof=1))
    return spread if spread > 1e-12 * max(float(np.abs(drawn).max()), 1e-300) else None
