"""One direction, two generators: which effects do an autoregressive and a diffusion model both show?

Both were steered with the same vectors. In each, a direction's shift of its own emotion's readout stands beside what random
directions do to it in that model; a claim needs both, so its p is the larger of the two (an intersection-union test: Berger
1982), and q is over all rows. Coefficients do not carry from one model to another: compare each at a coefficient of its own.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from moodlens.core import BadInput, read_table
from moodlens.judge.chance import beyond_p, both
from moodlens.judge.score import SCORES
from moodlens.judge.shifts import ACOUSTIC, Shifts, readouts
from moodlens.settings.steer import OF_PROMPTS
from moodlens.stats.pvalues import benjamini_hochberg
from moodlens.steer.run import run_directions
from moodlens.study.record import Part
from moodlens.study.records.steer import SteerRun

LEAST = 5
"""Random directions that a run must have."""


class Dot(Part):
    """One direction in both models."""

    method: str = Field(description="of the direction; random among them")
    direction: str = Field(description="its name")
    emotion: str = Field(description="whose readout is read; of a method's direction, its own")
    effects: tuple[float, float] = Field(
        description="mean shift in each model, in standard deviations of its unsteered clips"
    )
    p: tuple[float | None, float | None] | None = Field(
        description="one-sided, beside that model's random directions; null: is one, or they all do the same"
    )
    p_both: float | None = Field(description="the larger of the two; null: one is not known")
    q: float | None = Field(description="Benjamini-Hochberg over all directions of a method and emotion")


class Together(Part):
    """Two runs beside each other."""

    models: tuple[str, str] = Field(description="the generators")
    readout: str = Field(description="what is read")
    coefficients: tuple[float, float] = Field(description="of each run")
    emotions: tuple[str, ...] = Field(description="that both runs have")
    n_random: int = Field(description="random directions that both runs have")
    agreement: dict[str, float | None] = Field(
        description="emotion -> Spearman over random directions: do both models move alike?"
    )
    rows: tuple[Dot, ...] = Field(description="every direction that both runs have")


def compare_runs(
    runs: Sequence[Path | str],
    *,
    readout: str | None = None,
    coefficients: Sequence[float] = (),
) -> Together:
    """Lay two judged runs of the same directions beside each other.

    Args:
        runs: two folders of ``moodlens steer``, judged.
        readout: ``clap``, ``musicnn``, ``acoustic`` ...; None: the first that both have.
        coefficients: one for each run; none: 1.

    Raises:
        BadInput: not two judged runs, other vectors under the same names, too few random directions, or no common
            readout, emotion or coefficient.
    """
    if len(runs) != 2:
        raise BadInput(f"compare two runs, not {len(runs)}")
    if coefficients and len(coefficients) != 2:
        raise BadInput("give a coefficient for each of the two runs, or none")
    at = tuple(coefficients) or (1.0, 1.0)
    first, second = (_Read(Path(run), c) for run, c in zip(runs, at, strict=True))
    shared = [name for name in first.hashes if first.hashes[name] == second.hashes.get(name)]
    other = [name for name in first.hashes if name in second.hashes and name not in shared]
    if not shared or other:
        what = f"{other[0]} is another vector in each" if other else "they share no direction"
        raise BadInput(f"{runs[0]}, {runs[1]}: {what}; steer both from the same study")
    emotions = tuple(e for e in first.emotions if e in second.emotions)
    names = [name for name in first.readouts if name in second.readouts]
    chosen = readout or next(iter(names), None)
    if chosen not in names or not emotions:
        raise BadInput(f"readout {chosen}: both runs have {', '.join(names) or 'none'}; score them alike")
    chance = [name for name in shared if name.startswith("random/")]
    tables = [read.effects(chosen, emotions) for read in (first, second)]
    chance = [name for name in chance if all((name, emotions[0]) in table for table in tables)]
    if len(chance) < LEAST:
        raise BadInput(
            f"{runs[0]}, {runs[1]}: {len(chance)} random directions at {at[0]:g} and {at[1]:g} in both, {LEAST} are needed"
        )
    rows = _rows(first, shared, emotions, tables, chance)
    q = benjamini_hochberg(np.array([np.nan if row.p_both is None else row.p_both for row in rows]))
    done = tuple(
        row.model_copy(update={"q": None if row.p_both is None else float(value)})
        for row, value in zip(rows, q, strict=True)
    )
    return Together(
        models=(first.model, second.model),
        readout=chosen,
        coefficients=(at[0], at[1]),
        emotions=emotions,
        n_random=len(chance),
        agreement={e: _spearman(tables, chance, e) for e in emotions},
        rows=done,
    )


class _Read:
    """A judged run at one coefficient."""

    def __init__(self, run: Path, coefficient: float) -> None:
        self.run, self.coefficient = run, coefficient
        record, directions = SteerRun.read(run), run_directions(run)
        self.model = record.model.model
        self.emotions = tuple(record.settings.emotions) or directions.emotions
        # What each generator makes of its own reading is another vector in each.
        self.items = {item.name: item for item in directions if item.method not in OF_PROMPTS}
        self.hashes = {name: item.hash for name, item in self.items.items()}
        if not (run / SCORES).is_file():
            raise BadInput(f"{run}: has no scores; run: moodlens judge {run}")
        scores = read_table(run / SCORES)
        by_name = readouts(scores, self.emotions)
        columns = [column for by in by_name.values() for column in by.values()]
        measures = [
            name
            for name, kind in scores.schema.items()
            if kind in (pl.Float64, pl.Float32) and name not in ("coefficient", "amount")
        ]
        shifts = Shifts.of_clips(scores, sorted({*columns, *measures}))
        self.frame = shifts.with_acoustics(scores, self.emotions).frame
        if all(f"{ACOUSTIC}_{e}" in self.frame.columns for e in self.emotions):
            by_name[ACOUSTIC] = {e: f"{ACOUSTIC}_{e}" for e in self.emotions}
        self.readouts, self.plain = by_name, scores.filter(pl.col("method") == "none")

    def effects(self, readout: str, emotions: Sequence[str]) -> dict[tuple[str, str], float]:
        """``(direction, emotion)`` -> mean over prompts of the shift, in standard deviations of the unsteered clips."""
        at = self.frame.filter(pl.col("coefficient") == self.coefficient)
        out = {}
        for emotion in emotions:
            column = self.readouts[readout][emotion]
            # Acoustic shifts are in standard deviations already.
            spread = self.plain[column].drop_nans().std() if column in self.plain.columns else 1.0
            if not isinstance(spread, float) or spread <= 0:
                raise BadInput(
                    f"{self.run}: {column} is the same for all unsteered clips; nothing to compare by"
                )
            means = (
                at.group_by("direction", "prompt")
                .agg(pl.col(column).drop_nans().mean())
                .group_by("direction")
                .agg(pl.col(column).mean())
                .drop_nulls()
            )
            for name, value in means.iter_rows():
                out[name, emotion] = float(value) / spread
        return out


def _rows(
    first: _Read,
    shared: Sequence[str],
    emotions: Sequence[str],
    tables: Sequence[dict[tuple[str, str], float]],
    chance: Sequence[str],
) -> list[Dot]:
    rows = []
    for name in shared:
        item = first.items[name]
        for emotion in emotions:
            if item.emotion not in (None, emotion) or any((name, emotion) not in table for table in tables):
                continue
            x, y = (table[name, emotion] for table in tables)
            p = None
            if item.emotion is not None:
                null = [np.array([table[c, emotion] for c in chance]) for table in tables]
                p = (beyond_p(x, null[0]), beyond_p(y, null[1]))
            rows.append(
                Dot(
                    method=item.method,
                    direction=name,
                    emotion=emotion,
                    effects=(x, y),
                    p=p,
                    p_both=None if p is None else both(*p),
                    q=None,
                )
            )
    return rows


def _spearman(
    tables: Sequence[dict[tuple[str, str], float]], chance: Sequence[str], emotion: str
) -> float | None:
    from scipy.stats import rankdata

    x, y = ([table[name, emotion] for name in chance] for table in tables)
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])
