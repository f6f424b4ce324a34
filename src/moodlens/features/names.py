"""Names without a language model: contrastive words and classes of a feature's texts, tested by detection.

A name is made on train + val and judged on test, whose groups (emotion words, scenes) are others.
Every feature that leans to an emotion is named, so that there are many names to compare with; the emotion
features among them are judged.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from moodlens.core import BadInput, Progress, silent
from moodlens.features.choose_name import Candidates, choose
from moodlens.features.contrast import group_weights, log_odds_z
from moodlens.features.naming_evidence import evidence, names_table, summarise
from moodlens.features.ngrams import StemIndex, Vocabulary, read_words
from moodlens.features.phrases import EMOTION, Kind, Name, holds, kinds_of, predictions
from moodlens.settings.names import NameSettings

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Names:
    """Names of features and what became of them on texts they had not seen."""

    table: "pl.DataFrame"
    """One row per feature of the SAE: feature, name, name_score, name_precision, name_recall, name_control, name_q,
    interpretable, monosemanticity, monosemanticity_control, name_evidence; null where there is no name or no test."""
    summary: dict[str, Any]
    """Counts beside their controls; written as names.json."""


@dataclass(frozen=True)
class Made:
    """The name of one feature and where it came from, on train + val."""

    feature: int
    name: Name
    learned: dict[str, Any]


def name_features(
    table: "pl.DataFrame",
    codes: np.ndarray,
    prompts: "pl.DataFrame",
    emotions: tuple[str, ...],
    settings: NameSettings,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Names:
    """Name the emotion features, and others to compare with, and judge the names of the emotion features.

    Args:
        table: one row per feature with ``feature``, ``emotion`` and ``emotion_feature``.
        codes: (n, d_sae) activations of the rows of ``prompts``.
        prompts: the study's texts; negations and mixtures take no part.
        emotions: names of the emotions.
        seed: of the other features that are named, and of the shuffled names.

    Raises:
        BadInput: shapes disagree, or there are no texts to make names from or to test them on.
    """
    made = make_names(table, codes, prompts, emotions, settings, seed=seed, progress=progress)
    return judge_names(made, table, codes, prompts, emotions, settings, seed=seed)


def make_names(
    table: "pl.DataFrame",
    codes: np.ndarray,
    prompts: "pl.DataFrame",
    emotions: tuple[str, ...],
    settings: NameSettings,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Made]:
    """The first half of :func:`name_features`: names from train + val texts alone.

    Besides the emotion features, ``n_controls`` other features of each emotion are drawn by ``seed`` and named: their
    names are what an own name has to beat.
    """
    progress = progress or silent
    _check(table, codes, prompts)
    rows = plain_rows(prompts, ("train", "val"))
    mine = prompts[rows]
    fires = codes[rows] > 0
    texts = mine["text"].to_list()
    lean = {f: e for f, e in table.select("feature", "emotion").iter_rows() if e is not None}
    features = _drawn(table, fires.sum(axis=0) >= settings.min_firings, settings.n_controls, seed)

    words, of_word = read_words(texts, longest=settings.longest, min_texts=settings.min_texts)
    kinds = kinds_of(mine, emotions, min_texts=settings.min_texts)
    of_kind = np.array([holds(kind, mine) for kind in kinds]).T.reshape(len(mine), len(kinds))
    terms = sparse.csc_array(sparse.hstack([of_word, sparse.csc_array(of_kind.astype(np.float64))]))
    group = group_codes(mine)
    weights = group_weights(group)
    z = log_odds_z(terms, fires[:, features], weights, prior=settings.prior)
    out = []
    for place, feature in enumerate(features):
        out.append(
            _make(
                feature,
                lean[feature],
                z[:, place],
                fires[:, feature],
                terms,
                words,
                kinds,
                group,
                weights,
                settings,
            )
        )
        progress("names", place + 1, len(features))
    return out


def judge_names(
    made: list[Made],
    table: "pl.DataFrame",
    codes: np.ndarray,
    prompts: "pl.DataFrame",
    emotions: tuple[str, ...],
    settings: NameSettings,
    *,
    seed: int,
) -> Names:
    """The second half of :func:`name_features`: detection on texts that made no name, beside shuffled names.

    The names may come from anywhere: :func:`make_names`, a language model, people.
    """
    from moodlens.features.detection import detect, score_all

    _check(table, codes, prompts)
    rows = plain_rows(prompts, settings.splits)
    mine = prompts[rows]
    names = [m.name for m in made]
    features = np.array([m.feature for m in made], dtype=int)
    lean = dict(table.select("feature", "emotion").iter_rows())
    emotion = np.array([emotions.index(lean[f]) for f in features], dtype=int)
    strong = set(table.filter(table["emotion_feature"])["feature"].to_list())
    active = codes[rows][:, features]
    index = StemIndex(mine["text"].to_list())
    predicted = predictions(names, mine, index)
    scores = score_all(predicted, active > 0)
    inner = predictions([name.without_emotion() for name in names], mine, index)
    within = np.full(scores.balanced.shape, np.nan)
    for c, name in enumerate(emotions):
        own, texts = emotion == c, mine["emotion"].eq_missing(name).to_numpy()
        within[:, own] = score_all(inner[:, texts], active[texts][:, own] > 0).balanced
    judged = np.array([f in strong for f in features], dtype=bool) & ~np.isnan(np.diagonal(scores.balanced))
    found = detect(
        scores.balanced,
        within,
        emotion,
        np.array([bool(name.emotions) for name in names], dtype=bool),
        judged,
        q=settings.q,
        n_shuffles=settings.n_shuffles,
        specific_only=settings.specific_only,
        rng=np.random.default_rng(seed),
    )
    bare = predictions([Name(kinds=(Kind(((EMOTION, e),)),)) for e in emotions], mine, index)
    alone = score_all(bare, active > 0).balanced[emotion, np.arange(len(features))]
    notes = evidence(
        made, group_codes(mine), predicted, active, scores, found, np.diagonal(within), emotion, alone
    )
    return Names(
        names_table(len(table), made, scores, found, judged, notes),
        summarise(
            made, scores, found, judged, np.diagonal(within), emotion, emotions, alone, notes, settings, mine
        ),
    )


def group_codes(prompts: "pl.DataFrame") -> np.ndarray:
    """(n,) int, 0 to the number of groups - 1; a row without a group is one of its own."""
    names = prompts["group"].to_list()
    keys = [f"group {name}" if name is not None else f"row {i}" for i, name in enumerate(names)]
    return np.unique(np.array(keys, dtype=str), return_inverse=True)[1]


def plain_rows(prompts: "pl.DataFrame", splits: tuple[str, ...]) -> np.ndarray:
    """Indices of the prompts of some splits, negations and mixtures left out.

    Raises:
        BadInput: there are none.
    """
    wanted = prompts["split"].is_in(splits)
    if "kind" in prompts.columns:
        wanted &= ~prompts["kind"].fill_null("plain").is_in(["negation", "mixed"])
    rows = np.flatnonzero(wanted.fill_null(False).to_numpy())
    if not len(rows):
        raise BadInput(f"names: no prompts in split {' or '.join(splits)}; add prompts or change the split")
    return rows


def _check(table: "pl.DataFrame", codes: np.ndarray, prompts: "pl.DataFrame") -> None:
    if codes.ndim != 2 or len(codes) != len(prompts) or codes.shape[1] != len(table):
        raise BadInput(
            f"names: codes of shape {codes.shape} do not fit {len(prompts)} prompts and {len(table)} features"
        )


def _drawn(table: "pl.DataFrame", active: np.ndarray, n_controls: int, seed: int) -> list[int]:
    """The emotion features that are ``active`` (d,) bool, and up to ``n_controls`` others that lean to each emotion."""
    rng = np.random.default_rng([seed, 0x4A3E])
    found = table["emotion_feature"].to_numpy().astype(bool)
    emotion = np.array([e or "" for e in table["emotion"]])
    kept = found & active & (emotion != "")
    for name in sorted(set(emotion) - {""}):
        others = np.flatnonzero((emotion == name) & active & ~found)
        kept[rng.permutation(others)[:n_controls]] = True
    return np.flatnonzero(kept).tolist()


def _make(
    feature: int,
    emotion: str,
    z: np.ndarray,
    fires: np.ndarray,
    terms: sparse.csc_array,
    words: Vocabulary,
    kinds: list[Kind],
    group: np.ndarray,
    weights: np.ndarray,
    settings: NameSettings,
) -> Made:
    n_words = len(words.terms)
    own_kinds = [
        i
        for i, kind in enumerate(kinds)
        if _speaks_of(kind, emotion)
        and z[n_words + i] >= (settings.min_z if kind.emotions else settings.min_factor_z)
    ]
    order = np.argsort(-np.round(z[:n_words], 9), kind="stable")[: settings.candidates]
    order = order[z[order] > 0]
    columns = np.r_[order, n_words + np.array(own_kinds, dtype=int)].astype(int)
    matches = terms[:, columns]
    candidates = Candidates(
        matches.indices,
        np.repeat(np.arange(len(columns)), np.diff(matches.indptr)),
        columns < n_words,
        (columns >= n_words) | (z[columns] >= settings.min_z),
        tuple(frozenset(words.terms[i].split()) if i < n_words else frozenset() for i in columns),
    )
    chosen, fill = choose(candidates, fires, weights, group, settings)
    said = [words.said[columns[i]] for i in chosen + fill if columns[i] < n_words]
    classes = [kinds[columns[i] - n_words] for i in chosen if columns[i] >= n_words]

    def learned(i: int) -> dict[str, Any]:
        rows = candidates.rows_of(i)
        hit = rows[fires[rows]]
        column = columns[i]
        return {
            "term": words.said[column] if column < n_words else str(kinds[column - n_words]),
            "kind": "word" if column < n_words else "class",
            "z": round(float(z[column]), 2),
            "texts": len(rows),
            "firing": len(hit),
            "groups": len(np.unique(group[hit])),
            "carries_over": i in chosen,
        }

    strongest = [i for i in range(min(len(order), 8)) if i not in chosen and i not in fill]
    return Made(
        feature,
        Name(tuple(said), tuple(classes)),
        {
            "n_firing": int(fires.sum()),
            "n_groups": len(np.unique(group[fires])),
            "terms": [learned(i) for i in chosen + fill],
            "other_terms": [learned(i) for i in strongest],
        },
    )


def _speaks_of(kind: Kind, emotion: str) -> bool:
    """Whether a class holds no emotion but the feature's own."""
    return all(value == emotion for column, value in kind.conditions if column == EMOTION)
