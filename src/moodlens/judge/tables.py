"""What a steering run shows: effects beside directions that mean nothing, of which a few, named beforehand, are claims.

The confirmatory table is one readout, one matched coefficient and a few methods, all chosen before a clip is made; q is
over it alone. Whether a method is specific, and which method is better, is claimed only where something moved at all:
behind that gate a study of directions without a meaning claims no more than its confirmatory table does. Everything else
is exploratory: it has no q and is no claim.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from moodlens.core import BadInput
from moodlens.judge.chance import beside_usual, beyond_p, both, contrast_p, control_of
from moodlens.judge.shifts import Shifts, specificity
from moodlens.settings.judge import ResultSettings
from moodlens.settings.steer import EDITING, UNSCALED
from moodlens.stats.pvalues import benjamini_hochberg, sign_flip_p, two_sided_sign_flip_p
from moodlens.stats.resample import mean_interval
from moodlens.study.records.judge import Claimed, ComparisonRow, ControlRow, EffectRow, SpecificityRow

if TYPE_CHECKING:
    import polars as pl

BASELINES = ("difference_in_means", EDITING, "linear_probe", "untrained_family")
MATCHED = "matched_random_feature"
PRIMARY = ("clap_logit", "clap", "musicnn", "acoustic")
"""Readouts of the confirmatory table where none is named: the first that is scored."""


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
        self.readout = primary(readouts, s)
        named = s.methods or tuple(self.methods)
        self.confirmatory = tuple(method for method in self.methods if method in named)
        self.moved: frozenset[str] = frozenset()
        """Confirmatory methods of which a row is claimed: known when :meth:`rows` has been asked."""

    def _matched(self) -> float | None:
        swept = [m for m in (*self.methods, *self.controls) if m not in UNSCALED]
        sets = [set(self.shifts.coefficients(m)) for m in swept]
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

    def at(self, method: str) -> float | None:
        """The matched coefficient; None for a method without one."""
        return None if method in UNSCALED else self.coefficient

    def has(self, method: str, by: dict[str, str]) -> tuple[str, ...]:
        """Emotions that a method has clips of, at matched strength."""
        at = self.at(method)
        return tuple(
            e for e, column in by.items() if np.isfinite(self.shifts.of(column, method, e, at)).any()
        )

    def chance_of(self, method: str, c: float | None) -> str:
        """The control whose directions a method's are compared with."""
        return control_of(method, paired=c in self.shifts.coefficients("neutral_difference"))

    def drawn(self, control: str, c: float | None, columns: Sequence[str]) -> np.ndarray:
        """Effect of every direction of a control on ``columns``, ``(n_directions, n_columns)``."""
        means = np.stack([self.shifts.each(column, control, c) for column in columns], axis=1)
        return means[np.isfinite(means).all(axis=1)]

    def interval(self, values: np.ndarray) -> tuple[float, float] | None:
        """Over prompts."""
        return mean_interval(values, self.s.n_resamples, self.s.seed)

    def is_claim(self, readout: str, method: str, c: float | None) -> bool:
        """Whether a row belongs to what was named beforehand."""
        return readout == self.readout and method in self.confirmatory and c == self.at(method)

    def mean(self, score: str, method: str, emotion: str, c: float | None) -> float | None:
        """Mean of a score over the clips of a method, emotion and coefficient."""
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

    def change(self, method: str, emotion: str, c: float | None) -> tuple[float | None, float | None]:
        """How far a condition moves the generator, mean over its clips, and what two unsteered seeds show along it (root mean
        square over the same); None where that was not measured of all of them."""
        import polars as pl

        if not {"change", "seed_shift"} <= set(self.scores.columns):
            return None, None
        rows = self.scores.filter(
            (pl.col("method") == method)
            & (pl.col("emotion") == emotion)
            & pl.col("coefficient").eq_missing(c)
        )
        change, shift = (rows[name].to_numpy().astype(float) for name in ("change", "seed_shift"))
        if not len(change) or not np.isfinite([change, shift]).all():
            return None, None
        return float(change.mean()), float(np.sqrt(np.mean(shift**2)))

    # -- effects -------------------------------------------------------------------------------------------------------

    def rows(self) -> tuple[tuple[EffectRow, ...], tuple[ControlRow, ...]]:
        """Effect of every method, emotion and coefficient on the emotion's own readout; and the controls'."""
        rows: list[EffectRow] = []
        controls: list[ControlRow] = []
        for readout, by in self.readouts.items():
            null = {}
            for control in self.controls:
                for c in self.shifts.coefficients(control):
                    each = self.drawn(control, c, tuple(by.values()))
                    if len(each):
                        null[control, c] = dict(zip(by, each.T, strict=True))
                        controls += [
                            _control_row(readout, control, e, c, v) for e, v in null[control, c].items()
                        ]
            for method in self.methods:
                for c in self.shifts.coefficients(method):
                    for emotion, column in by.items():
                        values = self.shifts.of(column, method, emotion, c)
                        if np.isfinite(values).any():
                            control = self.chance_of(method, c)
                            rows.append(
                                self._row(
                                    readout,
                                    method,
                                    emotion,
                                    c,
                                    values,
                                    self.shifts.of(column, control, None, c),
                                    null.get((control, c), {}).get(emotion),
                                    null.get((MATCHED, c), {}).get(emotion),
                                )
                            )
        judged = tuple(row.model_copy(update={"moved": self._has_moved(row)}) for row in with_q(rows))
        self.moved = frozenset(row.method for row in judged if row.moved)
        return judged, tuple(controls)

    def _row(
        self,
        readout: str,
        method: str,
        emotion: str,
        c: float | None,
        values: np.ndarray,
        usual: np.ndarray,
        chance: np.ndarray | None,
        matched: np.ndarray | None,
    ) -> EffectRow:
        sign = -1 if c is not None and c < 0 else 1
        values, beyond = beside_usual(values, usual)
        effect = float(values.mean())
        prompt_p = sign_flip_p(sign * beyond, self.s.seed)
        random_p = None if chance is None else beyond_p(sign * effect, sign * chance)
        matched = matched if sign > 0 and method.startswith("sae_") else None
        change, floor = self.change(method, emotion, c)
        return EffectRow(
            readout=readout,
            method=method,
            emotion=emotion,
            coefficient=c,
            effect=effect,
            ci=self.interval(values),
            p=both(prompt_p, random_p),
            prompt_p=prompt_p,
            random_p=random_p,
            confirmatory=self.is_claim(readout, method, c),
            n_random=0 if chance is None else len(chance),
            random_p95=None if chance is None or sign < 0 else float(np.quantile(chance, 0.95)),
            matched_p95=None if matched is None else float(np.quantile(matched, 0.95)),
            n_prompts=len(values),
            kept=self.mean("kept", method, emotion, c),
            adherence=self.mean("adherence", method, emotion, c),
            change=change,
            change_floor=floor,
            moved=False,
        )

    def _has_moved(self, row: EffectRow) -> bool:
        above = row.matched_p95 is None or row.effect > row.matched_p95
        return row.q is not None and row.q <= self.s.alpha and above

    # -- behind the gate -----------------------------------------------------------------------------------------------

    def specificity(self) -> tuple[SpecificityRow, ...]:
        """The table of emotions steered by emotions read, at matched strength."""
        out = []
        for readout, by in self.readouts.items():
            for method in self.methods:
                emotions = self.has(method, by)
                if len(emotions) < 2:
                    continue
                at, columns = self.at(method), [by[e] for e in emotions]
                cube = np.stack(
                    [
                        np.stack([self.shifts.of(column, method, e, at) for column in columns], 1)
                        for e in emotions
                    ],
                    1,
                )
                cube = cube[np.isfinite(cube).all(axis=(1, 2))]
                if len(cube):
                    specific = specificity(cube, self.s.n_resamples, self.s.seed)
                    weight = own_minus_others(len(emotions))
                    drawn = self.drawn(self.chance_of(method, at), at, columns)
                    random_p = contrast_p(specific.difference, [drawn @ w for w in weight], two_sided=False)
                    out.append(
                        SpecificityRow(
                            readout=readout,
                            method=method,
                            coefficient=at,
                            emotions=emotions,
                            table=specific.table,
                            difference=specific.difference,
                            ci=specific.ci,
                            p=both(specific.p, random_p),
                            prompt_p=specific.p,
                            random_p=random_p,
                            confirmatory=self.is_claim(readout, method, at),
                            n_prompts=len(cube),
                        )
                    )
        return tuple(
            row.model_copy(update={"specific": self._passes(row) and row.method in self.moved})
            for row in with_q(out)
        )

    def comparisons(self) -> tuple[ComparisonRow, ...]:
        """SAE methods against the trivial ones, prompt by prompt, mean over the emotions that both have."""
        out = []
        for readout, by in self.readouts.items():
            have = {method: self.has(method, by) for method in self.methods}
            for method in (m for m in self.methods if m.startswith("sae_")):
                for baseline in (m for m in BASELINES if m in have):
                    emotions = tuple(e for e in have[method] if e in have[baseline])
                    row = self._compared(readout, method, baseline, {e: by[e] for e in emotions})
                    if row is not None:
                        out.append(row)
        return tuple(self._decided(row) for row in with_q(out))

    def _compared(self, readout: str, method: str, baseline: str, by: dict[str, str]) -> ComparisonRow | None:
        if not by:
            return None
        a, b = (self._over(m, by) for m in (method, baseline))
        known = np.isfinite(a) & np.isfinite(b)
        if not known.any():
            return None
        a, b = a[known], b[known]
        difference = float((a - b).mean())
        parts = []
        for m, sign in ((method, 1), (baseline, -1)):
            drawn = self.drawn(self.chance_of(m, self.at(m)), self.at(m), tuple(by.values()))
            parts += [sign * column / len(by) for column in drawn.T]
        prompt_p = two_sided_sign_flip_p(a - b, self.s.seed)
        random_p = contrast_p(difference, parts, two_sided=True)
        return ComparisonRow(
            readout=readout,
            method=method,
            baseline=baseline,
            coefficient=self.coefficient,
            emotions=tuple(by),
            effect=float(a.mean()),
            baseline_effect=float(b.mean()),
            difference=difference,
            ci=self.interval(a - b),
            p=both(prompt_p, random_p),
            prompt_p=prompt_p,
            random_p=random_p,
            confirmatory=self.is_claim(readout, method, self.at(method)),
            n_prompts=int(known.sum()),
        )

    def _over(self, method: str, by: dict[str, str]) -> np.ndarray:
        """Shift at each prompt, mean over emotions, ``(n_prompts,)``."""
        return np.mean([self.shifts.of(c, method, e, self.at(method)) for e, c in by.items()], axis=0)

    def _passes(self, row: Claimed) -> bool:
        return row.q is not None and row.q <= self.s.alpha

    def _decided(self, row: ComparisonRow) -> ComparisonRow:
        ahead = "baseline" if row.difference < 0 else "method"
        told = self._passes(row) and bool({row.method, row.baseline} & self.moved)
        return row.model_copy(
            update={"winner": ahead if told else None, "ahead": ahead if row.difference != 0 else None}
        )


def primary(readouts: dict[str, dict[str, str]], s: ResultSettings) -> str:
    """The readout of the confirmatory table.

    Raises:
        BadInput: the one that was named is not scored.
    """
    if s.readout is None:
        return next((name for name in PRIMARY if name in readouts), next(iter(readouts)))
    if s.readout not in readouts:
        raise BadInput(f"results: readout {s.readout}: not among what was scored ({', '.join(readouts)})")
    return s.readout


def own_minus_others(n: int) -> np.ndarray:
    """``(n, n)`` weights whose sum over a table of n emotions is the mean of its diagonal minus that of the rest."""
    return np.where(np.eye(n, dtype=bool), 1 / n, -1 / (n * (n - 1)))


T = TypeVar("T", bound=Claimed)


def with_q(rows: Sequence[T]) -> tuple[T, ...]:
    """``rows`` with Benjamini-Hochberg's q over the confirmatory ones that were tested; the others have none."""
    p = np.array([np.nan if row.p is None or not row.confirmatory else row.p for row in rows])
    q = benjamini_hochberg(p).tolist() if len(p) else []
    return tuple(
        row if np.isnan(value) else row.model_copy(update={"q": value})
        for row, value in zip(rows, q, strict=True)
    )


def _control_row(readout: str, method: str, emotion: str, c: float | None, each: np.ndarray) -> ControlRow:
    p5, p95 = np.quantile(each, [0.05, 0.95]).tolist()
    return ControlRow(
        readout=readout,
        method=method,
        emotion=emotion,
        coefficient=c,
        n_directions=len(each),
        effect=float(np.mean(each)),
        p5=p5,
        p95=p95,
    )
