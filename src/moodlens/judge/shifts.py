"""From scored clips to effects: shifts against the unsteered clip of the same prompt and seed, prompt by prompt.

Prompts are what results should hold for beyond this run, so a prompt is one observation: seeds are averaged within it,
and intervals and p-values resample prompts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl

from moodlens.core import BadInput
from moodlens.judge.hypotheses import HYPOTHESES
from moodlens.settings.steer import NEUTRAL_EDITING
from moodlens.stats.pvalues import upper_p
from moodlens.stats.resample import mean_interval

NEEDED = ("prompt", "method", "direction", "emotion", "coefficient", "seed")
ACOUSTIC = "acoustic"
TEMPO = "tempo"


def readouts(frame: pl.DataFrame, emotions: Sequence[str]) -> dict[str, dict[str, str]]:
    """Scores that have a column for every emotion: name -> emotion -> column (``clap`` -> ``clap_happy``)."""
    first = f"_{emotions[0]}"
    names = [column.removesuffix(first) for column in frame.columns if column.endswith(first)]
    whole = (name for name in names if name and all(f"{name}_{e}" in frame.columns for e in emotions))
    return {name: {e: f"{name}_{e}" for e in emotions} for name in whole}


@dataclass(frozen=True)
class Shifts:
    """Steered minus unsteered, one row per steered clip.

    Attributes:
        frame: the clips' facts, and of every score the shift.
        prompts: all prompts, in order; the axis of every vector of :meth:`of`.
    """

    frame: pl.DataFrame
    prompts: tuple[str, ...]
    _sums: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of_clips(cls, scores: pl.DataFrame, columns: Sequence[str]) -> "Shifts":
        """Subtract from every clip the unsteered one of its prompt and seed, in ``columns``.

        Tempi become octaves, whole ones left out: which multiple of the beat was counted is an accident.

        Raises:
            BadInput: a column is missing, there is no unsteered clip, or one steered clip has none.
        """
        missing = [name for name in (*NEEDED, *columns) if name not in scores.columns]
        if missing:
            raise BadInput(f"scores: no column {missing[0]}; score the clips again")
        plain = scores.filter(pl.col("method") == "none")
        steered = scores.filter(pl.col("method") != "none")
        if plain.is_empty() or steered.is_empty():
            raise BadInput("scores: need unsteered clips (method none) and steered ones")
        keys = ["prompt", "seed"]
        if plain.select(keys).is_duplicated().any():
            raise BadInput("scores: two unsteered clips of one prompt and seed")
        lone = steered.join(plain, on=keys, how="anti")
        if not lone.is_empty():
            where = lone.row(0, named=True)
            raise BadInput(
                f"scores: no unsteered clip of prompt {where['prompt']!r}, seed {where['seed']}; finish the run first"
            )
        base = plain.select(*keys, *(pl.col(c).cast(pl.Float64).alias(f"{c} unsteered") for c in columns))
        joined = steered.join(base, on=keys, how="left", maintain_order="left")
        shifted = joined.with_columns(
            (_octave_free if c == TEMPO else _difference)(
                pl.col(c).cast(pl.Float64), pl.col(f"{c} unsteered")
            ).alias(c)
            for c in columns
        )
        prompts = tuple(plain["prompt"].unique(maintain_order=True))
        shifted = shifted.with_columns(_named(shifted).alias("direction"))
        return cls(shifted.drop(f"{c} unsteered" for c in columns), prompts)

    def with_acoustics(self, scores: pl.DataFrame, emotions: Sequence[str]) -> "Shifts":
        """Add ``acoustic_<emotion>``: mean of the shifts an emotion's hypotheses name, with their sign, each in
        standard deviations of the unsteered clips. Emotions without hypotheses get no column."""
        plain = scores.filter(pl.col("method") == "none")
        added = []
        for emotion in emotions:
            parts = []
            for measure, sign in HYPOTHESES.get(emotion, {}).items():
                spread = _spread(plain[measure], measure) if measure in plain.columns else None
                if isinstance(spread, float) and spread > 0:
                    parts.append(pl.col(measure) * (sign / spread))
            if parts:
                added.append(pl.mean_horizontal(parts).alias(f"{ACOUSTIC}_{emotion}"))
        return Shifts(self.frame.with_columns(added), self.prompts)

    def of(
        self,
        column: str,
        method: str,
        emotion: str | None,
        coefficient: float | None,
        direction: str | None = None,
    ) -> np.ndarray:
        """Mean shift of ``column`` at each prompt, ``(n_prompts,)``; NaN where there is no such clip."""
        cells = self._cells.get((method, emotion, coefficient), {})
        chosen = [cell for name, cell in cells.items() if direction is None or name == direction]
        total, count = (part[chosen].sum(axis=0) for part in self._summed(column))
        return np.divide(total, count, out=np.full(len(self.prompts), np.nan), where=count > 0)

    def each(self, column: str, control: str, coefficient: float | None) -> np.ndarray:
        """Effect of every direction of a control, mean over prompts, ``(n_directions,)``; NaN where there is no clip."""
        chosen = list(self._cells.get((control, None, coefficient), {}).values())
        total, count = (part[chosen] for part in self._summed(column))
        at = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        known = count > 0
        n = known.sum(axis=1)
        return np.divide(
            np.where(known, at, 0.0).sum(axis=1), n, out=np.full(len(chosen), np.nan), where=n > 0
        )

    @cached_property
    def _cells(self) -> dict[tuple[str, str | None, float | None], dict[str | None, int]]:
        """Method, emotion and coefficient -> direction -> its row in the sums of :meth:`_summed`."""
        cells: dict[tuple[str, str | None, float | None], dict[str | None, int]] = {}
        for number, (*key, direction) in enumerate(self._places[0].rows()):
            cells.setdefault(tuple(key), {})[direction] = number
        return cells

    @cached_property
    def _places(self) -> tuple[pl.DataFrame, np.ndarray]:
        """The cells, a row each, and of every clip the number of its cell and prompt together."""
        names = ("method", "emotion", "coefficient", "direction")
        cells = self.frame.select(names).unique(maintain_order=True)
        numbered = self.frame.select(*names, "prompt").join(
            cells.with_row_index("cell"), on=names, how="left", nulls_equal=True, maintain_order="left"
        )
        prompt = {name: i for i, name in enumerate(self.prompts)}
        where = np.array([prompt[name] for name in numbered["prompt"]], dtype=np.int64)
        return cells, numbered["cell"].to_numpy().astype(np.int64) * len(self.prompts) + where

    def _summed(self, column: str) -> tuple[np.ndarray, np.ndarray]:
        """Sum and number of the shifts of ``column`` in every cell at each prompt, ``(n_cells, n_prompts)`` each."""
        if column not in self._sums:
            cells, at = self._places
            shape = len(cells), len(self.prompts)
            values = self.frame[column].cast(pl.Float64).to_numpy()
            known = np.isfinite(values)
            total = np.bincount(at[known], values[known], minlength=shape[0] * shape[1])
            count = np.bincount(at[known], minlength=shape[0] * shape[1])
            self._sums[column] = total.reshape(shape), count.reshape(shape)
        return self._sums[column]

    def methods(self, emotions: Sequence[str]) -> list[str]:
        """Methods with a direction of an emotion, in order of appearance."""
        steered = self.frame.filter(pl.col("emotion").is_in(list(emotions)))
        return steered["method"].unique(maintain_order=True).to_list()

    def controls(self) -> list[str]:
        """Methods whose directions have no emotion."""
        return self.frame.filter(pl.col("emotion").is_null())["method"].unique(maintain_order=True).to_list()

    def coefficients(self, method: str) -> list[float | None]:
        """Of one method, in order; None alone for prompt editing."""
        values = self.frame.filter(pl.col("method") == method)["coefficient"].unique().to_list()
        return sorted(values, key=lambda c: (c is None, c or 0.0))

    def directions(self, method: str) -> list[str]:
        """Names of one method's directions."""
        return (
            self.frame.filter(pl.col("method") == method)["direction"].unique().drop_nulls().sort().to_list()
        )


def _difference(steered: pl.Expr, plain: pl.Expr) -> pl.Expr:
    return steered - plain


def _octave_free(steered: pl.Expr, plain: pl.Expr) -> pl.Expr:
    """Change of tempo, octaves from -0.5 to 0.5: whether a beat or every second one was counted makes no difference."""
    octaves = (steered / plain).log(2)
    return octaves - octaves.round()


def _spread(values: pl.Series, measure: str) -> float | None:
    """Standard deviation; of tempi the circular one (Mardia 1972) in octaves, as their shifts are."""
    if measure != TEMPO:
        spread = values.std()
        return spread if isinstance(spread, float) else None
    angle = 2 * np.pi * np.log2(values.drop_nulls().cast(pl.Float64).to_numpy())
    if len(angle) < 2:
        return None
    length = float(np.abs(np.exp(1j * angle).mean()))
    return float(np.sqrt(-2 * np.log(max(length, 1e-12)))) / (2 * np.pi)


def _named(clips: pl.DataFrame) -> pl.Series:
    """What makes two clips of a method one direction: a word is the same word in every prompt."""
    # A difference of texts is another vector for each prompt, whose hash ends its name.
    by_prompt = r"^(prompt_difference|neutral_difference)/(.*)/[^/]*$"
    name = clips["direction"].cast(pl.String).str.replace(by_prompt, "$1/$2")
    edited = clips["method"] == NEUTRAL_EDITING
    if "text" not in clips.columns or not (edited & name.is_null()).any():
        return name
    texts = zip(name, edited, clips["text"], clips["prompt"], strict=True)
    words = [n if n or not e else f"{NEUTRAL_EDITING}/{t.replace(p, '{prompt}', 1)}" for n, e, t, p in texts]
    return pl.Series("direction", words, dtype=pl.String)


def trend(curves: np.ndarray, coefficients: np.ndarray, n_permutations: int, seed: int) -> dict[str, float]:
    """Does the readout rise with the coefficient? Page's test (1963) with permutation p.

    Args:
        curves: ``(n_prompts, n_coefficients)`` readout, without NaN.
        coefficients: ``(n_coefficients,)``, ascending.

    Returns:
        ``spearman``: mean over prompts of the rank correlation with the coefficient; ``p``: one-sided, the
        coefficients dealt anew within each prompt; ``monotone_share``: share of steps at which the mean curve rises.
    """
    from scipy.stats import rankdata

    ranks = rankdata(curves, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    order = rankdata(coefficients)
    order -= order.mean()
    scale = np.linalg.norm(ranks, axis=1) * np.linalg.norm(order)
    # A flat curve has no order: it counts as 0.
    ranks = np.divide(ranks, scale[:, None], out=np.zeros_like(ranks), where=scale[:, None] > 0)
    observed = float((ranks @ order).mean())
    rng = np.random.default_rng(seed)
    dealt = rng.permuted(np.broadcast_to(ranks, (n_permutations, *ranks.shape)), axis=2)
    null = (dealt @ order).mean(axis=1)
    steps = np.diff(curves.mean(axis=0))
    return {
        "spearman": observed,
        "p": float(upper_p(observed, null, scale=1.0)),
        "monotone_share": float(np.mean(steps > 0)),
    }


class Specificity(NamedTuple):
    """Whether directions move their own emotion's readout more than the others'."""

    table: tuple[tuple[float, ...], ...]
    """C rows of C means: steered towards i, read for j."""
    difference: float
    """Mean of the diagonal minus mean of the rest."""
    ci: tuple[float, float] | None
    p: float
    """One-sided, the C directions dealt anew to the emotions within each prompt."""


def specificity(cube: np.ndarray, n_resamples: int, seed: int) -> Specificity:
    """Does each emotion's direction move its own readout more than the others'?

    Args:
        cube: ``(n_prompts, C, C)`` shift of readout j when steered towards emotion i, without NaN.
    """
    n, size, _ = cube.shape
    weight = np.where(np.eye(size, dtype=bool), 1 / size, -1 / (size * (size - 1)))
    each = (cube * weight).sum(axis=(1, 2))
    rng = np.random.default_rng(seed)
    # cost[p, i, j]: what direction i adds when it plays emotion j's.
    cost = np.einsum("pik,jk->pij", cube, weight)
    dealt = rng.permuted(np.broadcast_to(np.arange(size), (n_resamples, n, size)), axis=2)
    null = cost[np.arange(n)[None, :, None], np.arange(size)[None, None], dealt].sum(axis=2).mean(axis=1)
    return Specificity(
        table=tuple(map(tuple, cube.mean(axis=0).tolist())),
        difference=float(each.mean()),
        ci=mean_interval(each, n_resamples, seed),
        p=float(upper_p(each.mean(), null)),
    )
