"""Which features come back when the SAE is trained again with another initialisation and data order.

Features of two SAEs are matched one to one (Hungarian, Kuhn 1955), as in Paulo & Belrose 2025 (arXiv:2501.16615)
and Song et al. 2025 (arXiv:2505.20254, mean correlation of matched features), on decoder cosine, on the
correlation of activations over text that trained neither, and on the smaller of the two. A feature *reappears*
where the last match reaches the bar, so that one and the same partner agrees in direction and in use.

The null: unit differences of two data rows, looked up in the other decoders. Embeddings have low rank, so
such directions come closer to a dictionary than isotropic ones would.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput, Progress
from moodlens.settings.validation import StabilitySettings
from moodlens.stats.contrast import unit_rows
from moodlens.stats.correlation import UnitColumns

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


def stability(
    W_dec: np.ndarray,
    seeds: list[np.ndarray],
    codes: np.ndarray,
    seed_codes: list[np.ndarray],
    x_train: np.ndarray,
    settings: StabilitySettings,
    min_reappearance: float,
    *,
    seed: int,
    each: Callable[..., Iterable[Any]] = map,
    progress: Progress | None = None,
) -> "pl.DataFrame":
    """Look for every feature in the SAEs of other seeds. Knows no labels.

    Args:
        W_dec: ``(d_sae, d_in)`` decoder rows of the study's SAE.
        seeds: ``W_dec`` of every other SAE.
        codes: ``(n, d_sae)`` activations on rows that trained no SAE.
        seed_codes: activations of the other SAEs on the same rows.
        x_train: ``(m, d_in)`` raw embeddings, whose differences are the null.
        settings: ``reappearance``, the bar.
        min_reappearance: share of the seeds that counts as stable.
        seed: of the null directions.
        each: ``map``, or one that calls the function on several threads.
        progress: called after every seed.

    Returns:
        One row per feature. Shares of the other seeds: ``reappears_decoder``, ``reappears_activation`` (one to one on
        that measure alone), ``reappears`` (both, same partner). Means over the seeds: ``decoder_cosine``,
        ``correlation`` (one to one), ``best_cosine``, ``best_correlation`` (nearest, whoever else takes it).
        ``alive``: fires on these rows; features that do not have no correlation and do not reappear. The same in
        every row: ``n_seeds``, ``null_cosine_p95`` (95th percentile of the null's best cosine) and ``null_share``
        (null directions whose best cosine reaches the bar in enough seeds).

    Raises:
        BadInput: there is no other seed, or shapes disagree.
    """
    import polars as pl

    if not seeds or len(seeds) != len(seed_codes):
        raise BadInput(
            f"stability needs other seeds with their activations: {len(seeds)} and {len(seed_codes)} given"
        )
    for other, own in zip(seeds, seed_codes, strict=True):
        if other.shape[1] != W_dec.shape[1] or own.shape != (len(codes), len(other)):
            raise BadInput(
                f"another seed's decoder {other.shape} or activations {own.shape} "
                f"do not fit {W_dec.shape}, {codes.shape}"
            )
    d, n_seeds, bar = len(W_dec), len(seeds), settings.reappearance
    alive = np.flatnonzero((codes > 0).any(axis=0))
    mine, mine_z = unit_rows(W_dec[alive]), UnitColumns.of(codes).take(alive)
    means = {
        name: np.zeros(d) for name in ("decoder_cosine", "correlation", "best_cosine", "best_correlation")
    }
    shares = {name: np.zeros(d) for name in ("reappears_decoder", "reappears_activation", "reappears")}
    drawn = null_directions(x_train, seed)

    def compared(other: np.ndarray, own: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return _compare(mine, mine_z, other, own), best_cosines(drawn, other)

    null = []
    for done, (found, best) in enumerate(each(compared, seeds, seed_codes)):
        null.append(best)
        for name, value in found.items():
            if name in means:
                means[name][alive] += value / n_seeds
            if name in WITH_BAR:
                shares[WITH_BAR[name]][alive] += (value >= bar) / n_seeds
        if progress is not None:
            progress("stability", done + 2, n_seeds + 1)
    null = np.stack(null)
    needed = min_reappearance - 1e-9
    return pl.DataFrame(
        {
            "feature": np.arange(d),
            "n_seeds": np.full(d, n_seeds),
            **shares,
            **means,
            "alive": np.isin(np.arange(d), alive),
            "null_cosine_p95": np.full(d, np.quantile(null, 0.95)),
            "null_share": np.full(d, np.mean((null >= bar).mean(axis=0) >= needed)),
        }
    )


def stability_summary(table: "pl.DataFrame", found: np.ndarray, min_reappearance: float) -> dict[str, Any]:
    """What the verdict reads: how many of the emotion features come back in enough other seeds.

    Args:
        table: from :func:`stability`.
        found: ``(d_sae,)`` bool, emotion features.
        min_reappearance: share of the seeds that counts as stable.

    Returns:
        ``stable_share`` (None without emotion features) with ``ci`` (Wilson, over features), ``n_stable``,
        ``n_emotion_features``, ``n_seeds``, ``alive_share`` (the same share over all live features), ``null_share``,
        ``null_cosine_p95``, ``mcc`` (mean correlation of matched live features), ``mcc_emotion``,
        ``decoder_mcc`` (mean decoder cosine of matched live features), ``decoder_share``, ``activation_share``
        (emotion features stable on one measure alone).
    """
    from scipy.stats import binomtest

    found = np.asarray(found).astype(bool)
    needed = min_reappearance - 1e-9
    column = {name: table[name].to_numpy() for name in table.columns}
    alive = column["alive"].astype(bool)

    def share(name: str, which: np.ndarray) -> float | None:
        return float(np.mean(column[name][which] >= needed)) if which.any() else None

    def mean(name: str, which: np.ndarray) -> float | None:
        return float(column[name][which].mean()) if which.any() else None

    n, n_stable = int(found.sum()), int((column["reappears"][found] >= needed).sum())
    interval = binomtest(n_stable, n).proportion_ci(method="wilson") if n else None
    return {
        "stable_share": share("reappears", found),
        "ci": None if interval is None else [float(interval.low), float(interval.high)],
        "n_stable": n_stable,
        "n_emotion_features": n,
        "n_seeds": int(column["n_seeds"][0]),
        "null_share": float(column["null_share"][0]),
        "null_cosine_p95": float(column["null_cosine_p95"][0]),
        "alive_share": share("reappears", alive) or 0.0,
        "mcc": mean("correlation", alive) or 0.0,
        "mcc_emotion": mean("correlation", found),
        "decoder_mcc": mean("decoder_cosine", alive) or 0.0,
        "decoder_share": share("reappears_decoder", found),
        "activation_share": share("reappears_activation", found),
    }


def _compare(
    mine: np.ndarray, mine_z: UnitColumns, other: np.ndarray, own: np.ndarray
) -> dict[str, np.ndarray]:
    """How well each of the live features ``mine`` is matched in another SAE; ``(alive,)`` each, nothing if either is dead."""
    there = np.flatnonzero((own > 0).any(axis=0))
    if not len(there) or not len(mine):
        return {}
    cosine = mine @ unit_rows(other[there]).T
    correlation = mine_z.correlations(UnitColumns.of(own).take(there))
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
    return (drawn @ unit_rows(other).T).max(axis=1)


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
