"""What steering would do to the readouts of an emotion, predicted from test texts, beside directions that mean nothing."""

from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput
from moodlens.explore.answers import (
    EmotionShift,
    FamilyDirection,
    FeatureDirection,
    ReadoutShift,
    SteerAnswer,
    SteerQuestion,
)
from moodlens.explore.explored import Explored, short, shorts
from moodlens.pipeline.stages.proof import panel
from moodlens.stats.contrast import difference_in_means
from moodlens.stats.controls import random_directions
from moodlens.stats.resample import GroupMeans
from moodlens.steer.directions import unit_vector
from moodlens.study.rows import DEV
from moodlens.validate.interventions import Bank, centroid_means, constant_effects, probe_means
from moodlens.validate.readouts import READOUTS, Panel

GRID = (-4.0, -3.0, -2.0, -1.5, -1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Coefficients of a curve."""
MOST = 4.0
"""Largest coefficient that the page offers; those of a question may be larger."""
RANDOM = 200
MATCHED = 200
UNIT_NOTE = (
    "coefficient 1 adds the mean length of the emotions' differences in means, as `moodlens steer` counts; a direction is "
    "brought to length 1 first"
)
_MEANS = (probe_means, centroid_means)
_UNITS = {"probe": "log-odds", "centroid": "cosine"}


def _difference(explored: Explored) -> np.ndarray:
    def make() -> np.ndarray:
        study = explored.study
        dev = study.rows.where(*DEV)
        return difference_in_means(study.x[dev], study.rows.label[dev], len(study.emotions))

    return explored.once("difference in means", make)


def steer_unit(explored: Explored) -> float:
    """Embedding units that coefficient 1 adds: the same as in the directions of `moodlens steer`."""
    return float(np.mean(np.linalg.norm(_difference(explored), axis=1)))


def direction_of(explored: Explored, question: SteerQuestion) -> np.ndarray:
    """(d_in,) float32 of length 1.

    Raises:
        BadInput: a feature or an emotion is not there, or the parts cancel out.
    """
    study, total = explored.study, np.zeros(explored.study.x.shape[1])
    for part in question.parts:
        if isinstance(part, FeatureDirection):
            vector, what = study.W_dec()[explored.check(part.feature)], f"feature {part.feature}"
        else:
            vector, what = _of_emotion(explored, part), f"{part.kind} of {part.emotion}"
        total += part.weight * unit_vector(vector, what)
    return unit_vector(total, "the sum of the parts").astype(np.float32)


def _of_emotion(explored: Explored, part: FamilyDirection) -> np.ndarray:
    study = explored.study
    if part.emotion not in study.emotions:
        raise BadInput(f"emotion {part.emotion[:80]!r}: the study knows {', '.join(study.emotions)}")
    if part.kind == "difference_in_means":
        return _difference(explored)[study.emotions.index(part.emotion)]
    family = study.families[part.emotion]
    if not family.features:
        raise BadInput(f"{part.emotion}: it has no emotion feature, so no family")
    return family.direction(study.W_dec())


@dataclass(frozen=True)
class _Target:
    """The test texts of other emotions, and what directions without a meaning do there."""

    panel: Panel
    means: GroupMeans
    random: np.ndarray
    """(2 readouts, grid, 2): 5th and 95th percentile."""


def _targets(explored: Explored) -> list[_Target]:
    def make() -> list[_Target]:
        study = explored.study
        settings, rows = study.settings.validation.causal, study.rows
        judged = panel(study)
        means = GroupMeans.of(rows.group, settings.n_bootstrap, study.seed)
        drawn = _random(explored)
        amounts = np.repeat(np.array(GRID) * steer_unit(explored), len(drawn))
        which = np.tile(np.arange(len(drawn)), len(GRID))
        out = []
        for c in range(len(study.emotions)):
            others = judged.take(rows.label != c)
            bank = Bank.of(others, drawn)
            edges = [
                np.quantile(
                    mean(others, bank, which, amounts, c).reshape(len(GRID), -1), (0.05, 0.95), axis=1
                ).T
                for mean in _MEANS
            ]
            out.append(_Target(others, means, np.stack(edges)))
        return out

    return explored.once("targets", make)


def _random(explored: Explored) -> np.ndarray:
    rng = np.random.default_rng([explored.study.seed, 0xE4])
    return random_directions(RANDOM, explored.study.x.shape[1], rng)


def random_control(explored: Explored, seed: int) -> tuple[int, np.ndarray]:
    """The random direction that stands beside clips of a seed: its number and (d_in,) float32 of length 1."""
    number = seed % RANDOM
    return number, unit_vector(_random(explored)[number], f"random direction {number}")


def _unclaimed(explored: Explored) -> np.ndarray:
    """(m, d_in) decoder rows of live features that nobody claims."""
    alive = np.diff(explored.codes.indptr) > 0
    alive[explored.claimed] = False
    pool = np.flatnonzero(alive)
    rng = np.random.default_rng([explored.study.seed, 0xE5])
    return explored.directions[np.sort(rng.permutation(pool)[:MATCHED])]


def warm_steer(explored: Explored) -> None:
    """Make what every answer needs."""
    _targets(explored)


def steer_answer(explored: Explored, question: SteerQuestion) -> SteerAnswer:
    """The predicted shift of both readouts of every emotion, in test texts of the other emotions and neutral ones.

    Raises:
        BadInput: of :func:`direction_of`, or the test rows cannot judge.
    """
    direction, unit = direction_of(explored, question), steer_unit(explored)
    targets, judged = _targets(explored), panel(explored.study)
    amount = question.coefficient * unit
    own = explored.once(
        "unit differences", lambda: [unit_vector(v, "difference") for v in _difference(explored)]
    )
    others = explored.once("unclaimed", lambda: _unclaimed(explored))
    shifts = []
    for c, (emotion, target) in enumerate(zip(explored.study.emotions, targets, strict=True)):
        bank = Bank.of(target.panel, np.concatenate([[direction], [own[c]], others, _random(explored)]))
        each = np.arange(len(bank.square))
        changes = constant_effects(target.panel, bank, np.array([0]), np.array([amount]), c)
        readouts = []
        for place, (readout, mean) in enumerate(zip(READOUTS, _MEANS, strict=True)):
            sums, counts = target.means.sums(target.panel.rows, changes[place])
            effect, low, high = target.means.interval(sums, counts)
            at = mean(target.panel, bank, each, np.full(len(each), amount), c)
            matched, drawn = np.split(at[2:], [len(others)])
            curve = mean(target.panel, bank, np.zeros(len(GRID), dtype=int), np.array(GRID) * unit, c)
            readouts.append(
                ReadoutShift(
                    readout=readout,
                    unit=_UNITS[readout],
                    effect=short(float(effect[0])) or 0.0,
                    ci=(short(float(low[0])) or 0.0, short(float(high[0])) or 0.0),
                    random=_edges(drawn),
                    matched=_edges(matched) if len(matched) else None,
                    difference_in_means=short(float(at[1])) or 0.0,
                    curve=shorts(curve),
                    random_low=shorts(target.random[place][:, 0]),
                    random_high=shorts(target.random[place][:, 1]),
                )
            )
        shifts.append(EmotionShift(emotion=emotion, readouts=tuple(readouts)))
    rows = judged.rows
    return SteerAnswer(
        coefficient=question.coefficient,
        unit=short(unit) or 0.0,
        amount=short(amount) or 0.0,
        grid=list(GRID),
        emotions=tuple(shifts),
        n_rows=len(rows),
        n_groups=len(np.unique(explored.study.rows.group[rows])),
        note=f"Mean over test texts of other emotions and neutral ones; {judged.note}. Beside it: {RANDOM} random "
        f"directions, and {len(others)} live features that nobody claims, as far gone. A readout is not music.",
    )


def _edges(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, (0.05, 0.95))
    return short(float(low)) or 0.0, short(float(high)) or 0.0
