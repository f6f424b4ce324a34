"""Making names: what to call each feature, from train + val texts alone.

Every candidate is read as a rule ("a text that holds this word fires the feature"), and the name is the
short list of rules that together find most firings with least noise: greedy ascent of the F-measure.
Groups keep it honest. A word earns nothing in the group it was learnt from: in the rows of a group it
counts only if the *other* groups show that it goes with firing. A feature that fires for a single word has
therefore no word that carries over; it is called by that word all the same, but not found interpretable.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from moodlens.core import BadInput, Progress, silent
from moodlens.features.names.words import (
    EMOTION,
    Kind,
    Name,
    Texts,
    Vocabulary,
    group_weights,
    kinds_of,
    log_odds_z,
    read_words,
)
from moodlens.settings.names import NameSettings
from moodlens.stats.units import dense_codes
from moodlens.study.records.names import Learned, LearnedTerm
from moodlens.study.rows import DEV, Rows

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Named:
    """The name of one feature and where it came from, on train + val."""

    feature: int
    name: Name
    learned: Learned


def make_names(
    table: "pl.DataFrame",
    codes: np.ndarray,
    rows: Rows,
    prompts: "pl.DataFrame | None",
    settings: NameSettings,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Named]:
    """Name the emotion features, and others to compare with, from train + val texts alone.

    Besides the emotion features, ``n_controls`` other features of each emotion are drawn by ``seed`` and named: their
    names are what an own name has to beat.

    Args:
        table: one row per feature with ``feature``, ``emotion`` and ``emotion_feature``.
        codes: ``(n, d_sae)`` activations of ``rows``.
        rows: of the study; plain and neutral ones take part.
        prompts: its prompt table, for the factors that a name may claim; None: emotions and words alone.
        settings: what names may be made of.
        seed: of the other features.

    Raises:
        BadInput: shapes disagree, or there are no texts to make names from.
    """
    progress = progress or silent
    check_shapes(table, codes, rows)
    texts, numbers = Texts.of(rows, prompts, DEV)
    fires = codes[numbers] > 0
    emotion_of = {f: e for f, e in table.select("feature", "emotion").iter_rows() if e is not None}
    features = _drawn(table, fires.sum(axis=0) >= settings.min_firings, settings.n_controls, seed)
    vocabulary, of_word = read_words(
        texts.rows.texts.tolist(), longest=settings.longest, min_texts=settings.min_texts
    )
    kinds = kinds_of(texts, min_texts=settings.min_texts)
    of_kind = np.array([texts.holds(kind) for kind in kinds]).T.reshape(len(texts.rows), len(kinds))
    terms = sparse.csc_array(sparse.hstack([of_word, sparse.csc_array(of_kind.astype(np.float64))]))
    group = dense_codes(texts.rows.group)[0]
    maker = _Maker(terms, vocabulary, kinds, group, group_weights(group), settings)
    z = log_odds_z(terms, fires[:, features], maker.weights, prior=settings.prior)
    named = []
    for place, feature in enumerate(features):
        named.append(maker.name(feature, emotion_of[feature], z[:, place], fires[:, feature]))
        progress("names", place + 1, len(features))
    return named


def check_shapes(table: "pl.DataFrame", codes: np.ndarray, rows: Rows) -> None:
    """Raise BadInput unless ``codes`` have a row for each text and a column for each feature."""
    if codes.ndim != 2 or codes.shape != (len(rows), len(table)):
        raise BadInput(
            f"names: codes of shape {codes.shape} do not fit {len(rows)} texts and {len(table)} features"
        )


def _drawn(table: "pl.DataFrame", active: np.ndarray, n_controls: int, seed: int) -> list[int]:
    """The emotion features that are ``active`` (d,) bool, and up to ``n_controls`` others that lean to each emotion."""
    rng = np.random.default_rng([seed, 0x4A3E])
    strong = table["emotion_feature"].to_numpy().astype(bool)
    emotion = table["emotion"].to_numpy().astype(object)
    kept = strong & active & np.array([name is not None for name in emotion], dtype=bool)
    for name in table["emotion"].drop_nulls().unique().sort():
        others = np.flatnonzero((emotion == name) & active & ~strong)
        kept[rng.permutation(others)[:n_controls]] = True
    return np.flatnonzero(kept).tolist()


@dataclass(frozen=True)
class _Maker:
    """What every name is made from: n train + val texts, t words and classes."""

    terms: sparse.csc_array
    """(n, t) 1 where a text holds a word, then where it belongs to a class."""
    vocabulary: Vocabulary
    kinds: list[Kind]
    group: np.ndarray
    """(n,) int"""
    weights: np.ndarray
    """(n,) evidence of each text."""
    settings: NameSettings

    def name(self, feature: int, emotion: str, z: np.ndarray, fires: np.ndarray) -> Named:
        """The name of one feature, from the z-scores ``(t,)`` of all terms and where it fires ``(n,)``."""
        settings, n_words = self.settings, len(self.vocabulary.terms)
        own_kinds = [
            i
            for i, kind in enumerate(self.kinds)
            if _speaks_of(kind, emotion)
            and z[n_words + i] >= (settings.min_z if kind.emotions else settings.min_factor_z)
        ]
        order = np.argsort(-np.round(z[:n_words], 9), kind="stable")[: settings.candidates]
        order = order[z[order] > 0]
        columns = np.r_[order, n_words + np.array(own_kinds, dtype=int)].astype(int)
        matches = self.terms[:, columns]
        candidates = Candidates(
            matches.indices,
            np.repeat(np.arange(len(columns)), np.diff(matches.indptr)),
            columns < n_words,
            (columns >= n_words) | (z[columns] >= settings.min_z),
            tuple(
                frozenset(self.vocabulary.terms[i].split()) if i < n_words else frozenset() for i in columns
            ),
        )
        chosen, fill = choose(candidates, fires, self.weights, self.group, settings)
        spoken = [self.vocabulary.wordings[columns[i]] for i in chosen + fill if columns[i] < n_words]
        classes = [self.kinds[columns[i] - n_words] for i in chosen if columns[i] >= n_words]

        def learned(i: int) -> LearnedTerm:
            texts = candidates.rows_of(i)
            firing, column = texts[fires[texts]], int(columns[i])
            word = column < n_words
            return LearnedTerm(
                term=self.vocabulary.wordings[column] if word else str(self.kinds[column - n_words]),
                kind="word" if word else "class",
                z=round(float(z[column]), 2),
                texts=len(texts),
                firing=len(firing),
                groups=len(np.unique(self.group[firing])),
                carries_over=i in chosen,
            )

        strongest = [i for i in range(min(len(order), 8)) if i not in chosen and i not in fill]
        evidence = Learned(
            n_firing=int(fires.sum()),
            n_groups=len(np.unique(self.group[fires])),
            terms=tuple(learned(i) for i in chosen + fill),
            other_terms=tuple(learned(i) for i in strongest),
        )
        return Named(feature, Name(tuple(spoken), tuple(classes)), evidence)


def _speaks_of(kind: Kind, emotion: str) -> bool:
    """Whether a class holds no emotion but the feature's own."""
    return all(value == emotion for column, value in kind.conditions if column == EMOTION)


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
    hits, predicted = candidates.sums(firing), candidates.sums(weights)
    free &= _lifts(hits, predicted, firing, weights, settings)
    telling = 2 * hits / (predicted + float(firing.sum()))
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

    def f(hits: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        return (1 + beta**2) * hits / (predicted + wanted)

    allowed = allowed & (np.bincount(earned.column, minlength=len(allowed)) > 0)
    chosen: list[int] = []
    while allowed.any() and len(chosen) < most:
        hits, predicted = (firing * covered).sum(), (weights * covered).sum()
        more, further = earned.sums(firing * ~covered), earned.sums(weights * ~covered)
        # Rounded, so that the first of those that cover the same is taken, whatever the order of the rows.
        score = np.round(np.where(allowed, f(hits + more, predicted + further), -1), 9)
        pick = int(score.argmax())
        if score[pick] < f(hits, predicted) + settings.min_gain:
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
    hits: np.ndarray, predicted: np.ndarray, firing: np.ndarray, weights: np.ndarray, settings: NameSettings
) -> np.ndarray:
    """Whether the odds of firing, ``hits`` of ``predicted``, are ``min_lift`` times those among all rows."""
    base = float(firing.sum() / weights.sum())
    share = np.divide(hits, predicted, out=np.zeros(np.shape(hits)), where=predicted > 1e-9)
    return share * (1 - base) > settings.min_lift * base * (1 - share)


def _too_close(candidates: Candidates, pick: int) -> np.ndarray:
    """(k,) bool: the candidate itself, and words that share a stem with it."""
    close = np.array([bool(candidates.stems[pick] & stems) for stems in candidates.stems])
    close[pick] = True
    return close
