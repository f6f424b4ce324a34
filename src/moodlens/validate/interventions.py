"""What happens to the readouts when features are moved, for many features and rows at once.

The SAE's error is kept: ``x' = x + decode(h') - decode(h) = x + (h' - h) @ W_dec``. Moving feature f by an amount
a therefore adds ``a W_dec[f]`` to the embedding, changes every logit by ``a (W_dec[f] . w_k)`` and the squared norm
by ``2 a (x . W_dec[f]) + a^2``. All products are taken once; an effect costs one logarithm and one root.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from moodlens.settings.validation import CausalSettings
from moodlens.stats.controls import like_sizes, random_directions
from moodlens.stats.logistic import log_odds
from moodlens.stats.ranks import activity
from moodlens.stats.resample import GroupMeans
from moodlens.study.coded import Coded
from moodlens.study.rows import DEV
from moodlens.validate.readouts import Fold, Panel

_TINY = np.float32(1e-30)
_CHUNK = 256  # rows


@dataclass(frozen=True)
class Bank:
    """Directions as every fold of a panel sees them."""

    directions: np.ndarray
    """(b, d_in) float32."""
    seen: tuple[np.ndarray, ...]
    """per fold (b, K + C): products with the readout's vectors."""
    dots: tuple[np.ndarray, ...]
    """per fold (b, r): products with the fold's rows."""
    square: np.ndarray
    """(b,) squared norms."""

    @classmethod
    def of(cls, panel: Panel, directions: np.ndarray) -> "Bank":
        """Look at ``directions`` (b, d_in) from every fold of ``panel``."""
        directions = np.ascontiguousarray(directions, dtype=np.float32)
        return cls(
            directions,
            tuple(directions @ fold.readout.vectors.T for fold in panel.folds),
            tuple(directions @ fold.x.T for fold in panel.folds),
            np.einsum("bd,bd->b", directions, directions),
        )

    def part(self, which: np.ndarray, keep: tuple[np.ndarray, ...]) -> "Bank":
        """Directions ``which``, seen from the rows ``keep`` (bool per fold) alone."""
        return Bank(
            self.directions[which],
            tuple(seen[which] for seen in self.seen),
            tuple(
                dots[np.ix_(which, np.flatnonzero(mask))] for dots, mask in zip(self.dots, keep, strict=True)
            ),
            self.square[which],
        )


def constant_effects(
    panel: Panel,
    bank: Bank,
    which: np.ndarray,
    amounts: np.ndarray,
    target: int,
    *,
    without: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Add ``amounts[j]`` of direction ``which[j]`` to every row; the change of both readouts of one emotion.

    Args:
        panel: rows and readouts.
        bank: directions, made for this panel.
        which: ``(m,)`` int, places in the bank.
        amounts: ``(m,)``.
        target: emotion that is read.
        without: class left out of the log-odds, where two emotions should not compete.

    Returns:
        probe and centroid changes, ``(m, r)`` float32 each, rows in the order of ``panel.rows``.
    """
    amounts = np.asarray(amounts, dtype=np.float32)
    probe, centroid = [], []
    for fold, seen, dots in zip(panel.folds, bank.seen, bank.dots, strict=True):
        k = fold.readout.n_classes
        shift = seen[which] * amounts[:, None]
        rest = np.array([c for c in range(k) if c not in (target, without)])
        # log-odds change = s_c - log sum_k p_k exp(s_k), p the probabilities among the other classes.
        top = shift[:, rest].max(axis=1, keepdims=True)
        grown = np.exp(shift[:, rest] - top) @ _shares(fold.seen[:, rest]).T
        probe.append((shift[:, target, None] - top) - np.log(np.maximum(grown, _TINY)))
        before = fold.seen[:, k + target]
        square = dots[which]
        square *= 2 * amounts[:, None]
        square += fold.square + (amounts**2 * bank.square[which])[:, None]
        after = (before + shift[:, k + target, None]) / np.sqrt(np.maximum(square, _TINY))
        centroid.append(after - before / np.sqrt(np.maximum(fold.square, _TINY)))
    return np.concatenate(probe, axis=1), np.concatenate(centroid, axis=1)


def probe_means(panel: Panel, bank: Bank, which: np.ndarray, amounts: np.ndarray, target: int) -> np.ndarray:
    """Means over rows of the probe's changes in :func:`constant_effects`, ``(m,)``, without holding ``(m, r)``."""
    amounts = np.asarray(amounts, dtype=np.float32)
    total = np.zeros(len(which))
    for fold, seen in zip(panel.folds, bank.seen, strict=True):
        k, n = fold.readout.n_classes, len(fold.rows)
        shift = seen[which] * amounts[:, None]
        rest = np.delete(np.arange(k), target)
        top = shift[:, rest].max(axis=1)
        grown = np.exp(shift[:, rest] - top[:, None])
        shares = np.ascontiguousarray(_shares(fold.seen[:, rest]).T)
        total += n * (shift[:, target] - top)
        for part in blocks(n, _CHUNK):  # what a block needs stays in the processor's cache
            logs = np.maximum(grown @ shares[:, part], _TINY)
            total -= np.log(logs, out=logs) @ np.ones(part.stop - part.start, dtype=np.float32)
    return total / max(len(panel.rows), 1)


def centroid_means(
    panel: Panel, bank: Bank, which: np.ndarray, amounts: np.ndarray, target: int
) -> np.ndarray:
    """Means over rows of the centroid's changes in :func:`constant_effects`, ``(m,)``, without holding ``(m, r)``."""
    amounts = np.asarray(amounts, dtype=np.float32)
    total = np.zeros(len(which))
    twice, added = (2 * amounts)[:, None], (amounts**2 * bank.square[which])[:, None]
    for fold, seen, dots in zip(panel.folds, bank.seen, bank.dots, strict=True):
        column = fold.readout.n_classes + target
        before, along = fold.seen[:, column], seen[which, column, None] * amounts[:, None]
        total -= float(np.sum(before / np.sqrt(np.maximum(fold.square, _TINY))))
        for part in blocks(len(fold.rows), _CHUNK):
            square = dots[which, part]
            square *= twice
            square += added
            square += fold.square[part]
            np.sqrt(np.maximum(square, _TINY, out=square), out=square)
            after = before[part] + along
            after /= square
            total += after @ np.ones(part.stop - part.start, dtype=np.float32)
    return total / max(len(panel.rows), 1)


def member_effects(
    fold: Fold,
    bank: Bank,
    place: int,
    picks: np.ndarray,
    amounts: np.ndarray,
    target: int,
    *,
    removed: np.ndarray | None = None,
    norm: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Add, row by row, its own amounts of several directions; the change of both readouts of one emotion.

    Args:
        fold: rows and readout; may be part of the fold the bank was made for if ``amounts`` are of its rows only.
        bank: directions; ``place`` is the fold's place in it. Its ``dots`` must be of the same rows.
        picks: ``(m, j)`` int, places in the bank, j directions for each of m moves.
        amounts: ``(1, r, j)`` (shared) or ``(m, r, j)``.
        target: emotion that is read.
        removed: ``(r, d_in)`` taken from the rows first (e.g. everything the SAE decodes).
        norm: ``(r,)`` norm to which all moves of a row are scaled, so that they have one size.

    Returns:
        probe and centroid changes, ``(m, r)`` float32 each.
    """
    k = fold.readout.n_classes
    amounts = np.asarray(amounts, dtype=np.float32)
    inner = bank.directions[picks]
    inner = inner @ inner.transpose(0, 2, 1)
    shared = len(amounts) != len(picks)
    each = "rj,mjl,rl->mr" if shared else "mrj,mjl,mrl->mr"
    moved = amounts[0] if shared else amounts
    length = np.einsum(each, moved, inner, moved, optimize=True)  # squared norm of every move
    if norm is not None:
        scale = norm / np.sqrt(np.maximum(length, _TINY))
        amounts, shared = amounts * scale[:, :, None], False
        length = np.broadcast_to(norm**2, length.shape)
    dots = bank.dots[place][picks].transpose(0, 2, 1)  # (m, r, j)
    start, square = fold.seen, fold.square
    cross = np.einsum("mrj,rj->mr" if shared else "mrj,mrj->mr", dots, moved if shared else amounts)
    if removed is not None:
        taken = removed.astype(np.float32)
        start = start - taken @ fold.readout.vectors.T
        rest = fold.x - taken
        square = np.einsum("rd,rd->r", rest, rest)
        away = np.einsum("rd,mjd->mrj", taken, bank.directions[picks], optimize=True)
        cross = cross - np.einsum("mrj,mrj->mr", away, np.broadcast_to(amounts, away.shape))
    seen = start + amounts @ bank.seen[place][picks]  # (m, r, K + C)
    after = log_odds(seen[..., :k], target)
    size = np.sqrt(np.maximum(square + 2 * cross + length, _TINY))
    probe = after - log_odds(fold.seen[:, :k], target)
    centroid = seen[..., k + target] / size
    centroid -= fold.seen[:, k + target] / np.sqrt(np.maximum(fold.square, _TINY))
    return probe, centroid


def _shares(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, float32."""
    grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


def blocks(n: int, size: int) -> Iterator[slice]:
    """Slices of at most ``size`` that cover ``range(n)``."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


@dataclass(frozen=True)
class Experiment:
    """What every intervention reads: the SAE's view of the rows, the panel that judges, and what controls are drawn from."""

    coded: Coded
    panel: Panel
    """the judged rows."""
    means: GroupMeans
    density: np.ndarray
    """(d_sae + u,) share of train + val rows in which a feature of the SAE, or of the untrained dictionary, fires."""
    size: np.ndarray
    """(d_sae + u,) mean activation where it fires, train + val; the untrained dictionary's on the scale of the SAE's."""
    untrained: Coded | None
    """a dictionary that learned nothing, on the same rows."""
    directions: np.ndarray
    """(r, d_in) random unit directions."""
    settings: CausalSettings

    @classmethod
    def of(
        cls,
        coded: Coded,
        panel: Panel,
        settings: CausalSettings,
        seed: int,
        rng: np.random.Generator,
        untrained: Coded | None = None,
    ) -> "Experiment":
        """Densities and sizes on plain and neutral train + val rows; random directions of ``rng``."""
        dev = coded.rows.where(*DEV)
        density, size = activity(coded.codes, dev)
        if untrained is not None:
            other_density, other_size = activity(untrained.codes, dev)
            density = np.concatenate([density, other_density])
            size = np.concatenate([size, like_sizes(other_size, size)])
        return cls(
            coded,
            panel,
            GroupMeans.of(coded.rows.group, settings.n_bootstrap, seed),
            density,
            size,
            untrained,
            random_directions(settings.n_random_directions, coded.x.shape[1], rng),
            settings,
        )

    @cached_property
    def bank(self) -> Bank:
        """All features, those of the untrained dictionary, then the random directions, as the panel sees them."""
        other = [] if self.untrained is None else [self.untrained.W_dec]
        return Bank.of(self.panel, np.concatenate([self.coded.W_dec, *other, self.directions]))

    def activation(self, feature: int) -> np.ndarray:
        """(n,) of a feature of the SAE or of the untrained dictionary."""
        d_sae = len(self.coded.W_dec)
        if self.untrained is None or feature < d_sae:
            return self.coded.codes[:, feature]
        return self.untrained.codes[:, feature - d_sae]

    @property
    def of_untrained(self) -> np.ndarray:
        """(d_sae + u,) bool, features of the untrained dictionary."""
        return np.arange(len(self.density)) >= len(self.coded.W_dec)

    @property
    def drawn(self) -> np.ndarray:
        """Places of the random directions in the bank."""
        return np.arange(len(self.density), len(self.density) + len(self.directions))

    def seen_by(self, wanted: np.ndarray) -> tuple[Panel, Bank]:
        """The judged rows for which ``wanted`` (n,) is true, and the bank for them."""
        keep = tuple(wanted[fold.rows] for fold in self.panel.folds)
        return self.panel.take(wanted), self.bank.part(np.arange(len(self.bank.square)), keep)

    def of_emotion(self, target: int) -> np.ndarray:
        """Numbers of the plain train + val rows of an emotion, which set doses."""
        rows = self.coded.rows
        dev = rows.labelled(*DEV)
        return dev[rows.label[dev] == target]

    def n_groups(self, rows: np.ndarray) -> int:
        """Independent groups among ``rows``."""
        return len(np.unique(self.means.group[rows]))


@dataclass(frozen=True)
class Beside:
    """How an effect stands among its controls; None where there are none."""

    control_mean: float | None = None
    control_edge: float | None = None
    """What all but ``1 - control_quantile`` of the matched controls stay within."""
    p: float | None = None


@dataclass(frozen=True)
class InterventionRow:
    """One row of interventions.parquet, but for q."""

    kind: str
    subject: str
    feature: int | None
    emotion: str
    target: str
    dose: float
    readout: str
    effect: tuple[float, float, float] | None
    """Mean change, and the two ends of its interval."""
    n_groups: int
    beside: Beside = Beside()

    def values(self) -> tuple[Any, ...]:
        """In the order of :data:`moodlens.study.records.causal.INTERVENTIONS`."""
        head = (self.kind, self.subject, self.feature, self.emotion, self.target, self.dose, self.readout)
        beside = (self.beside.control_mean, self.beside.control_edge, self.beside.p, None)
        # An interval over one group is unknown, and a table says so by null.
        effect = [None if value is None or np.isnan(value) else value for value in self.effect or (None,) * 3]
        return (*head, *effect, *beside, self.n_groups)
