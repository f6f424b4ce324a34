"""Find features that go with a rating: choose on train + val, judge on test, and count what chance would have found.

The rule is that of :mod:`moodlens.features.select` with a number in the place of a label:

1. *Choose*, on rated train + val rows. The end of the scale is the sign of the rank correlation. A feature is tested if it
   fires in at least ``min_firings`` of those rows and ``min_groups`` groups, and its correlation is at least
   ``min_correlation`` in size.
2. *Judge*, on rated test rows. p comes from moving ratings over groups, q is Benjamini-Hochberg over every feature tested,
   of all scales together.
3. A *rated feature* has ``q < settings.q`` and a correlation of at least ``min_correlation`` towards the chosen end on test.

Labels have no part in it. The control repeats both steps in full with ratings dealt anew.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, Progress
from moodlens.settings.features import FeatureSettings
from moodlens.stats.moments import wide_blocks
from moodlens.stats.pvalues import benjamini_hochberg
from moodlens.stats.rated import RatedLabelling, RatedSums, rating_p
from moodlens.stats.resample import drawn_rows
from moodlens.stats.ridge import Ridge
from moodlens.stats.units import draw_labels, groups_fired
from moodlens.study.records.ratings import RATINGS, RatedClaims, RatedScale, Ratings
from moodlens.study.records.selection import Shuffled
from moodlens.study.rows import DEV, SCALES, Rows

if TYPE_CHECKING:
    import polars as pl

DENSE_ROWS = 20_000
"""Rows that the dense reading is fitted on at most, drawn at random."""
POLES = {-1: "low", 1: "high"}


@dataclass(frozen=True)
class JudgedRatings:
    """What became of the features of one dictionary."""

    table: "pl.DataFrame"
    """:data:`moodlens.study.records.ratings.RATINGS`."""
    claims: RatedClaims
    scales: dict[str, RatedScale]
    shuffled: Shuffled
    shuffled_poles: tuple[int, ...]
    """Of every repeat, the largest count of any end of a scale."""


@dataclass(frozen=True)
class _Scale:
    """One scale under the true ratings (first) and each dealing of them; arrays are (1 + dealings, d)."""

    name: str
    dev: np.ndarray
    test: np.ndarray
    sums: RatedSums
    correlation_dev: np.ndarray
    correlation: np.ndarray
    sign: np.ndarray
    """the end that train + val chose; 0 where not tested"""
    p: np.ndarray
    p_maxt: np.ndarray
    """(d,) of the true ratings"""


def rated_scales(rows: Rows) -> tuple[str, ...]:
    """The scales on which any row is rated."""
    return tuple(scale for scale in SCALES if len(rows.rated(scale)))


def rated_features(
    codes: np.ndarray,
    rows: Rows,
    settings: FeatureSettings,
    *,
    seed: int,
    x: np.ndarray | None = None,
    progress: Progress | None = None,
) -> JudgedRatings:
    """Choose the end of each scale that a feature goes with, judge it, and repeat with ratings dealt anew.

    Args:
        codes: ``(n, d)`` activations of ``rows``, >= 0, of the features that may be claimed.
        rows: of the study; every rated row takes part, labelled or not. Held-out ones chose and judge nothing.
        settings: what it takes to be tested and to hold.
        seed: of the permutations and dealings.
        x: ``(n, d_in)`` embeddings, for the dense reading that stands beside; None: none does.

    Raises:
        BadInput: shapes disagree, or a rated scale has too few different ratings in train + val or in test.
    """
    if codes.ndim != 2 or len(codes) != len(rows):
        raise BadInput(f"codes of shape {codes.shape} do not fit {len(rows)} texts")
    names = rated_scales(rows)
    rng = np.random.default_rng([seed, 0x7A7E])
    scales = [_judge(codes, rows, name, settings, rng, progress) for name in names]
    holds, q = _together(scales, settings)
    per_pole = {
        f"{scale.name} {pole}": int((holds[0][place] & (scale.sign[0] == sign)).sum())
        for place, scale in enumerate(scales)
        for sign, pole in sorted(POLES.items(), reverse=True)
    }
    counts = [sum(int(holding.sum()) for holding in dealt) for dealt in holds[1:]]
    largest = tuple(
        max(
            int((holding & (scale.sign[i] == sign)).sum())
            for holding, scale in zip(dealt, scales, strict=True)
            for sign in POLES
        )
        for i, dealt in enumerate(holds[1:], 1)
    )
    shuffled = Shuffled(
        n_shuffles=settings.n_shuffles,
        n_tested_mean=float(np.mean([(scale.sign[1:] != 0).sum(axis=1) for scale in scales]) * len(scales)),
        counts=tuple(counts),
        mean=float(np.mean(counts)),
        p95=float(np.percentile(counts, 95)),
    )
    return JudgedRatings(
        _table(codes, rows, scales, holds[0], q),
        RatedClaims(
            n_features=codes.shape[1],
            n_rated=sum(int(holding.sum()) for holding in holds[0]),
            per_pole=per_pole,
        ),
        {
            scale.name: _summary(scale, rows, holds[0][place], len(scales), x, settings)
            for place, scale in enumerate(scales)
        },
        shuffled,
        largest,
    )


def rule(settings: FeatureSettings) -> str:
    """What makes a rated feature, in words."""
    return (
        f"its activation goes with the rating on groups that chose nothing: rank correlation of at least "
        f"{settings.min_correlation:g} towards the end of the scale that train + val chose, q < {settings.q:g}"
    )


def not_rated(settings: FeatureSettings) -> Ratings:
    """The record where no text carries a rating."""
    return Ratings(
        asked=False,
        scales={},
        claims=RatedClaims(n_features=0, n_rated=0, per_pole={}),
        shuffled=None,
        shuffled_pole_p95=0.0,
        consensus={},
        alone={},
        n_permutations=settings.n_permutations,
        rule=rule(settings),
    )


def _judge(
    codes: np.ndarray,
    rows: Rows,
    name: str,
    settings: FeatureSettings,
    rng: np.random.Generator,
    progress: Progress | None,
) -> _Scale:
    dev, test = rows.rated(name, *DEV), rows.rated(name, "test")
    rating = rows.rating(name)
    for where, numbers in (("train + val", dev), ("test", test)):
        if len(np.unique(rating[numbers])) < 2:
            raise BadInput(
                f"ratings of {name}: {len(np.unique(rating[numbers]))} different in {where}; rate more texts, or change the split"
            )
    dev_sums, sums = (
        RatedSums.of(codes[part], rating[part], rows.group[part], rows.copy[part]) for part in (dev, test)
    )
    dev_labels, labels = (
        np.vstack([group_sums.units.labels, draw_labels(group_sums.units, settings.n_shuffles, rng)])
        for group_sums in (dev_sums, sums)
    )
    chosen = dev_sums.correlations(dev_labels)
    fires = (codes[dev] > 0).sum(axis=0) >= settings.min_firings
    fires &= groups_fired(dev_sums.fires, dev_sums.units.strata) >= settings.min_groups
    sign = np.where(fires & (np.abs(chosen) >= settings.min_correlation), np.sign(chosen), 0).astype(int)
    tests = rating_p(
        sums,
        [RatedLabelling(own, ends) for own, ends in zip(labels, sign, strict=True)],
        n_permutations=settings.n_permutations,
        rng=rng,
        progress=progress,
    )
    return _Scale(
        name,
        dev,
        test,
        sums,
        chosen,
        sums.correlations(labels),
        sign,
        np.stack([group_sums.p for group_sums in tests]),
        tests[0].p_maxt,
    )


def _together(
    scales: list[_Scale], settings: FeatureSettings
) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
    """Which features hold on each scale, under the true ratings and each dealing; and q of the true ones."""
    holds, q_true = [], []
    for i in range(settings.n_shuffles + 1):
        q = np.split(benjamini_hochberg(np.concatenate([scale.p[i] for scale in scales])), len(scales))
        holds.append(
            [
                (own < settings.q) & (scale.sign[i] * scale.correlation[i] >= settings.min_correlation)
                for own, scale in zip(q, scales, strict=True)
            ]
        )
        q_true = q if i == 0 else q_true
    return holds, q_true


def _table(
    codes: np.ndarray, rows: Rows, scales: list[_Scale], holds: list[np.ndarray], q: list[np.ndarray]
) -> "pl.DataFrame":
    import polars as pl

    parts = [RATINGS.empty()]
    for scale, own, of in zip(scales, holds, q, strict=True):
        fired, rating = codes[scale.test] > 0, rows.rating(scale.name)[scale.test]
        n_fired = fired.sum(axis=0)
        total, summed = rating.sum(), rating @ fired
        d = codes.shape[1]
        mean = np.divide(summed, n_fired, out=np.full(d, np.nan), where=n_fired > 0)
        rest = len(rating) - n_fired
        parts.append(
            pl.DataFrame(
                {
                    "feature": np.arange(d),
                    "scale": [scale.name] * d,
                    "pole": [POLES[1 if value >= 0 else -1] for value in scale.correlation_dev[0]],
                    "correlation_dev": scale.correlation_dev[0],
                    "correlation": scale.correlation[0],
                    "p": scale.p[0],
                    "q": of,
                    "p_maxt": np.minimum(len(scales) * scale.p_maxt, 1.0),
                    "rating": mean,
                    "rating_silent": np.divide(total - summed, rest, out=np.full(d, np.nan), where=rest > 0),
                    "density": n_fired / len(rating),
                    "n_groups": groups_fired(scale.sums.fires, scale.sums.units.strata).astype(np.int64),
                    "tested": scale.sign[0] != 0,
                    "rated_feature": own,
                }
            ).with_columns(pl.col("p", "q", "p_maxt", "rating", "rating_silent").fill_nan(None))
        )
    return pl.concat(parts)


def _summary(
    scale: _Scale,
    rows: Rows,
    holds: np.ndarray,
    n_scales: int,
    x: np.ndarray | None,
    settings: FeatureSettings,
) -> RatedScale:
    rating = rows.rating(scale.name)
    held = np.flatnonzero(holds)
    best = held[np.argmax(np.abs(scale.correlation_dev[0][held]))] if len(held) else None
    dense = None
    if x is not None:
        fitted = drawn_rows(scale.dev, DENSE_ROWS, 0)
        fit = Ridge.of(x[fitted].astype(np.float64), rating[fitted][:, None])
        told = np.concatenate([fit.predict(block) for _, block in wide_blocks(x, scale.test)])
        # Raised above 0, since a code is one that fires there.
        of = RatedSums.of(told - told.min() + 1.0, rating[scale.test], rows.group[scale.test])
        dense = float(of.correlations(of.units.labels[None])[0, 0]) if of.spread[0] > 0 else None
    return RatedScale(
        n_dev=len(scale.dev),
        n_groups_dev=len(np.unique(rows.group[scale.dev])),
        n_test=len(scale.test),
        n_groups_test=len(np.unique(rows.group[scale.test])),
        low=float(np.quantile(rating[rows.rated(scale.name)], 0.05)),
        high=float(np.quantile(rating[rows.rated(scale.name)], 0.95)),
        n_tested=int((scale.sign[0] != 0).sum()),
        n_family_wise=int((holds & (n_scales * scale.p_maxt < settings.q)).sum()),
        best=None if best is None else float(scale.sign[0][best] * scale.correlation[0][best]),
        dense=dense,
    )
