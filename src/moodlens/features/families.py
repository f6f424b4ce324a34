"""Gathering the emotion features of each emotion into a family, from train + val rows alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core.maps import blocks
from moodlens.settings.features import FeatureSettings
from moodlens.stats.contrast import unit_rows
from moodlens.study.coded import Coded
from moodlens.study.families import Families, Family
from moodlens.study.rows import DEV, Rows

if TYPE_CHECKING:
    import polars as pl

TOGETHER = 32_768
"""Rows that are read together."""
NOISE = 1e-10
"""Share of the largest eigenvalue below which a combination of directions is one of rounding."""


@dataclass(frozen=True)
class Target:
    """What a family is drawn towards: the difference in means of its emotion, as train + val rows see it.

    Attributes:
        towards: ``(C, d_in)`` mean of the emotion's rows minus mean of the others; NaN where there is none.
        covariance: ``(d_in, d_in)`` of the rows: two directions are alike if they order these rows alike.
    """

    towards: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, rows: Rows) -> "Target":
        """Of the train + val rows among ``rows``, whose raw embeddings are ``x (n, d_in)``.

        Neutral rows are among the others of every emotion; rows of unknown emotion take no part.
        """
        dev = rows.where(*DEV)
        label, n, d_in = rows.label[dev], max(len(dev), 1), x.shape[1]
        own = label == np.arange(rows.n_emotions)[:, None]
        total, product = np.zeros(d_in), np.zeros((d_in, d_in))
        of_own, of_others = np.zeros((rows.n_emotions, d_in)), np.zeros((rows.n_emotions, d_in))
        for block in blocks(x, dev, size=TOGETHER):
            total += block.astype(np.float64).sum(axis=0)
        begin = 0
        for block in blocks(x, dev, size=TOGETHER):
            centred = block.astype(np.float64) - total / n
            product += centred.T @ centred
            for c, signs in enumerate(own[:, begin : begin + len(block)]):
                of_own[c] += centred[signs].sum(axis=0)
                of_others[c] += centred[~signs].sum(axis=0)
            begin += len(block)
        n_own = own.sum(axis=1)[:, None]
        both = (n_own > 0) & (n_own < len(dev))
        towards = np.full((rows.n_emotions, d_in), np.nan)
        np.divide(of_own, n_own, out=towards, where=both)
        np.subtract(towards, of_others / np.maximum(len(dev) - n_own, 1), out=towards, where=both)
        return cls(towards, product / n)

    def weights(self, directions: np.ndarray, emotion: int, size: int) -> np.ndarray:
        """How much of each direction comes nearest to the difference in means, at most ``size`` of them above 0.

        Non-negative least squares (Lawson and Hanson 1974) between the scores that both give the rows; while there are
        more than ``size``, the direction that contributes least leaves and the others are weighed again. Where none
        helps, the one of the nearest angle stands alone.

        Args:
            directions: ``(m, d_in)``, at least one.
            emotion: whose.
            size: at least 1.

        Returns:
            ``(m,)`` float64, not negative; they add up to 1.
        """
        product = directions.astype(np.float64) @ self.covariance
        gram, wanted = product @ directions.T.astype(np.float64), product @ self.towards[emotion]
        spread = np.sqrt(np.maximum(np.diag(gram), 0))
        live = np.flatnonzero(spread > NOISE * spread.max(initial=0))
        gram = gram[np.ix_(live, live)] / np.outer(spread[live], spread[live])
        wanted = wanted[live] / spread[live]
        out, share = np.zeros(len(directions)), _non_negative(gram, wanted)
        kept = np.flatnonzero(share)
        while len(kept) > size:
            kept = np.delete(kept, share[kept].argmin())
            share = np.zeros(len(live))
            share[kept] = _non_negative(gram[np.ix_(kept, kept)], wanted[kept])
            kept = np.flatnonzero(share)
        if not len(kept):
            out[self.nearness(directions, emotion).argmax()] = 1.0
            return out
        out[live] = share / spread[live]
        return out / out.sum()

    def nearness(self, directions: np.ndarray, emotion: int) -> np.ndarray:
        """``(m,)`` cosine of each direction with the difference in means."""
        return unit_rows(directions.astype(np.float64)) @ unit_rows(self.towards[emotion])


def gather_families(table: "pl.DataFrame", coded: Coded, settings: FeatureSettings) -> Families:
    """Gather the emotion features of each emotion into a family.

    Members are emotion features (their standing on test decides only whether they are), weighted so that the sum of
    their directions comes nearest to the difference in means of train + val rows (:class:`Target`); first the one
    whose own direction is nearest to it. Where ``table`` has a ``stability`` column, features below
    ``settings.min_stability`` stay out.

    Args:
        table: one row per feature, from :func:`moodlens.features.select.select_features`.
        coded: rows, embeddings and decoder of the SAE; plain and neutral train + val rows are read. A text whose
            emotion is not known is no negative.
        settings: size and stability of the families.
    """
    import polars as pl

    candidates = table.filter(pl.col("emotion_feature"))
    if settings.min_stability > 0 and "stability" in table.columns:
        candidates = candidates.filter(
            pl.col("stability").is_null() | (pl.col("stability") >= settings.min_stability)
        )
    if not candidates.height:
        return Families(families=tuple(Family(emotion=name) for name in coded.rows.emotions))
    target = Target.of(coded.x, coded.rows)
    families = []
    for c, name in enumerate(coded.rows.emotions):
        pool = candidates.filter(pl.col("emotion") == name)["feature"].to_numpy()
        if not len(pool) or np.isnan(target.towards[c]).any():
            families.append(Family(emotion=name))
            continue
        directions = coded.W_dec[pool]
        weights = target.weights(directions, c, settings.family_size)
        order = np.argsort(-target.nearness(directions, c), kind="stable")
        order = order[weights[order] > 0]
        families.append(
            Family(emotion=name, features=tuple(pool[order].tolist()), weights=tuple(weights[order].tolist()))
        )
    return Families(families=tuple(families))


def _non_negative(gram: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The ``w >= 0`` that makes ``w gram w / 2 - w wanted`` least, from the eigenvectors that are more than rounding."""
    from scipy.optimize import nnls

    if not len(gram):
        return np.zeros(0)
    values, vectors = np.linalg.eigh(gram)
    real = values > NOISE * values[-1]
    root = np.sqrt(values[real])
    return nnls(root[:, None] * vectors[:, real].T, vectors[:, real].T @ wanted / root)[0]
