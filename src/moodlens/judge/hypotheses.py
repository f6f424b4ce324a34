"""What each emotion should do to the sound, written down before any clip is heard, and judging a shift against it.

The signs are the common ground of music psychology (Juslin & Laukka 2003; Eerola & Vuoskoski 2013). A clip may break
them and still be right: real MusicGen clips put "sad" in major. They are hypotheses, and a miss is a result.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput
from moodlens.stats.pvalues import sign_flip_p

HYPOTHESES: dict[str, dict[str, int]] = {
    "happy": {"mode": 1, "tempo": 1, "centroid": 1},
    "sad": {"mode": -1, "tempo": -1, "centroid": -1},
    "calm": {"loudness": -1, "onset_strength": -1, "centroid": -1},
    "energetic": {"mode": 1, "tempo": 1, "loudness": 1, "onset_strength": 1, "centroid": 1},
}
"""emotion -> measure -> sign of the shift away from the unsteered clip."""


@dataclass(frozen=True)
class Judgement:
    """One hypothesis and what happened.

    Attributes:
        emotion: steered towards.
        measure: column of :class:`moodlens.judge.acoustics.AcousticScore`.
        expected: +1 or -1, stated beforehand.
        shift: mean of the shifts, in the measure's unit; NaN if none could be measured.
        n: shifts measured.
        p: one-sided, by sign flips: chance of a mean at least as far in the expected direction. NaN if n is 0.
        agrees: whether the mean has the expected sign; None if nothing was measured. Says nothing about chance.
    """

    emotion: str
    measure: str
    expected: int
    shift: float
    n: int
    p: float
    agrees: bool | None


def judge_shift(emotion: str, shifts: Mapping[str, np.ndarray], seed: int = 0) -> list[Judgement]:
    """Judge measured shifts against an emotion's hypotheses.

    Args:
        emotion: one with hypotheses.
        shifts: measure -> ``(n,)`` differences steered - unsteered, one per prompt; NaN where a measure is undefined
            (a tempo below the confidence gate).
        seed: of the sign flips, used where there are too many prompts to try all.

    Raises:
        BadInput: nothing was stated about this emotion, or a measure is missing.
    """
    if emotion not in HYPOTHESES:
        raise BadInput(f"no acoustic hypotheses for {emotion!r}; stated for: {', '.join(HYPOTHESES)}")
    out = []
    for measure, sign in HYPOTHESES[emotion].items():
        if measure not in shifts:
            raise BadInput(f"judge_shift: no {measure} among {', '.join(shifts)}")
        x = np.asarray(shifts[measure], dtype=np.float64)
        x = x[np.isfinite(x)]
        if not len(x):
            out.append(Judgement(emotion, measure, sign, np.nan, 0, np.nan, None))
            continue
        mean = float(x.mean())
        out.append(
            Judgement(emotion, measure, sign, mean, len(x), sign_flip_p(sign * x, seed), mean * sign > 0)
        )
    return out
