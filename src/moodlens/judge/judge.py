"""The tables of a steering run's results, each from the shifts of its scored clips."""

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from moodlens.core import BadInput
from moodlens.judge.effects import Shifts, at_change, bootstrap_ci, specificity, trend, two_sided_p
from moodlens.judge.hypotheses import HYPOTHESES, judge_shift, sign_flip_p

if TYPE_CHECKING:
    import polars as pl

BASELINES = ("difference_in_means", "prompt_editing", "linear_probe")
EDITING = "prompt_editing"
_NULLS = ("random", "matched_random_feature")


class ResultSettings(BaseModel):
    """How scored clips are judged."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    coefficient: float | None = Field(
        default=None, description="strength compared; None: the largest that all methods and controls share"
    )
    n_resamples: int = Field(default=2000, ge=100, description="bootstrap resamples and permutations")
    alpha: float = Field(default=0.05, gt=0, lt=1, description="largest q (Benjamini-Hochberg) that counts")
    seed: int = Field(default=0, ge=0, description="of the resamples")


class Judge:
    """One run's tables; each method makes one of them."""

    def __init__(
        self,
        scores: "pl.DataFrame",
        shifts: Shifts,
        emotions: tuple[str, ...],
        found: dict[str, dict[str, str]],
        s: ResultSettings,
    ) -> None:
        self.scores, self.shifts, self.emotions, self.found, self.s = scores, shifts, emotions, found, s
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

    def _ci(self, values: np.ndarray) -> list[float] | None:
        ci = bootstrap_ci(values, self.s.n_resamples, self.s.seed)
        return None if ci is None else list(ci)

    def rows(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Effect of every method, emotion and coefficient on the emotion's own readout; and the controls'."""
        rows, controls = [], []
        for readout, by in self.found.items():
            null: dict[tuple[str, str, float | None], list[float]] = {}
            for method in self.controls:
                for c in self.shifts.coefficients(method):
                    for emotion, column in by.items():
                        each = [
                            float(np.nanmean(v))
                            for d in self.shifts.directions(method)
                            if np.isfinite(v := self.shifts.of(column, method, None, c, d)).any()
                        ]
                        if not each:
                            continue
                        null[method, emotion, c] = each
                        low, high = np.quantile(each, [0.05, 0.95])
                        controls.append(
                            {"readout": readout, "method": method, "emotion": emotion, "coefficient": c,
                             "n_directions": len(each), "effect": float(np.mean(each)), "p5": low, "p95": high}
                        )  # fmt: skip
            for method in self.methods:
                for c in self.shifts.coefficients(method):
                    for emotion, column in by.items():
                        values = self.shifts.of(column, method, emotion, c)
                        values = values[np.isfinite(values)]
                        if len(values):
                            drawn = {m: null[m, emotion, c] for m in _NULLS if (m, emotion, c) in null}
                            rows.append(
                                self._row(readout, method, emotion, c, values, drawn)
                                | self._kept(method, emotion, c)
                            )
        _add_q(rows)
        for row in rows:
            reached = row["q"] <= self.s.alpha
            bars = [row[key] for key in ("random_p95", "matched_p95") if row[key] is not None]
            row["moved"] = bool(reached and all(row["effect"] > bar for bar in bars))
        return rows, controls

    def _row(
        self,
        readout: str,
        method: str,
        emotion: str,
        c: float | None,
        values: np.ndarray,
        drawn: dict[str, list[float]],
    ) -> dict[str, Any]:
        sign = -1 if c is not None and c < 0 else 1
        effect = float(values.mean())
        row = {
            "readout": readout,
            "method": method,
            "emotion": emotion,
            "coefficient": c,
            "effect": effect,
            "ci": self._ci(values),
            "p": sign_flip_p(sign * values, self.s.seed),
            "random_p": None,
            "random_p95": None,
            "matched_p95": None,
            "n_prompts": len(values),
        }
        if sign > 0 and "random" in drawn:
            reached = sum(v >= effect - 1e-12 for v in drawn["random"])
            row["random_p"] = (1 + reached) / (1 + len(drawn["random"]))
            row["random_p95"] = float(np.quantile(drawn["random"], 0.95))
        if sign > 0 and method.startswith("sae_") and "matched_random_feature" in drawn:
            row["matched_p95"] = float(np.quantile(drawn["matched_random_feature"], 0.95))
        return row

    def _kept(self, method: str, emotion: str, c: float | None) -> dict[str, float | None]:
        import polars as pl

        out: dict[str, float | None] = {}
        for name in ("kept", "adherence"):
            if name in self.scores.columns:
                mine = self.scores.filter(
                    (pl.col("method") == method)
                    & (pl.col("emotion") == emotion)
                    & pl.col("coefficient").eq_missing(c)
                )
                mean = mine[name].cast(pl.Float64).mean()
                out[name] = mean if isinstance(mean, float) else None
        return out

    def dose(self) -> list[dict[str, Any]]:
        """Trend of the emotion's readout over the coefficient, 0 (no steering) included."""
        out = []
        for readout, by in self.found.items():
            for method in self.methods:
                made = [c for c in self.shifts.coefficients(method) if c is not None]
                if len(made) < 2:
                    continue
                at = np.array(sorted({0.0, *made}))
                for emotion, column in by.items():
                    curves = np.stack(
                        [
                            np.zeros(len(self.shifts.prompts))
                            if c == 0
                            else self.shifts.of(column, method, emotion, c)
                            for c in at
                        ],
                        axis=1,
                    )
                    curves = curves[np.isfinite(curves).all(axis=1)]
                    if len(curves):
                        found = trend(curves, at, self.s.n_resamples, self.s.seed)
                        key = {"readout": readout, "method": method, "emotion": emotion}
                        out.append(
                            key | {"coefficients": at.tolist(), "effects": curves.mean(axis=0).tolist()}
                            | found | {"n_prompts": len(curves)}
                        )  # fmt: skip
        return _add_q(out)

    def specificity(self) -> list[dict[str, Any]]:
        """The table of emotions steered by emotions read, at matched strength."""
        out = []
        for readout, by in self.found.items():
            if len(by) < 2:
                continue
            for method in self.methods:
                cube = np.stack(
                    [
                        np.stack([self.shifts.of(col, method, e, self._at(method)) for col in by.values()], 1)
                        for e in by
                    ],
                    axis=1,
                )
                cube = cube[np.isfinite(cube).all(axis=(1, 2))]
                if len(cube):
                    found = specificity(cube, self.s.n_resamples, self.s.seed)
                    key = {"readout": readout, "method": method, "coefficient": self._at(method)}
                    out.append(key | {"emotions": list(by)} | found | {"n_prompts": len(cube)})
        return _add_q(out)

    def comparisons(self) -> list[dict[str, Any]]:
        """SAE methods against the trivial ones, prompt by prompt, mean over emotions, at matched strength."""
        out = []
        for readout, by in self.found.items():
            means = {
                m: np.mean([self.shifts.of(col, m, e, self._at(m)) for e, col in by.items()], axis=0)
                for m in self.methods
            }
            for method in (m for m in self.methods if m.startswith("sae_")):
                for baseline in (m for m in BASELINES if m in means):
                    both = np.isfinite(means[method]) & np.isfinite(means[baseline])
                    if not both.any():
                        continue
                    a, b = means[method][both], means[baseline][both]
                    out.append(
                        {
                            "readout": readout,
                            "method": method,
                            "baseline": baseline,
                            "coefficient": self.coefficient,
                            "effect": float(a.mean()),
                            "baseline_effect": float(b.mean()),
                            "difference": float((a - b).mean()),
                            "ci": self._ci(a - b),
                            "p": two_sided_p(a - b, self.s.seed),
                            "n_prompts": int(both.sum()),
                        }
                    )
        _add_q(out)
        for row in out:
            ahead = "baseline" if row["difference"] < 0 else "method"
            row["winner"] = ahead if row["q"] <= self.s.alpha else None
            row["ahead"] = ahead if row["difference"] != 0 else None
        return out

    def equal_change(self) -> list[dict[str, Any]]:
        """Effects at the same distance from the unsteered clip, for prompt editing has no coefficient to match."""
        if "kept" not in self.scores.columns:
            return []
        out = []
        for readout, by in self.found.items():
            for emotion, column in by.items():
                curves: dict[str, dict[float, float]] = {}
                for method in self.methods:
                    points = {}
                    for c in self.shifts.coefficients(method):
                        kept = self._kept(method, emotion, c)["kept"]
                        values = self.shifts.of(column, method, emotion, c)
                        if (c is None or c > 0) and kept is not None and np.isfinite(values).any():
                            points[1 - kept] = float(np.nanmean(values))
                    if points and max(points) > 0:
                        curves[method] = points
                if len(curves) > 1:
                    change = min(max(points) for points in curves.values())
                    effects = {method: at_change(points, change) for method, points in curves.items()}
                    out.append({"readout": readout, "emotion": emotion, "change": change, "effects": effects})
        return out

    def hypotheses(self) -> list[dict[str, Any]]:
        """Acoustic shifts at matched strength against what was stated beforehand."""
        from dataclasses import asdict

        out = []
        for method in self.methods:
            for emotion in (e for e in self.emotions if e in HYPOTHESES):
                measures = [m for m in HYPOTHESES[emotion] if m in self.shifts.frame.columns]
                if len(measures) < len(HYPOTHESES[emotion]):
                    continue
                at = self._at(method)
                moved = {m: self.shifts.of(m, method, emotion, at) for m in measures}
                key = {"method": method, "coefficient": at}
                out += [key | asdict(j) for j in judge_shift(emotion, moved, self.s.seed)]
        return _add_q(out)

    def distance(self) -> list[dict[str, Any]]:
        """MMD of every method's clips from the unsteered ones, at matched strength, in CLAP's space."""
        if "clap_embedding" not in self.scores.columns:
            return []
        import polars as pl

        from moodlens.judge.mmd import mmd_test

        plain = self.scores.filter(pl.col("method") == "none")
        known = {(r["prompt"], r["seed"]): r["clap_embedding"] for r in plain.iter_rows(named=True)}
        out = []
        for method in (*self.methods, *self.controls):
            at = pl.col("coefficient").eq_missing(pl.lit(self._at(method)))
            mine = self.scores.filter((pl.col("method") == method) & at)
            for (emotion, direction), group in mine.group_by("emotion", "direction", maintain_order=True):
                pairs = [
                    (row["clap_embedding"], known[row["prompt"], row["seed"]])
                    for row in group.iter_rows(named=True)
                ]
                if len(pairs) < 2:
                    continue
                x, y = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
                found = mmd_test(x, y, paired=True, n_permutations=self.s.n_resamples, seed=self.s.seed)
                key = {"method": method, "emotion": emotion, "direction": direction}
                out.append(
                    key | {"mmd2": found.mmd2, "null_p95": found.null_p95, "p": found.p, "n": len(pairs)}
                )
        return _add_q(out)


def _add_q(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Benjamini-Hochberg over all tests of one table."""
    from moodlens.stats.pvalues import benjamini_hochberg

    if rows:
        for row, q in zip(rows, benjamini_hochberg(np.array([row["p"] for row in rows])), strict=True):
            row["q"] = float(q)
    return rows
