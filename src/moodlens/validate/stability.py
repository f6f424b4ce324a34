"""What comes back when the SAE is trained again with another initialisation and data order: features, and families.

Features of two SAEs are matched one to one (Hungarian, Kuhn 1955), as in Paulo & Belrose 2025 (arXiv:2501.16615)
and Song et al. 2025 (arXiv:2505.20254, mean correlation of matched features), on decoder cosine, on the
correlation of activations over text that trained neither, and on the smaller of the two. A feature *reappears*
where the last match reaches the bar, so that one and the same partner agrees in direction and in use. The null: unit
differences of two data rows, looked up in the other decoders. Embeddings have low rank, so such directions come closer
to a dictionary than isotropic ones would.

Unstable features of different seeds can span the same subspace (arXiv:2606.12138), and a family is a sum over some of
them. Each seed's families are found by the same rule on the same train + val rows. Compared are the direction that a
family adds when it steers (cosine) and what it reads in test texts (correlation of pre-activation scores). Neither
uses a label. The control: families of as many random live features of the other seed, with the same weights.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput, Progress
from moodlens.settings.validation import StabilitySettings
from moodlens.stats.contrast import unit_rows
from moodlens.stats.correlation import UnitColumns
from moodlens.study.families import Families, Family
from moodlens.study.records.stability import Agreement, FamilyAgreement, Stability

if TYPE_CHECKING:
    import polars as pl

HUNGARIAN_FEATURES = 2500
"""Live features above which matches are mutual nearest neighbours: the Hungarian method takes n^3."""
NULL_DIRECTIONS = 2000
WITH_BAR = {
    "decoder_cosine": "reappears_decoder",
    "correlation": "reappears_activation",
    "both": "reappears",
}
"""Score of the matched partner -> the share of seeds in which it reaches the bar."""
DRAWS = 100
"""Random families for each seed and emotion."""


@dataclass(frozen=True)
class Reappearance:
    """Every feature looked for in the SAEs of other seeds."""

    table: "pl.DataFrame"
    """One row per feature: :data:`moodlens.study.records.stability.STABILITY`."""
    summary: Stability


def stability(
    W_dec: np.ndarray,
    seeds: list[np.ndarray],
    codes: np.ndarray,
    seed_codes: list[np.ndarray],
    x_train: np.ndarray,
    settings: StabilitySettings,
    *,
    seed: int,
    each: Callable[..., Iterable[Any]] = map,
    progress: Progress | None = None,
) -> Reappearance:
    """Look for every feature in the SAEs of other seeds. Knows no labels.

    Args:
        W_dec: ``(d_sae, d_in)`` decoder rows of the study's SAE.
        seeds: ``W_dec`` of every other SAE.
        codes: ``(n, d_sae)`` activations on rows that trained no SAE.
        seed_codes: activations of the other SAEs on the same rows.
        x_train: ``(m, d_in)`` raw embeddings, whose differences are the null.
        settings: ``reappearance``, the bar.
        seed: of the null directions.
        each: ``map``, or one that calls the function on several threads.
        progress: called after every seed.

    Raises:
        BadInput: there is no other seed, or shapes disagree.
    """
    import polars as pl

    if not seeds or len(seeds) != len(seed_codes):
        raise BadInput(
            f"stability needs other seeds with their activations: {len(seeds)} and {len(seed_codes)} given"
        )
    for other, theirs in zip(seeds, seed_codes, strict=True):
        if other.shape[1] != W_dec.shape[1] or theirs.shape != (len(codes), len(other)):
            raise BadInput(
                f"another seed's decoder {other.shape} or activations {theirs.shape} "
                f"do not fit {W_dec.shape}, {codes.shape}"
            )
    d, n_seeds, bar = len(W_dec), len(seeds), settings.reappearance
    alive = np.flatnonzero((codes > 0).any(axis=0))
    directions, columns = unit_rows(W_dec[alive].astype(np.float32)), UnitColumns.of(codes).take(alive)
    drawn = null_directions(x_train, seed)
    shares = {name: np.zeros(d) for name in sorted(WITH_BAR.values())}
    means = {
        name: np.zeros(d) for name in ("decoder_cosine", "correlation", "best_cosine", "best_correlation")
    }

    def compared(other: np.ndarray, theirs: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return _compare(directions, columns, other, theirs), best_cosines(drawn, other)

    null = []
    for done, (scores, best) in enumerate(each(compared, seeds, seed_codes)):
        null.append(best)
        for name, value in scores.items():
            if name in means:
                means[name][alive] += value / n_seeds
            if name in WITH_BAR:
                shares[WITH_BAR[name]][alive] += (value >= bar) / n_seeds
        if progress is not None:
            progress("stability", done + 2, n_seeds + 1)
    reached = (np.stack(null) >= bar).sum(axis=0)
    summary = Stability(
        n_seeds=n_seeds,
        reappearance=bar,
        null_cosine_p95=float(np.quantile(null, 0.95)),
        null_seeds=tuple(np.bincount(reached, minlength=n_seeds + 1).tolist()),
    )
    table = {"feature": np.arange(d), **shares, **means, "alive": np.isin(np.arange(d), alive)}
    return Reappearance(pl.DataFrame(table), summary)


@dataclass(frozen=True)
class StableFeatures:
    """How many of the emotion features come back in enough other seeds, beside all features and the null."""

    stable_share: float | None
    """of the emotion features; None without any."""
    ci: tuple[float, float] | None
    """Wilson interval over features."""
    n_stable: int
    n_emotion_features: int
    n_seeds: int
    null_share: float
    alive_share: float
    """of all live features."""
    mcc: float
    """mean correlation of matched live features."""

    @classmethod
    def of(
        cls, table: "pl.DataFrame", summary: Stability, strong: np.ndarray, min_share: float
    ) -> "StableFeatures":
        """Count what reappears in at least ``min_share`` of the other seeds.

        Args:
            table, summary: from :func:`stability`.
            strong: ``(d_sae,)`` bool, emotion features.
            min_share: share of the other seeds.
        """
        from scipy.stats import binomtest

        alive = table["alive"].to_numpy().astype(bool)
        stable = table["reappears"].to_numpy() >= min_share - 1e-9
        n, n_stable = int(strong.sum()), int(stable[strong].sum())
        interval = binomtest(n_stable, n).proportion_ci(method="wilson") if n else None
        return cls(
            stable_share=n_stable / n if n else None,
            ci=None if interval is None else (float(interval.low), float(interval.high)),
            n_stable=n_stable,
            n_emotion_features=n,
            n_seeds=summary.n_seeds,
            null_share=summary.null_share(min_share),
            alive_share=float(stable[alive].mean()) if alive.any() else 0.0,
            mcc=float(table["correlation"].to_numpy()[alive].mean()) if alive.any() else 0.0,
        )


def _compare(
    directions: np.ndarray, columns: UnitColumns, other: np.ndarray, theirs: np.ndarray
) -> dict[str, np.ndarray]:
    """How well each live feature is matched in another SAE; ``(alive,)`` each, nothing if either is dead."""
    there = np.flatnonzero((theirs > 0).any(axis=0))
    if not len(there) or not len(directions):
        return {}
    cosine = directions @ unit_rows(other[there].astype(np.float32)).T
    correlation = columns.correlations(UnitColumns.of(theirs).take(there))
    return {
        "decoder_cosine": _matched(cosine),
        "correlation": _matched(correlation),
        "both": _matched(np.minimum(cosine, correlation)),
        "best_cosine": cosine.max(axis=1),
        "best_correlation": correlation.max(axis=1),
    }


def null_directions(x_train: np.ndarray, seed: int) -> np.ndarray:
    """Unit differences of random pairs of data rows, ``(directions, d_in)`` float32.

    Raises:
        BadInput: fewer than two different rows.
    """
    rng = np.random.default_rng([seed, 0x57AB])
    first, second = rng.integers(len(x_train), size=(2, NULL_DIRECTIONS))
    drawn = x_train[first].astype(np.float32) - x_train[second]
    drawn = drawn[np.linalg.norm(drawn, axis=1) > 0]
    if not len(drawn):
        raise BadInput("embeddings: all training rows are the same, so they have no differences")
    return unit_rows(drawn)


def best_cosines(drawn: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Best cosine of each unit vector ``drawn`` (m, d_in) with the rows of a decoder, ``(m,)``."""
    return (drawn @ unit_rows(other.astype(np.float32)).T).max(axis=1)


def _matched(score: np.ndarray) -> np.ndarray:
    """Score of every row's one-to-one partner, 0 where it has none. score (a, b) -> (a,)."""
    out = np.zeros(len(score))
    if max(score.shape) <= HUNGARIAN_FEATURES:
        from scipy.optimize import linear_sum_assignment

        rows, columns = linear_sum_assignment(score, maximize=True)
        out[rows] = score[rows, columns]
        return out
    # A pair is mutual where the row's best is also its column's. Of rows that tie for a column, the first has it.
    best = score.argmax(axis=1)
    own = score[np.arange(len(score)), best]
    rows = np.flatnonzero(own >= score.max(axis=0)[best])
    rows = rows[np.unique(best[rows], return_index=True)[1]]
    out[rows] = own[rows]
    return out


@dataclass(frozen=True)
class SeedFamilies:
    """The families of one SAE, and what it takes to add and read them."""

    families: Families
    W_dec: np.ndarray
    """(d_sae, d_in)"""
    sizes: np.ndarray
    """(d_sae,) mean activation over the train + val rows in which a feature fires; 0 for features that never do."""


def family_agreement(
    own: SeedFamilies, others: Sequence[SeedFamilies], x: np.ndarray, *, seed: int
) -> Agreement:
    """Compare the families of the study's SAE with those of other seeds.

    Args:
        own: of the study's SAE.
        others: of the other seeds.
        x: (n, d_in) raw embeddings that trained and chose nothing.
        seed: of the random families.

    Raises:
        BadInput: there is no other seed, or the families are of other emotions.
    """
    if not others:
        raise BadInput("families are compared over seeds: no other seed is given")
    if any(other.families.emotions != own.families.emotions for other in others):
        raise BadInput("families of different emotions cannot be compared")
    centred = np.asarray(x, dtype=np.float64) - np.mean(x, axis=0, dtype=np.float64)
    rng = np.random.default_rng([seed, 0xFA])
    emotions = {}
    for c, family in enumerate(own.families.families):
        theirs = [other.families.families[c] for other in others]
        if not family.features or not any(twin.features for twin in theirs):
            continue
        direction = family.direction(own.W_dec)
        read = centred @ direction
        cosines, correlations = np.zeros(len(others)), np.zeros(len(others))
        drawn = []
        for i, (other, twin) in enumerate(zip(others, theirs, strict=True)):
            if not twin.features:
                continue
            theirs_added = twin.direction(other.W_dec)
            cosines[i] = _cosine(direction, theirs_added)
            correlations[i] = _cosine(read, centred @ theirs_added)
            drawn.append(_random(other, twin, direction, read, centred, rng))
        control = np.concatenate(drawn, axis=1)
        emotions[family.emotion] = FamilyAgreement(
            direction=float(cosines.mean()),
            direction_min=float(cosines.min()),
            direction_control=float(np.quantile(control[0], 0.95)),
            reading=float(correlations.mean()),
            reading_min=float(correlations.min()),
            reading_control=float(np.quantile(control[1], 0.95)),
        )
    mean = None
    if emotions:
        cells = [dict(agreement) for agreement in emotions.values()]
        mean = FamilyAgreement(**{name: float(np.mean([cell[name] for cell in cells])) for name in cells[0]})
    return Agreement(n_seeds=len(others), emotions=emotions, mean=mean)


def _random(
    other: SeedFamilies,
    family: Family,
    direction: np.ndarray,
    read: np.ndarray,
    centred: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Cosines and correlations of random families of ``family``'s size, (2, DRAWS)."""
    live = np.setdiff1d(np.flatnonzero(other.sizes > 0), family.features)
    m = min(len(family.features), len(live))
    if m == 0:
        return np.zeros((2, DRAWS))
    directions = []
    for _ in range(DRAWS):
        picks = rng.choice(live, m, replace=False)
        drawn = Family(
            emotion=family.emotion,
            features=tuple(picks.tolist()),
            weights=family.weights[:m],
        )
        directions.append(drawn.direction(other.W_dec))
    added = np.stack(directions)
    return np.stack([_cosine(direction, added), _cosine(read, added @ centred.T)])


def _cosine(vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Cosine of a vector with one or more rows; 0 where either is zero."""
    return unit_rows(rows) @ unit_rows(vector)
