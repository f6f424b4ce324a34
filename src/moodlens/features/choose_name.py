"""Choosing what to call one feature, from train + val texts alone.

Every candidate is read as a rule ("a text that holds this word fires the feature"), and the name is the
short list of rules that together find most firings with least noise: greedy ascent of the F-measure.
Groups keep it honest. A word earns nothing in the group it was learnt from: in the rows of a group it
counts only if the *other* groups show that it goes with firing. A feature that fires for a single word has
therefore no word that carries over; it is called by that word all the same, but not found interpretable.
"""

from dataclasses import dataclass, replace

import numpy as np

from moodlens.settings.names import NameSettings


@dataclass(frozen=True)
class Candidates:
    """What one feature might be called; k candidates, n train + val rows. Few rows match, so they are listed."""

    row: np.ndarray
    """(e,) int, rows that a candidate predicts: those of the first, rising, then those of the second, and so on."""
    column: np.ndarray
    """(e,) int, the candidate of each, rising."""
    is_word: np.ndarray
    """(k,) bool; the others are classes."""
    firm: np.ndarray
    """(k,) bool; the others lack evidence to predict with, and may only fill up a name."""
    stems: tuple[frozenset[str], ...]
    """Stems of each word, to tell near-duplicates; empty for classes."""

    def rows_of(self, candidate: int) -> np.ndarray:
        """The rows that one candidate predicts, rising."""
        return self.row[slice(*np.searchsorted(self.column, [candidate, candidate + 1]))]

    def sums(self, weights: np.ndarray) -> np.ndarray:
        """(k,) sums of ``weights`` (n,) over the rows of each candidate."""
        return np.bincount(self.column, weights[self.row], len(self.is_word))

    def only(self, kept: np.ndarray) -> "Candidates":
        """The same with the entries ``kept`` (e,) bool alone."""
        return replace(self, row=self.row[kept], column=self.column[kept])


def choose(
    candidates: Candidates, fires: np.ndarray, weights: np.ndarray, group: np.ndarray, settings: NameSettings
) -> tuple[list[int], list[int]]:
    """Pick candidates that together say where the feature fires.

    Args:
        candidates: the more telling first.
        fires: (n,) bool.
        weights: (n,) evidence of each row.
        group: (n,) int in 0..n_groups-1.

    Returns:
        Those that carry over to other groups, best first; then words of single groups that fill the name up.
    """
    row, column = candidates.row, candidates.column
    firing = weights * fires
    carries = _carries_over(candidates, firing, weights, group, settings)
    earned = candidates.only(
        (carries[group[row], column] | ~candidates.is_word[column]) & candidates.firm[column]
    )
    covered = np.zeros(len(fires), dtype=bool)
    shared = (covered, firing, weights, settings)
    words = _ascend(earned, candidates.is_word, settings.max_words, settings.word_recall_weight, *shared)
    classes = _ascend(earned, ~candidates.is_word, settings.max_classes, settings.recall_weight, *shared)
    fill: list[int] = []
    free = candidates.is_word & (candidates.sums(fires.astype(np.float64)) > 0)
    for pick in words:
        free &= ~_too_close(candidates, pick)
    # Rounded: the order of the rows must not decide between words that cover the same.
    hits, told = candidates.sums(firing), candidates.sums(weights)
    free &= _lifts(hits, told, firing, weights, settings)
    telling = 2 * hits / (told + float(firing.sum()))
    for pick in np.argsort(-np.round(telling, 9), kind="stable").tolist():
        if len(words) + len(fill) >= settings.min_words:
            break
        if free[pick]:
            fill.append(pick)
            free &= ~_too_close(candidates, pick)
    return words + classes, fill


def _ascend(
    earned: Candidates,
    allowed: np.ndarray,
    most: int,
    beta: float,
    covered: np.ndarray,
    firing: np.ndarray,
    weights: np.ndarray,
    settings: NameSettings,
) -> list[int]:
    """Add candidates as long as F_beta of all that is covered rises; ``covered`` (n,) is brought up to date."""
    wanted = beta**2 * float(firing.sum())

    def f(found: np.ndarray, told: np.ndarray) -> np.ndarray:
        return (1 + beta**2) * found / (told + wanted)

    allowed = allowed & (np.bincount(earned.column, minlength=len(allowed)) > 0)
    chosen: list[int] = []
    while allowed.any() and len(chosen) < most:
        found, told = (firing * covered).sum(), (weights * covered).sum()
        more, further = earned.sums(firing * ~covered), earned.sums(weights * ~covered)
        # Rounded, so that the first of those that cover the same is taken, whatever the order of the rows.
        score = np.round(np.where(allowed, f(found + more, told + further), -1), 9)
        pick = int(score.argmax())
        if score[pick] < f(found, told) + settings.min_gain:
            break
        chosen.append(pick)
        covered[earned.rows_of(pick)] = True
        allowed &= ~_too_close(earned, pick)
    return chosen


def _carries_over(
    candidates: Candidates,
    firing: np.ndarray,
    weights: np.ndarray,
    group: np.ndarray,
    settings: NameSettings,
) -> np.ndarray:
    """(n_groups, k) bool: would the groups other than this one have taught the candidate?

    They would if, among their rows that match, the odds of firing are ``min_lift`` times those among all rows.
    """
    row, k = candidates.row, len(candidates.is_word)
    shape = (int(group.max()) + 1, k)
    cell = group[row] * k + candidates.column
    size = shape[0] * shape[1]
    matched = np.bincount(cell, weights[row], size).reshape(shape)
    hit = np.bincount(cell, firing[row], size).reshape(shape)
    others, hits = matched.sum(axis=0) - matched, hit.sum(axis=0) - hit
    return _lifts(hits, others, firing, weights, settings)


def _lifts(
    hits: np.ndarray, told: np.ndarray, firing: np.ndarray, weights: np.ndarray, settings: NameSettings
) -> np.ndarray:
    """Whether the odds of firing, ``hits`` of ``told``, are ``min_lift`` times those among all rows."""
    base = float(firing.sum() / weights.sum())
    share = np.divide(hits, told, out=np.zeros(np.shape(hits)), where=told > 1e-9)
    return share * (1 - base) > settings.min_lift * base * (1 - share)


def _too_close(candidates: Candidates, pick: int) -> np.ndarray:
    """(k,) bool: the candidate itself, and words that share a stem with it."""
    mine = candidates.stems[pick]
    close = np.array([bool(mine & stems) for stems in candidates.stems])
    close[pick] = True
    return close
