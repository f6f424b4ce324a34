"""Choosing what to call one feature, from train + val texts alone.

Every candidate is read as a rule ("a text that holds this word fires the feature"), and the name is the
short list of rules that together find most firings with least noise: greedy ascent of the F-measure.
Groups keep it honest. A word earns nothing in the group it was learnt from: in the rows of a group it
counts only if the *other* groups show that it goes with firing. A feature that fires for a single word has
therefore no word that carries over; it is called by that word all the same, but not found interpretable.
"""

from dataclasses import dataclass

import numpy as np

from moodlens.features.settings import NameSettings


@dataclass(frozen=True)
class Candidates:
    """What one feature might be called; k candidates, n train + val rows."""

    matches: np.ndarray
    """(n, k) bool, the rows that each candidate predicts."""
    is_word: np.ndarray
    """(k,) bool; the others are classes."""
    firm: np.ndarray
    """(k,) bool; the others lack evidence to predict with, and may only fill up a name."""
    stems: tuple[frozenset[str], ...]
    """Stems of each word, to tell near-duplicates; empty for classes."""


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
    carries = _carries_over(candidates.matches, fires, weights, group, settings)[group]
    earned = candidates.matches & (carries | ~candidates.is_word) & candidates.firm
    covered = np.zeros(len(fires), dtype=bool)
    words = _ascend(
        candidates,
        earned,
        covered,
        candidates.is_word,
        settings.max_words,
        settings.word_recall_weight,
        fires,
        weights,
        settings,
    )
    classes = _ascend(
        candidates,
        earned,
        covered,
        ~candidates.is_word,
        settings.max_classes,
        settings.recall_weight,
        fires,
        weights,
        settings,
    )
    fill: list[int] = []
    free = candidates.is_word & (candidates.matches & fires[:, None]).any(axis=0)
    for pick in words:
        free &= ~_too_close(candidates, pick)
    # Rounded: the order of the rows must not decide between words that cover the same.
    hits, told = (weights * fires) @ candidates.matches, weights @ candidates.matches
    free &= _lifts(hits, told, fires, weights, settings)
    telling = 2 * hits / (told + float((weights * fires).sum()))
    for pick in np.argsort(-np.round(telling, 9), kind="stable").tolist():
        if len(words) + len(fill) >= settings.min_words:
            break
        if free[pick]:
            fill.append(pick)
            free &= ~_too_close(candidates, pick)
    return words + classes, fill


def _ascend(
    candidates: Candidates,
    earned: np.ndarray,
    covered: np.ndarray,
    allowed: np.ndarray,
    most: int,
    beta: float,
    fires: np.ndarray,
    weights: np.ndarray,
    settings: NameSettings,
) -> list[int]:
    """Add candidates as long as F_beta of all that is covered rises; ``covered`` (n,) is brought up to date."""
    wanted = beta**2 * float((weights * fires).sum())

    def f(found: np.ndarray, told: np.ndarray) -> np.ndarray:
        return (1 + beta**2) * found / (told + wanted)

    allowed = allowed & earned.any(axis=0)
    matrix = earned.astype(np.float32)
    chosen: list[int] = []
    while allowed.any() and len(chosen) < most:
        found, told = (weights * covered * fires).sum(), (weights * covered).sum()
        rest = (weights * ~covered).astype(np.float32)
        score = np.where(allowed, f(found + (rest * fires) @ matrix, told + rest @ matrix), -1)
        pick = int(score.argmax())
        if score[pick] < f(found, told) + settings.min_gain:
            break
        chosen.append(pick)
        covered |= earned[:, pick]
        allowed &= ~_too_close(candidates, pick)
    return chosen


def _carries_over(
    matches: np.ndarray, fires: np.ndarray, weights: np.ndarray, group: np.ndarray, settings: NameSettings
) -> np.ndarray:
    """(n_groups, k) bool: would the groups other than this one have taught the candidate?

    They would if, among their rows that match, the odds of firing are ``min_lift`` times those among all rows.
    """
    shape = (int(group.max()) + 1, matches.shape[1])
    row, column = np.nonzero(matches)
    cell = group[row] * shape[1] + column
    size = shape[0] * shape[1]
    matched = np.bincount(cell, weights[row], size).reshape(shape)
    hit = np.bincount(cell, weights[row] * fires[row], size).reshape(shape)
    others, hits = matched.sum(axis=0) - matched, hit.sum(axis=0) - hit
    return _lifts(hits, others, fires, weights, settings)


def _lifts(
    hits: np.ndarray, told: np.ndarray, fires: np.ndarray, weights: np.ndarray, settings: NameSettings
) -> np.ndarray:
    """Whether the odds of firing, ``hits`` of ``told``, are ``min_lift`` times those among all rows."""
    base = float((weights * fires).sum() / weights.sum())
    share = np.divide(hits, told, out=np.zeros(np.shape(hits)), where=told > 1e-9)
    return share * (1 - base) > settings.min_lift * base * (1 - share)


def _too_close(candidates: Candidates, pick: int) -> np.ndarray:
    """(k,) bool: the candidate itself, and words that share a stem with it."""
    mine = candidates.stems[pick]
    close = np.array([bool(mine & stems) for stems in candidates.stems])
    close[pick] = True
    return close
