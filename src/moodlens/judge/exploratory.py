"""Tables of a steering run that claim nothing: doses, hypotheses, distances."""

from typing import Any

import numpy as np

from moodlens.judge.chance import beyond_p, both
from moodlens.judge.hypotheses import HYPOTHESES, judge_shift
from moodlens.judge.shifts import trend
from moodlens.judge.tables import Judge
from moodlens.study.records.judge import DistanceRow, DoseRow, HypothesisRow


def dose(judge: Judge) -> tuple[DoseRow, ...]:
    """Trend of the emotion's readout over the coefficient, 0 (no steering) included.

    The slope is tested against those of random directions, which every coefficient must have; else there is no p.
    """
    out = []
    for readout, by in judge.readouts.items():
        for method in judge.methods:
            made = [c for c in judge.shifts.coefficients(method) if c is not None]
            if len(made) < 2:
                continue
            at = np.array(sorted({0.0, *made}))
            chance = _random_slopes(judge, method, at, tuple(by.values()))
            for place, (emotion, column) in enumerate(by.items()):
                curves = _curves(judge, column, method, emotion, at)
                if not len(curves):
                    continue
                rises: dict[str, Any] = {**trend(curves, at, judge.s.n_resamples, judge.s.seed)}
                prompt_p, slope = rises.pop("p"), float(_slope(curves.mean(axis=0), at))
                random_p = None if chance is None else beyond_p(slope, chance[:, place])
                out.append(
                    DoseRow(
                        readout=readout,
                        method=method,
                        emotion=emotion,
                        coefficients=tuple(at.tolist()),
                        effects=tuple(curves.mean(axis=0).tolist()),
                        slope=slope,
                        p=both(prompt_p, random_p),
                        prompt_p=prompt_p,
                        random_p=random_p,
                        n_prompts=len(curves),
                        **rises,
                    )
                )
    return tuple(out)


def _curves(
    judge: Judge, column: str, method: str, emotion: str | None, at: np.ndarray, direction: str | None = None
) -> np.ndarray:
    """``(n_prompts, n_coefficients)``, of the prompts that have all."""
    plain = np.zeros(len(judge.shifts.prompts))
    curves = np.stack(
        [plain if c == 0 else judge.shifts.of(column, method, emotion, c, direction) for c in at], axis=1
    )
    return curves[np.isfinite(curves).all(axis=1)]


def _slope(effects: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Of ``effects (..., n_coefficients)``, through no effect at 0."""
    return effects @ at / (at @ at)


def _random_slopes(judge: Judge, method: str, at: np.ndarray, columns: tuple[str, ...]) -> np.ndarray | None:
    control = judge.chance_of(method, float(at[-1]))
    if not set(at.tolist()) - {0.0} <= set(judge.shifts.coefficients(control)):
        return None
    each = [
        [_curves(judge, column, control, None, at, direction) for column in columns]
        for direction in judge.shifts.directions(control)
    ]
    whole = [curves for curves in each if all(map(len, curves))]
    slopes = [[_slope(curve.mean(axis=0), at) for curve in curves] for curves in whole]
    return np.array(slopes).reshape(-1, len(columns))


def hypotheses(judge: Judge) -> tuple[HypothesisRow, ...]:
    """Acoustic shifts at matched strength against what was stated beforehand."""
    out = []
    for method in judge.methods:
        for emotion in (e for e in judge.emotions if e in HYPOTHESES):
            measures = [m for m in HYPOTHESES[emotion] if m in judge.shifts.frame.columns]
            if len(measures) < len(HYPOTHESES[emotion]):
                continue
            at = judge.at(method)
            moved = {m: judge.shifts.of(m, method, emotion, at) for m in measures}
            for judged in judge_shift(emotion, moved, judge.s.seed):
                facts = {name: _or_none(value) for name, value in vars(judged).items()}
                out.append(HypothesisRow(method=method, coefficient=at, **facts))
    return tuple(out)


def distance(judge: Judge) -> tuple[DistanceRow, ...]:
    """MMD of every method's clips from the unsteered ones, at matched strength, in CLAP's space."""
    if "clap_embedding" not in judge.scores.columns:
        return ()
    import polars as pl

    from moodlens.judge.distance import mmd_test

    plain = judge.scores.filter(pl.col("method") == "none")
    known = {(r["prompt"], r["seed"]): r["clap_embedding"] for r in plain.iter_rows(named=True)}
    out = []
    for method in (*judge.methods, *judge.controls):
        at = pl.col("coefficient").eq_missing(pl.lit(judge.at(method)))
        rows = judge.scores.filter((pl.col("method") == method) & at)
        for (emotion, direction), group in rows.group_by("emotion", "direction", maintain_order=True):
            pairs = [
                (row["clap_embedding"], known[row["prompt"], row["seed"]])
                for row in group.iter_rows(named=True)
            ]
            if len(pairs) < 2:
                continue
            x, y = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
            test = mmd_test(x, y, paired=True, n_permutations=judge.s.n_resamples, seed=judge.s.seed)
            key: dict[str, Any] = {"method": method, "emotion": emotion, "direction": direction}
            far = {"mmd2": test.mmd2, "null_p95": test.null_p95, "p": test.p, "n": len(pairs)}
            out.append(DistanceRow(**key, **far))
    return tuple(out)


def _or_none(value: Any) -> Any:
    """``value``, or None for NaN, as JSON has it."""
    return None if isinstance(value, float) and np.isnan(value) else value
