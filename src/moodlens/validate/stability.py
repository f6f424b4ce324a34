"""What comes back in a pipeline that shares nothing but the rows: seeds of its own from the first draw to the core.

Features of two dictionaries are matched one to one (Hungarian, Kuhn 1955), as in Paulo & Belrose 2025
(arXiv:2501.16615) and Song et al. 2025 (arXiv:2505.20254, PW-MCC, mean cosine of matched decoder rows), on decoder
cosine, on the correlation of activations over text that trained neither, and on the smaller of the two. A feature
*reappears* where the last match reaches the bar, so that one and the same partner agrees in direction and in use.

Controls. Random subsets of the core's size of a narrow SAE, looked for in those of another: what choosing fewer features
does by itself. Unit differences of two data rows, looked up in the other decoders: embeddings have low rank, so such
directions come closer to a dictionary than isotropic ones would. Beside them, as a warning: cores of bootstraps of the
training groups, for other data change more than another pipeline does.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput, Progress
from moodlens.sae.untrained import row_differences
from moodlens.settings.validation import StabilitySettings
from moodlens.stats.contrast import unit_rows
from moodlens.stats.correlation import UnitColumns
from moodlens.stats.ranks import firings
from moodlens.study.records.stability import Stability

if TYPE_CHECKING:
    import polars as pl

HUNGARIAN_FEATURES = 2500
"""Live features above which matches are mutual nearest neighbours: the Hungarian method takes n^3."""
NULL_DIRECTIONS = 2000
SUBSETS = 5
"""Pairs of random subsets of two narrow SAEs."""
WITH_BAR = {
    "decoder_cosine": "reappears_decoder",
    "correlation": "reappears_activation",
    "both": "reappears",
}
"""Score of the matched partner -> the share of pipelines in which it reaches the bar."""


@dataclass(frozen=True)
class Dictionary:
    """Features of one pipeline, and what they do on rows that trained none of them."""

    W_dec: np.ndarray
    """(d, d_in) decoder rows."""
    codes: np.ndarray
    """(n, d) activations."""


@dataclass(frozen=True)
class Reappearance:
    """Every feature that may be claimed looked for in other pipelines."""

    table: "pl.DataFrame"
    """One row per feature: :data:`moodlens.study.records.stability.STABILITY`."""
    summary: Stability


@dataclass(frozen=True)
class Beside:
    """What stands beside the other pipelines."""

    bootstraps: Sequence[Dictionary] = ()
    """cores of resampled training groups."""
    narrow: tuple[Dictionary, Dictionary] | None = None
    """a member of each of two pipelines, whose random subsets are the control."""


NOTHING = Beside()


def stability(
    own: Dictionary,
    others: Sequence[Dictionary],
    x_train: np.ndarray,
    settings: StabilitySettings,
    *,
    seed: int,
    beside: Beside = NOTHING,
    each: Callable[..., Iterable[Any]] = map,
    progress: Progress | None = None,
) -> Reappearance:
    """Look for every feature in other pipelines. Knows no labels.

    Args:
        own: the features that may be claimed; there may be none.
        others: of other pipelines, on the same rows.
        x_train: ``(m, d_in)`` raw embeddings, whose differences are a null.
        settings: ``reappearance``, the bar.
        seed: of the null directions and the random subsets.
        beside: bootstraps and the subset control.
        each: ``map``, or one that calls the function on several threads.
        progress: called after every pipeline.

    Raises:
        BadInput: there is no other pipeline, or shapes disagree.
    """
    import polars as pl

    if not others:
        raise BadInput("stability needs another pipeline to look in: none is given")
    for other in (*others, *beside.bootstraps):
        if other.W_dec.shape[1] != own.W_dec.shape[1] or other.codes.shape != (
            len(own.codes),
            len(other.W_dec),
        ):
            raise BadInput(
                f"another pipeline's decoder {other.W_dec.shape} or activations {other.codes.shape} "
                f"do not fit {own.W_dec.shape}, {own.codes.shape}"
            )
    d, n, bar = len(own.W_dec), len(others), settings.reappearance
    alive = _alive(own)
    live = _Live.of(own)
    drawn = null_directions(x_train, seed)
    shares = {name: np.zeros(d) for name in (*sorted(WITH_BAR.values()), "reappears_bootstrap")}
    means = {
        name: np.zeros(d) for name in ("decoder_cosine", "correlation", "best_cosine", "best_correlation")
    }

    def compared(other: Dictionary) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return _compare(live, _Live.of(other)), best_cosines(drawn, other.W_dec)

    null = []
    again = (*others, *beside.bootstraps)
    for done, (scores, best) in enumerate(each(compared, again)):
        if done < n:
            null.append(best)
            for name, value in scores.items():
                if name in means:
                    means[name][alive] += value / n
                if name in WITH_BAR:
                    shares[WITH_BAR[name]][alive] += (value >= bar) / n
        elif scores:
            shares["reappears_bootstrap"][alive] += (scores["both"] >= bar) / len(beside.bootstraps)
        if progress is not None:
            progress("stability", done + 2, len(again) + 1)
    reached = (np.stack(null) >= bar).sum(axis=0)
    control = Subsets() if beside.narrow is None else random_subsets(*beside.narrow, d, bar, seed)
    summary = Stability(
        n_seeds=n,
        n_bootstraps=len(beside.bootstraps),
        reappearance=bar,
        null_cosine_p95=float(np.quantile(null, 0.95)),
        null_seeds=tuple(np.bincount(reached, minlength=n + 1).tolist()),
        subset_share=control.share,
        narrow_share=control.whole,
        narrow_mcc=control.mcc,
    )
    table = {"feature": np.arange(d), **shares, **means, "alive": np.isin(np.arange(d), alive)}
    frame = pl.DataFrame(table)
    if not beside.bootstraps:
        frame = frame.with_columns(reappears_bootstrap=pl.lit(None, pl.Float64))
    return Reappearance(frame, summary)


def alone(own: Dictionary, x_train: np.ndarray, settings: StabilitySettings, *, seed: int) -> Reappearance:
    """What is known of features that there is no other pipeline to look for in: which of them fire."""
    import polars as pl

    d = len(own.W_dec)
    best = best_cosines(null_directions(x_train, seed), own.W_dec)
    summary = Stability(
        n_seeds=0,
        reappearance=settings.reappearance,
        null_cosine_p95=float(np.quantile(best, 0.95)),
        null_seeds=(),
    )
    columns = ("reappears", "reappears_bootstrap", "reappears_decoder", "reappears_activation")
    columns += ("decoder_cosine", "correlation", "best_cosine", "best_correlation")
    frame = pl.DataFrame({"feature": np.arange(d), "alive": np.isin(np.arange(d), _alive(own))})
    return Reappearance(
        frame.select("feature", *(pl.lit(None, pl.Float64).alias(name) for name in columns), "alive"), summary
    )


@dataclass(frozen=True)
class Subsets:
    """How much comes back of a narrow SAE in another; None where none were kept."""

    share: float | None = None
    """of random subsets, in random subsets of as many features."""
    whole: float | None = None
    """of all its live features."""
    mcc: float | None = None
    """mean cosine of all decoder rows matched one to one (PW-MCC)."""


def random_subsets(first: Dictionary, second: Dictionary, size: int, bar: float, seed: int) -> Subsets:
    """What keeping ``size`` features does without a consensus: random ones of one SAE, looked for among random ones."""
    a, b = _Live.of(first), _Live.of(second)
    if not len(a.directions) or not len(b.directions):
        return Subsets()
    cosine = a.directions @ b.directions.T
    both = np.minimum(cosine, a.columns.correlations(b.columns))
    rng = np.random.default_rng([seed, 0x5B])
    shares = []
    for _ in range(SUBSETS):
        rows, columns = (rng.permutation(count)[:size] for count in both.shape)
        shares.append(np.mean(_matched(both[np.ix_(rows, columns)]) >= bar) if size else 0.0)
    return Subsets(
        float(np.mean(shares)), float(np.mean(_matched(both) >= bar)), float(np.mean(_matched(cosine)))
    )


@dataclass(frozen=True)
class StableFeatures:
    """How many of the claimed features come back in another pipeline, beside all features and the controls."""

    stable_share: float | None
    """of the claimed features, mean over the other pipelines; None without any."""
    ci: tuple[float, float] | None
    """Wilson interval over features."""
    n_stable: int
    """claimed features that come back in all of the other pipelines."""
    n_emotion_features: int
    n_seeds: int
    alive_share: float
    """of all live features, mean over the other pipelines."""
    bootstrap_share: float | None
    """of the claimed features, mean over cores of resampled training groups."""
    mcc: float
    """mean correlation of matched live features."""

    @classmethod
    def of(cls, table: "pl.DataFrame", summary: Stability, strong: np.ndarray) -> "StableFeatures":
        """Count what reappears.

        Args:
            table, summary: from :func:`stability`.
            strong: ``(d_sae,)`` bool, claimed features.
        """
        from scipy.stats import binomtest

        claimed = np.asarray(strong)[table["feature"].to_numpy()]
        alive = table["alive"].to_numpy().astype(bool)
        share = table["reappears"].to_numpy()
        n = int(claimed.sum())
        mean = float(share[claimed].mean()) if n and summary.n_seeds else None
        interval = None if mean is None else binomtest(round(mean * n), n).proportion_ci(method="wilson")
        again = table.filter(claimed)["reappears_bootstrap"].mean()
        return cls(
            stable_share=mean,
            ci=None if interval is None else (float(interval.low), float(interval.high)),
            n_stable=int((share[claimed] >= 1 - 1e-9).sum()),
            n_emotion_features=n,
            n_seeds=summary.n_seeds,
            alive_share=float(share[alive].mean()) if alive.any() else 0.0,
            bootstrap_share=None if again is None else float(again),  # type: ignore[arg-type]
            mcc=float(table["correlation"].to_numpy()[alive].mean()) if alive.any() else 0.0,
        )


@dataclass(frozen=True)
class _Live:
    """The features that fire."""

    directions: np.ndarray
    columns: UnitColumns

    @classmethod
    def of(cls, one: Dictionary) -> "_Live":
        alive = _alive(one)
        columns = UnitColumns.of(one.codes, columns=alive)
        return cls(unit_rows(one.W_dec[alive].astype(np.float32)), columns)


def _alive(one: Dictionary) -> np.ndarray:
    """Features that fire on any of the rows."""
    return np.flatnonzero(firings(one.codes))


def _compare(own: _Live, other: _Live) -> dict[str, np.ndarray]:
    """How well each live feature is matched in another dictionary; ``(alive,)`` each, nothing if either is dead."""
    if not len(other.directions) or not len(own.directions):
        return {}
    cosine = own.directions @ other.directions.T
    correlation = own.columns.correlations(other.columns)
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
    return unit_rows(row_differences(x_train, NULL_DIRECTIONS, np.random.default_rng([seed, 0x57AB])))


def best_cosines(drawn: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Best cosine of each unit vector ``drawn`` (m, d_in) with the rows of a decoder, ``(m,)``."""
    return (drawn @ unit_rows(other.astype(np.float32)).T).max(axis=1, initial=0.0)


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
