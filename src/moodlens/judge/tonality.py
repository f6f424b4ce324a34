"""Key and mode from a chroma profile."""

from dataclasses import dataclass

import numpy as np

NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")

# Krumhansl & Kessler (1982), probe-tone ratings; Temperley (1999) revised them. On real clips Krumhansl's tell the
# modes as other tools do, so they are what is used; Temperley's are there to check with.
KRUMHANSL = (
    (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88),
    (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17),
)
TEMPERLEY = (
    (5.0, 2.0, 3.5, 2.0, 4.5, 4.0, 2.0, 4.5, 2.0, 3.5, 1.5, 4.0),
    (5.0, 2.0, 3.5, 4.5, 2.0, 4.0, 2.0, 4.5, 3.5, 2.0, 1.5, 4.0),
)


@dataclass(frozen=True)
class Key:
    """A key found in a chroma profile.

    Attributes:
        name: such as ``"F# minor"``; None where the profile is flat.
        correlation: of the profile with that key's.
        majorness: best major minus best minor correlation; above 0 is major, and near 0 is neither.
    """

    name: str | None
    correlation: float | None
    majorness: float | None


def find_key(chroma: np.ndarray, profiles: tuple[tuple[float, ...], tuple[float, ...]] = KRUMHANSL) -> Key:
    """The key whose profile correlates best with ``chroma`` (12,), C first (Krumhansl & Schmuckler 1990)."""
    chroma = np.asarray(chroma, dtype=np.float64)
    if not np.isfinite(chroma).all() or np.ptp(chroma) < 1e-9 * max(1.0, float(np.abs(chroma).max())):
        return Key(None, None, None)
    table = np.array([[np.roll(profile, tonic) for tonic in range(12)] for profile in profiles])
    table = table - table.mean(axis=-1, keepdims=True)
    x = chroma - chroma.mean()
    fit = (table @ x) / (np.linalg.norm(table, axis=-1) * np.linalg.norm(x))
    mode, tonic = np.unravel_index(int(fit.argmax()), fit.shape)
    name = f"{NAMES[int(tonic)]} {'major' if mode == 0 else 'minor'}"
    return Key(name, float(fit.max()), float(fit[0].max() - fit[1].max()))
