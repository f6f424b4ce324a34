"""What clips steered towards several emotions at once show: each of the mixed emotions on its own readout.

A mixture is no row of the confirmatory table: it is exploratory, has no q and is no claim. Its p-values are those of the other
tables, towards the sign of the emotion's weight: what is pushed away should fall.
"""

import re

import numpy as np

from moodlens.judge.chance import beside_usual, beyond_p, both
from moodlens.judge.tables import Judge
from moodlens.stats.pvalues import sign_flip_p
from moodlens.study.records.judge import MixtureRow

MIXTURE, RANDOM = "mixture", "random"


def mixtures(judge: Judge) -> tuple[MixtureRow, ...]:
    """Every mixture at every coefficient, on the readout of each emotion in it."""
    frame = judge.shifts.frame
    rows = []
    made = frame.filter(frame["method"] == MIXTURE).select("direction", "emotion", "coefficient").unique()
    for direction, mixed, c in sorted(made.rows()):
        weights = mixed_weights(mixed)
        for readout, by in judge.readouts.items():
            for emotion in (e for e in weights if e in by):
                row = _row(judge, readout, by[emotion], direction, mixed, weights, c, emotion)
                rows += [] if row is None else [row]
    return tuple(sorted(rows, key=lambda row: (row.readout, row.direction, row.coefficient)))


def mixed_weights(mixed: str) -> dict[str, float]:
    """``1*happy+-0.5*sad``, as a mixture of directions names it -> emotion -> weight."""
    parts = (part.partition("*") for part in re.split(r"\+(?=-?[\d.]+(?:e[+-]?\d+)?\*)", mixed))
    return {emotion: float(weight) for weight, _, emotion in parts}


def _row(
    judge: Judge,
    readout: str,
    column: str,
    direction: str,
    mixed: str,
    weights: dict[str, float],
    c: float,
    emotion: str,
) -> MixtureRow | None:
    values = judge.shifts.of(column, MIXTURE, mixed, c, direction)
    if not np.isfinite(values).any():
        return None
    values, beyond = beside_usual(values, judge.shifts.of(column, RANDOM, None, c))
    sign = np.sign(weights[emotion] * c)
    chance = judge.drawn(RANDOM, c, (column,))[:, 0] if RANDOM in judge.controls else np.zeros(0)
    effect = float(values.mean())
    prompt_p, random_p = sign_flip_p(sign * beyond, judge.s.seed), beyond_p(sign * effect, sign * chance)
    low, high = np.quantile(chance, [0.05, 0.95]).tolist() if len(chance) else (None, None)
    return MixtureRow(
        readout=readout,
        direction=direction,
        weights=weights,
        coefficient=c,
        emotion=emotion,
        effect=effect,
        ci=judge.interval(values),
        p=both(prompt_p, random_p),
        prompt_p=prompt_p,
        random_p=random_p,
        random_p5=low,
        random_p95=high,
        n_prompts=len(values),
    )
