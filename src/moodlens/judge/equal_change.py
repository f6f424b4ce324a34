"""Effects where all methods move their generator equally far; nothing here is a claim.

A coefficient is no common measure: edited prompts have none, and one unit of it does more along one direction than along another.
What is common is the change of the model's own predictions (:mod:`moodlens.judge.change`). It is quadratic in a small step where an effect
is linear, so effects are read off along its root: straight from one measured coefficient to the next, and from no steering, where
change and effect are 0, to the first. What is not above the floor of two unsteered seeds is not matched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from moodlens.judge.chance import FEWEST
from moodlens.judge.tables import Judge
from moodlens.settings.steer import UNSCALED
from moodlens.study.records.judge import Change, EqualChange, MatchedMethod


@dataclass(frozen=True)
class Point:
    """One method at one coefficient.

    Attributes:
        coefficient: None: an edited prompt.
        change: how far the generator is moved, mean over clips.
        floor: what two unsteered seeds show along it, in the same unit.
        effect: on the readout, mean over prompts.
    """

    coefficient: float | None
    change: float
    floor: float
    effect: float

    @property
    def above(self) -> bool:
        """Whether the change is more than two unsteered seeds show."""
        return self.change > self.floor


def equal_change(judge: Judge) -> tuple[EqualChange, ...]:
    """One row for each readout and emotion; none where no change was measured."""
    measured = {"change", "seed_shift", "change_of"} <= set(judge.scores.columns)
    known = judge.scores["change_of"].drop_nulls() if measured else pl.Series([], dtype=pl.String)
    if known.is_empty():
        return ()
    of: Change = known[0]
    out = []
    for readout, by in judge.readouts.items():
        for emotion, column in by.items():
            curves = {method: _curve(judge, column, method, emotion) for method in judge.methods}
            row = _matched(readout, emotion, of, {m: points for m, points in curves.items() if points})
            if row is not None:
                at = row.change
                drawn = np.zeros(0) if at is None else _random(judge, column, at)
                p95 = float(np.quantile(drawn, 0.95)) if len(drawn) >= FEWEST else None
                out.append(row.model_copy(update={"n_random": len(drawn), "random_p95": p95}))
    return tuple(out)


def _curve(judge: Judge, column: str, method: str, emotion: str) -> list[Point]:
    points = []
    for c in judge.shifts.coefficients(method):
        change, floor = judge.change(method, emotion, c)
        values = judge.shifts.of(column, method, emotion, c)
        if (c is None or c > 0) and change is not None and floor is not None and np.isfinite(values).any():
            points.append(Point(c, change, floor, float(np.nanmean(values))))
    return points


def _matched(readout: str, emotion: str, of: Change, curves: dict[str, list[Point]]) -> EqualChange | None:
    """All methods at the largest change that each of them reaches, if it reaches one above the floor."""
    if not curves:
        return None
    above = {method: [point for point in points if point.above] for method, points in curves.items()}
    reached = [max(point.change for point in points) for points in above.values() if points]
    change = min(reached) if len(reached) > 1 else None
    methods = tuple(_at(method, points, above[method], change) for method, points in curves.items())
    if sum(row.effect is not None for row in methods) < 2:
        change = None
        methods = tuple(_at(method, points, [], None) for method, points in curves.items())
    return EqualChange(
        readout=readout, emotion=emotion, of=of, change=change, methods=methods, n_random=0, random_p95=None
    )


def _at(method: str, points: Sequence[Point], above: Sequence[Point], change: float | None) -> MatchedMethod:
    effect = coefficient = floor = None
    between = False
    if change is not None and above:
        x = [point.change for point in above]
        floor = along(x, [point.floor for point in above], change)
        if floor is not None and floor < change:
            effect = along(x, [point.effect for point in above], change)
            between = change >= min(x)
            if method not in UNSCALED:
                coefficient = along(x, [point.coefficient or 0.0 for point in above], change)
        else:
            floor = None
    return MatchedMethod(
        method=method,
        effect=effect,
        coefficient=coefficient,
        between=between,
        floor=floor,
        largest=max(point.change for point in points),
        below=tuple(point.coefficient for point in points if not point.above),
    )


def along(changes: Sequence[float], values: Sequence[float], change: float) -> float | None:
    """What ``values`` are at a change, by straight lines along its root through (0, 0); None beyond the last.

    Args:
        changes: ``(n,)`` measured, in any order.
        values: ``(n,)`` there; 0 where nothing changes.
    """
    order = np.argsort(changes, kind="stable")
    x = np.sqrt([0.0, *np.asarray(changes, dtype=float)[order]])
    if np.sqrt(change) > x[-1] * (1 + 1e-9):
        return None
    return float(np.interp(np.sqrt(change), x, [0.0, *np.asarray(values, dtype=float)[order]]))


def _random(judge: Judge, column: str, change: float) -> np.ndarray:
    """Effects of the random directions that reach a change, there, ``(n,)``."""
    kept = judge.shifts.frame.filter((pl.col("method") == "random") & (pl.col("coefficient") > 0))
    each = (
        kept.with_columns(pl.col(column).fill_nan(None))
        .group_by("direction", "coefficient", maintain_order=True)
        .agg(pl.col("change").mean(), pl.col(column).mean())
        .drop_nulls()
    )
    matched = [
        along(group["change"].to_list(), group[column].to_list(), change)
        for _, group in each.group_by("direction", maintain_order=True)
    ]
    return np.array([value for value in matched if value is not None])
