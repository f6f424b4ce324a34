"""The tables of a steering run's results, each from the shifts of its scored clips."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from moodlens.core import BadInput
from moodlens.judge.hypotheses import HYPOTHESES, judge_shift
from moodlens.judge.shifts import Shifts, at_change, specificity, trend
from moodlens.settings.judge import ResultSettings
from moodlens.stats.pvalues import benjamini_hochberg, sign_flip_p, two_sided_sign_flip_p, upper_p
from moodlens.stats.resample import mean_interval
from moodlens.study.records.judge import (
    ComparisonRow,
    ControlRow,
    DistanceRow,
    DoseRow,
    EffectRow,
    EqualChange,
    HypothesisRow,
    SpecificityRow,
    Tested,
)

if TYPE_CHECKING:
    import polars as pl

BASELINES = ("difference_in_means", "prompt_editing", "linear_probe")
EDITING = "prompt_editing"
_NULLS = ("random", "matched_random_feature")


class Judge:
    """One run's tables; each method makes one of them."""

    def __init__(
        self,
        scores: "pl.DataFrame",
        shifts: Shifts,
        emotions: tuple[str, ...],
        readouts: dict[str, dict[str, str]],
        s: ResultSettings,
    ) -> None:
        self.scores, self.shifts, self.emotions, self.readouts, self.s = scores, shifts, emotions, readouts, s
        self.methods = shifts.methods(emotions)
        if not self.methods:
            raise BadInput(f"results: no clip is steered towards any of {', '.join(emotions)}")
        self.controls = shifts.controls()
        self.coefficient = self._matched()

    def _matched(self) -> float | None:
        sets = [set(self.shifts.coefficients(m)) for m in (*self.methods, *self.controls) if m != EDITING]
        if not sets:
            return None
        shared = {c for c in set.intersection(*sets) if c is not None and c > 0}
        if self.s.coefficient is not None and self.s.coefficient not in shared:
            raise BadInput(
                f"results: coefficient {self.s.coefficient:g} was not made for every method; shared: {sorted(shared)}"
            )
        if not shared:
            raise BadInput("results: no positive coefficient was made for every method and control")
        return self.s.coefficient if self.s.coefficient is not None else max(shared)

    def _at(self, method: str) -> float | None:
        return None if method == EDITING else self.coefficient

    def _has(self, method: str, by: dict[str, str]) -> tuple[str, ...]:
        """Emotions that a method has clips of, at matched strength."""
        at = self._at(method)
        return tuple(
            e for e, column in by.items() if np.isfinite(self.shifts.of(column, method, e, at)).any()
        )

    def _ci(self, values: np.ndarray) -> tuple[float, float] | None:
        return mean_interval(values, self.s.n_resamples, self.s.seed)

    def rows(self) -> tuple[tuple[EffectRow, ...], tuple[ControlRow, ...]]:
        """Effect of every method, emotion and coefficient on the emotion's own readout; and the controls'."""
        rows: list[EffectRow] = []
        controls: list[ControlRow] = []
        for readout, by in self.readouts.items():
            null = self._null(by)
            for (method, emotion, c), each in null.items():
                p5, p95 = np.quantile(each, [0.05, 0.95]).tolist()
                at = {"readout": readout, "method": method, "emotion": emotion, "coefficient": c}
                drawn = {"n_directions": len(each), "effect": float(np.mean(each)), "p5": p5, "p95": p95}
                controls.append(ControlRow(**at, **drawn))
            for method in self.methods:
                for c in self.shifts.coefficients(method):
                    for emotion, column in by.items():
                        values = self.shifts.of(column, method, emotion, c)
                        values = values[np.isfinite(values)]
                        if len(values):
                            drawn = {m: null[m, emotion, c] for m in _NULLS if (m, emotion, c) in null}
                            rows.append(self._row(readout, method, emotion, c, values, drawn))
        return tuple(row.model_copy(update={"moved": self._moved(row)}) for row in with_q(rows)), tuple(
            controls
        )

    def _null(self, by: dict[str, str]) -> dict[tuple[str, str, float | None], list[float]]:
        """Effect of each control direction: (method, emotion, coefficient) -> one value a direction."""
        null = {}
        for method in self.controls:
            for c in self.shifts.coefficients(method):
                for emotion, column in by.items():
                    each = [
                        float(np.nanmean(v))
                        for d in self.shifts.directions(method)
                        if np.isfinite(v := self.shifts.of(column, method, None, c, d)).any()
                    ]
                    if each:
                        null[method, emotion, c] = each
        return null

    def _row(
        self,
        readout: str,
        method: str,
        emotion: str,
        c: float | None,
        values: np.ndarray,
        drawn: dict[str, list[float]],
    ) -> EffectRow:
        sign = -1 if c is not None and c < 0 else 1
        effect = float(values.mean())
        random_p = random_p95 = matched_p95 = None
        if sign > 0 and "random" in drawn:
            random_p = float(upper_p(effect, np.array(drawn["random"])))
            random_p95 = float(np.quantile(drawn["random"], 0.95))
        if sign > 0 and method.startswith("sae_") and "matched_random_feature" in drawn:
            matched_p95 = float(np.quantile(drawn["matched_random_feature"], 0.95))
        return EffectRow(
            readout=readout,
            method=method,
            emotion=emotion,
            coefficient=c,
            effect=effect,
            ci=self._ci(values),
            p=sign_flip_p(sign * values, self.s.seed),
            random_p=random_p,
            random_p95=random_p95,
            matched_p95=matched_p95,
            n_prompts=len(values),
            kept=self._mean("kept", method, emotion, c),
            adherence=self._mean("adherence", method, emotion, c),
            moved=False,
        )

    def _moved(self, row: EffectRow) -> bool:
        bars = [bar for bar in (row.random_p95, row.matched_p95) if bar is not None]
        return row.q is not None and row.q <= self.s.alpha and all(row.effect > bar for bar in bars)

    def _mean(self, score: str, method: str, emotion: str, c: float | None) -> float | None:
        import polars as pl

        if score not in self.scores.columns:
            return None
        rows = self.scores.filter(
            (pl.col("method") == method)
            & (pl.col("emotion") == emotion)
            & pl.col("coefficient").eq_missing(c)
        )
        mean = rows[score].cast(pl.Float64).mean()
        return mean if isinstance(mean, float) else None

    def dose(self) -> tuple[DoseRow, ...]:
        """Trend of the emotion's readout over the coefficient, 0 (no steering) included."""
        out = []
        for readout, by in self.readouts.items():
            for method in self.methods:
                made = [c for c in self.shifts.coefficients(method) if c is not None]
                if len(made) < 2:
                    continue
                at = np.array(sorted({0.0, *made}))
                for emotion, column in by.items():
                    plain = np.zeros(len(self.shifts.prompts))
                    curves = np.stack(
                        [plain if c == 0 else self.shifts.of(column, method, emotion, c) for c in at], axis=1
                    )
                    curves = curves[np.isfinite(curves).all(axis=1)]
                    if len(curves):
                        key = {
                            "readout": readout,
                            "method": method,
                            "emotion": emotion,
                            "n_prompts": len(curves),
                        }
                        curve = {"coefficients": at.tolist(), "effects": curves.mean(axis=0).tolist()}
                        rises: dict[str, Any] = {**trend(curves, at, self.s.n_resamples, self.s.seed)}
                        out.append(DoseRow(**key, **curve, **rises))
        return with_q(out)

    def specificity(self) -> tuple[SpecificityRow, ...]:
        """The table of emotions steered by emotions read, at matched strength."""
        out = []
        for readout, by in self.readouts.items():
            for method in self.methods:
                emotions = self._has(method, by)
                if len(emotions) < 2:
                    continue
                at = self._at(method)
                cube = np.stack(
                    [np.stack([self.shifts.of(by[f], method, e, at) for f in emotions], 1) for e in emotions],
                    1,
                )
                cube = cube[np.isfinite(cube).all(axis=(1, 2))]
                if len(cube):
                    key = {"readout": readout, "method": method, "coefficient": at, "emotions": emotions}
                    table = specificity(cube, self.s.n_resamples, self.s.seed)
                    out.append(SpecificityRow(**key, **table, n_prompts=len(cube)))
        return with_q(out)

    def comparisons(self) -> tuple[ComparisonRow, ...]:
        """SAE methods against the trivial ones, prompt by prompt, mean over the emotions that both have."""
        out = []
        for readout, by in self.readouts.items():
            have = {method: self._has(method, by) for method in self.methods}
            for method in (m for m in self.methods if m.startswith("sae_")):
                for baseline in (m for m in BASELINES if m in have):
                    emotions = tuple(e for e in have[method] if e in have[baseline])
                    if not emotions:
                        continue
                    a, b = (self._over(m, {e: by[e] for e in emotions}) for m in (method, baseline))
                    both = np.isfinite(a) & np.isfinite(b)
                    if not both.any():
                        continue
                    a, b = a[both], b[both]
                    out.append(
                        ComparisonRow(
                            readout=readout,
                            method=method,
                            baseline=baseline,
                            coefficient=self.coefficient,
                            emotions=emotions,
                            effect=float(a.mean()),
                            baseline_effect=float(b.mean()),
                            difference=float((a - b).mean()),
                            ci=self._ci(a - b),
                            p=two_sided_sign_flip_p(a - b, self.s.seed),
                            n_prompts=int(both.sum()),
                        )
                    )
        return tuple(self._decided(row) for row in with_q(out))

    def _over(self, method: str, by: dict[str, str]) -> np.ndarray:
        """Shift at each prompt, mean over emotions, ``(n_prompts,)``."""
        return np.mean([self.shifts.of(c, method, e, self._at(method)) for e, c in by.items()], axis=0)

    def _decided(self, row: ComparisonRow) -> ComparisonRow:
        ahead = "baseline" if row.difference < 0 else "method"
        winner = ahead if row.q is not None and row.q <= self.s.alpha else None
        return row.model_copy(update={"winner": winner, "ahead": ahead if row.difference != 0 else None})

    def equal_change(self) -> tuple[EqualChange, ...]:
        """Effects at the same distance from the unsteered clip, for prompt editing has no coefficient to match."""
        if "kept" not in self.scores.columns:
            return ()
        out = []
        for readout, by in self.readouts.items():
            for emotion, column in by.items():
                curves: dict[str, dict[float, float]] = {}
                for method in self.methods:
                    points = {}
                    for c in self.shifts.coefficients(method):
                        kept = self._mean("kept", method, emotion, c)
                        values = self.shifts.of(column, method, emotion, c)
                        if (c is None or c > 0) and kept is not None and np.isfinite(values).any():
                            points[1 - kept] = float(np.nanmean(values))
                    if points and max(points) > 0:
                        curves[method] = points
                if len(curves) > 1:
                    change = min(max(points) for points in curves.values())
                    effects = {method: at_change(points, change) for method, points in curves.items()}
                    out.append(EqualChange(readout=readout, emotion=emotion, change=change, effects=effects))
        return tuple(out)

    def hypotheses(self) -> tuple[HypothesisRow, ...]:
        """Acoustic shifts at matched strength against what was stated beforehand."""
        out = []
        for method in self.methods:
            for emotion in (e for e in self.emotions if e in HYPOTHESES):
                measures = [m for m in HYPOTHESES[emotion] if m in self.shifts.frame.columns]
                if len(measures) < len(HYPOTHESES[emotion]):
                    continue
                at = self._at(method)
                moved = {m: self.shifts.of(m, method, emotion, at) for m in measures}
                for judged in judge_shift(emotion, moved, self.s.seed):
                    facts = {name: _or_none(value) for name, value in vars(judged).items()}
                    out.append(HypothesisRow(method=method, coefficient=at, **facts))
        return with_q(out)

    def distance(self) -> tuple[DistanceRow, ...]:
        """MMD of every method's clips from the unsteered ones, at matched strength, in CLAP's space."""
        if "clap_embedding" not in self.scores.columns:
            return ()
        import polars as pl

        from moodlens.judge.distance import mmd_test

        plain = self.scores.filter(pl.col("method") == "none")
        known = {(r["prompt"], r["seed"]): r["clap_embedding"] for r in plain.iter_rows(named=True)}
        out = []
        for method in (*self.methods, *self.controls):
            at = pl.col("coefficient").eq_missing(pl.lit(self._at(method)))
            rows = self.scores.filter((pl.col("method") == method) & at)
            for (emotion, direction), group in rows.group_by("emotion", "direction", maintain_order=True):
                pairs = [
                    (row["clap_embedding"], known[row["prompt"], row["seed"]])
                    for row in group.iter_rows(named=True)
                ]
                if len(pairs) < 2:
                    continue
                x, y = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
                test = mmd_test(x, y, paired=True, n_permutations=self.s.n_resamples, seed=self.s.seed)
                key: dict[str, Any] = {"method": method, "emotion": emotion, "direction": direction}
                far = {"mmd2": test.mmd2, "null_p95": test.null_p95, "p": test.p, "n": len(pairs)}
                out.append(DistanceRow(**key, **far))
        return with_q(out)


T = TypeVar("T", bound=Tested)


def with_q(rows: Sequence[T]) -> tuple[T, ...]:
    """``rows`` with Benjamini-Hochberg's q over all of them; those without a p have none."""
    if not rows:
        return ()
    p = np.array([np.nan if row.p is None else row.p for row in rows])
    q = benjamini_hochberg(p).tolist()
    return tuple(row.model_copy(update={"q": _or_none(value)}) for row, value in zip(rows, q, strict=True))


def _or_none(value: Any) -> Any:
    """``value``, or None for NaN, as JSON has it."""
    return None if isinstance(value, float) and np.isnan(value) else value
