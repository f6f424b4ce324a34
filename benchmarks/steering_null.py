"""How often a steering study of directions without a meaning claims something, and how often a true effect is found.

    python benchmarks/steering_null.py                     # simulated readouts, on the default grid
    python benchmarks/steering_null.py --model CHECKPOINT  # clips of a MusicGen, random directions labelled as methods

Every study goes through the judge as it is. A readout of a clip is what its direction does (the same at every prompt, of
standard deviation ``tau`` over directions: 0 if directions did nothing) plus noise of standard deviation 1. In a null study
the methods' directions are of the same kind as the random ones. Power is that of `sae_family` alone having an effect on
every emotion: of one standard deviation of a clip, and of three standard deviations of random directions' effects.

A claim is anything the results say of chance being left behind: a row that moved, a method that is specific, a winner.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import binomtest

from moodlens.judge.results import steer_results
from moodlens.settings.judge import ResultSettings
from moodlens.settings.steer import NEUTRAL_EDITING, SteerSettings
from moodlens.study.records.judge import Results

EMOTIONS = ("happy", "sad", "calm", "energetic")
METHODS = ("sae_family", "difference_in_means", "untrained_family")
TAUS = (0.0, 0.1, 0.2, 0.4, 1.0)
QUICK = ResultSettings(n_resamples=200)


@dataclass(frozen=True)
class Grid:
    """Sizes of a study, by default those of a default run."""

    prompts: int = len(SteerSettings().prompts)
    random: int = SteerSettings().directions.n_random
    matched: int = SteerSettings().directions.n_matched
    words: int = len(SteerSettings().neutral_words)

    def directions(self) -> list[tuple[str, str, str | None, float | None]]:
        """Method, direction, emotion and coefficient of everything that is steered or edited."""
        found: list[tuple[str, str, str | None, float | None]] = [
            (m, f"{m}/{e}", e, 1.0) for m in METHODS for e in EMOTIONS
        ]
        found += [("prompt_editing", f"prompt_editing/{e}", e, None) for e in EMOTIONS]
        found += [(NEUTRAL_EDITING, f"{NEUTRAL_EDITING}/{i}", None, None) for i in range(self.words)]
        for method, n in (("random", self.random), ("matched_random_feature", self.matched)):
            found += [(method, f"{method}/{i:03d}", None, 1.0) for i in range(n)]
        return found


def simulated(grid: Grid, tau: float, bump: float, rng: np.random.Generator) -> pl.DataFrame:
    """Scores of one study. ``bump``: what `sae_family` adds to the readout of its own emotion."""
    made = grid.directions()
    effects = tau * rng.standard_normal((len(made), len(EMOTIONS)))
    for i, (method, _, emotion, _) in enumerate(made):
        if method == "sae_family" and emotion is not None:
            effects[i, EMOTIONS.index(emotion)] += bump
    values = effects + rng.standard_normal((grid.prompts, len(made), len(EMOTIONS)))
    plain = rng.standard_normal((grid.prompts, len(EMOTIONS)))
    return frame(
        made, np.concatenate([plain[:, None], values], axis=1), [f"prompt {i}" for i in range(grid.prompts)]
    )


def frame(
    made: list[tuple[str, str, str | None, float | None]], values: np.ndarray, prompts: list[str]
) -> pl.DataFrame:
    """A table of scores: unsteered clips first, then ``made``. ``values``: ``(n_prompts, 1 + n_made, n_emotions)``."""
    n = len(prompts)
    clips = [("none", None, None, 0.0), *made]
    columns = dict(
        zip(("method", "direction", "emotion", "coefficient"), zip(*clips, strict=True), strict=True)
    )
    schema = {"method": pl.String, "direction": pl.String, "emotion": pl.String, "coefficient": pl.Float64}
    one = pl.DataFrame({name: list(column) for name, column in columns.items()}, schema=schema)
    table = pl.concat([one.with_columns(prompt=pl.lit(prompt), seed=pl.lit(0)) for prompt in prompts])
    flat = values.reshape(n * len(clips), len(EMOTIONS))
    return table.with_columns(pl.Series(f"clap_{e}", flat[:, j]) for j, e in enumerate(EMOTIONS))


def claims(results: Results) -> dict[str, bool]:
    """Which kinds of claim a study makes."""
    kinds = {
        "moved": any(row.moved for row in results.rows),
        "specific": any(row.specific for row in results.specificity),
        "winner": any(row.winner is not None for row in results.comparisons),
    }
    said = "\n".join(results.statements)
    assert kinds["winner"] == (" beats " in said)
    assert kinds["specific"] == ("moves its own emotion" in said)
    assert kinds["moved"] == ("moved: nothing" not in said)
    return kinds | {"any": any(kinds.values())}


def share(found: list[bool]) -> dict[str, float]:
    """Of studies, with Wilson's 95 % interval."""
    interval = binomtest(sum(found), len(found)).proportion_ci(0.95, method="wilson")
    return {"share": sum(found) / len(found), "low": float(interval.low), "high": float(interval.high)}


def null_studies(tables: Iterator[pl.DataFrame], settings: ResultSettings) -> dict[str, dict[str, float]]:
    """Share of studies that claim something, by kind."""
    told = [claims(steer_results(table, EMOTIONS, settings)) for table in tables]
    return {kind: share([one[kind] for one in told]) for kind in told[0]}


def power(grid: Grid, tau: float, bump: float, n: int, rng: np.random.Generator) -> dict[str, float]:
    """Mean share of sae_family's rows that are claimed, and share of studies that call it specific."""
    rows, specific = [], []
    for _ in range(n):
        found = steer_results(simulated(grid, tau, bump, rng), EMOTIONS, QUICK)
        rows.append(np.mean([r.moved for r in found.rows if r.confirmatory and r.method == "sae_family"]))
        specific.append(any(r.specific for r in found.specificity if r.method == "sae_family"))
    half = 1.96 * float(np.std(rows)) / np.sqrt(n)
    return {"rows": float(np.mean(rows)), "half_width": half, "specific": float(np.mean(specific))}


def simulation(args: argparse.Namespace, grid: Grid) -> list[dict]:
    """A line for each tau."""
    out = []
    for tau in args.tau:
        rng = np.random.default_rng([args.seed, round(1000 * tau)])
        spread = float(np.hypot(tau, grid.prompts**-0.5))
        nulls = null_studies((simulated(grid, tau, 0.0, rng) for _ in range(args.studies)), QUICK)
        line = {"tau": tau, "spread_of_random": spread, "claims": nulls}
        for name, bump in (("1 sd of a clip", 1.0), ("3 sd of random directions", 3 * spread)):
            line[name] = power(grid, tau, bump, args.powered, rng)
        out.append(line)
        told = "  ".join(
            f"{kind} {s['share']:.3f} [{s['low']:.3f}, {s['high']:.3f}]" for kind, s in nulls.items()
        )
        print(f"tau {tau:g}: null studies that claim: {told}", flush=True)
        for name in ("1 sd of a clip", "3 sd of random directions"):
            found = line[name]
            print(
                f"  power at {name}: rows {found['rows']:.2f} +- {found['half_width']:.2f}, specific {found['specific']:.2f}",
                flush=True,
            )
    return out


def music(args: argparse.Namespace, grid: Grid) -> list[dict]:
    """Random directions on a MusicGen, labelled as two methods of four emotions again and again."""
    from moodlens.judge.acoustics import AcousticScore
    from moodlens.judge.score import score_run
    from moodlens.stats.controls import random_directions
    from moodlens.steer import MusicGen, run_steer
    from moodlens.steer.directions import Direction, Directions, Provenance

    model = MusicGen.load(args.model)
    prompts = SteerSettings().prompts[: grid.prompts]
    rows = model.pooled(prompts)
    labelled = [(m, e) for m in ("sae_family", "difference_in_means") for e in EMOTIONS]
    drawn = random_directions(grid.random + len(labelled), rows.shape[1], np.random.default_rng(args.seed))
    items = tuple(Direction(f"random/{i:03d}", "random", None, v) for i, v in enumerate(drawn))
    unit = float(np.linalg.norm(rows - rows.mean(axis=0), axis=1).mean())
    source = Provenance(f"musicgen:{args.model}", None, "none", tuple(prompts), rows)
    directions = Directions(items, EMOTIONS, unit, dict.fromkeys(EMOTIONS, unit), source)
    settings = SteerSettings(
        prompts=prompts, methods=(), controls=("random",), prompt_editing=False, seconds=args.seconds
    )
    out = Path(args.out or tempfile.mkdtemp(prefix="steering-null-"))
    run_steer(directions, out, settings, model=model)
    scores = score_run(out, [AcousticScore()])
    rng = np.random.default_rng([args.seed, 1])

    def studies() -> Iterator[pl.DataFrame]:
        for _ in range(args.studies):
            chosen = [items[i].name for i in rng.permutation(len(items))[: len(labelled)]]
            names = dict(zip(chosen, labelled, strict=True))
            method = {name: m for name, (m, _) in names.items()}
            emotion = {name: e for name, (_, e) in names.items()}
            is_named = pl.col("direction").is_in(chosen)
            yield scores.with_columns(
                method=pl.when(is_named)
                .then(pl.col("direction").replace_strict(method, default=None))
                .otherwise(pl.col("method")),
                emotion=pl.col("direction").replace_strict(emotion, default=None),
            )

    found = null_studies(studies(), QUICK)
    for kind, s in found.items():
        print(f"{kind}: {s['share']:.3f} [{s['low']:.3f}, {s['high']:.3f}] of {args.studies} labellings")
    return [{"model": args.model, "clips": scores.height, "claims": found}]


def main() -> None:
    """Run one of the two and write what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    grid = Grid()
    parser.add_argument("--studies", type=int, default=400, help="null studies for each tau")
    parser.add_argument(
        "--powered", type=int, default=100, help="studies with an effect for each tau and effect"
    )
    parser.add_argument(
        "--tau", type=float, nargs="+", default=list(TAUS), help="spread of directions' effects"
    )
    parser.add_argument("--prompts", type=int, default=grid.prompts)
    parser.add_argument("--random", type=int, default=grid.random, help="random directions")
    parser.add_argument("--model", help="a MusicGen checkpoint: make clips instead of drawing readouts")
    parser.add_argument("--seconds", type=float, default=2.0, help="of those clips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder of those clips; none: a temporary one")
    parser.add_argument("--json", help="file to write the figures to")
    args = parser.parse_args()
    grid = Grid(prompts=args.prompts, random=args.random)
    found = music(args, grid) if args.model else simulation(args, grid)
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
