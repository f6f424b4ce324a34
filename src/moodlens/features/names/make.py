"""Making names: what to call each feature, from train + val texts alone.

A name is made of words that the feature fires for, each chosen by three things, multiplied:

- *coverage*: the F-measure of "texts with this word fire", over the firings that no earlier word explains;
- *share*: how much of the activation the word itself carries in texts with it, by exact attribution of the pooled score
  to tokens (:mod:`moodlens.features.names.attribute`); 1 where the study has no encoder;
- *carry*: how well what the word's texts look like tells where else the feature fires, among texts of its emotion
  without the word. A word of a scene that happens to fire it carries nothing over to other scenes.

Words that other texts hold as well (instruments, genres, templates, function words) say nothing of an emotion and are no
candidates, by :func:`moodlens.features.names.words.lift`. The concept that heads a name is the one whose texts fire the
feature most, among texts of its emotion.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from moodlens.core import BadInput, Progress, silent
from moodlens.core.maps import spans
from moodlens.features.names.attribute import Attribution, word_shares
from moodlens.features.names.reading import NameReader, concept_members
from moodlens.features.names.words import Name, Texts, Vocabulary, lift, log_odds_z, read_words
from moodlens.settings.names import NameSettings
from moodlens.stats.moments import products
from moodlens.stats.ranks import firing, firings
from moodlens.study.coded import Coded
from moodlens.study.records.names import Learned, LearnedTerm
from moodlens.study.rows import DEV

if TYPE_CHECKING:
    import polars as pl

_LEAST = 1e-3
"""Of share and carry: a feature of one word alone is called by it all the same."""
_ALIKE = 4
"""Letters that two words of one name may not begin with both."""


@dataclass(frozen=True)
class Named:
    """The name of one feature and where it came from, on train + val."""

    feature: int
    emotion: int
    name: Name
    learned: Learned


@dataclass(frozen=True)
class Material:
    """What names are made from: n train + val texts, t words."""

    texts: Texts
    numbers: np.ndarray
    """(n,) rows of the study."""
    x: np.ndarray
    """(n_rows, d_in) embeddings of the study."""
    weights: np.ndarray
    """(n,) evidence of each text."""
    vocabulary: Vocabulary
    held: sparse.csc_array
    """(n, t) 1 where a text holds a word."""
    reader: NameReader

    @classmethod
    def of(cls, coded: Coded, prompts: "pl.DataFrame | None", settings: NameSettings) -> "Material":
        """Read the train + val texts.

        Args:
            coded: the study's rows with embeddings; plain and neutral ones take part.
            prompts: its prompt table, for factors; None: none is known.
            settings: ``min_texts``.

        Raises:
            BadInput: there are no such texts.
        """
        texts, numbers = Texts.of(coded.rows, prompts, DEV)
        weights = texts.weights
        vocabulary, held = read_words(texts.rows.texts.tolist(), min_texts=settings.min_texts)
        reader = NameReader.fit(vocabulary, held, texts, coded.x, numbers, weights)
        return cls(texts, numbers, coded.x, weights, vocabulary, held, reader)

    def lifted(self, least: float) -> np.ndarray:
        """(t, C) bool: words that texts of an emotion hold at least so many times as often as others."""
        return lift(self.held, self.texts, self.weights) >= least

    def silent(self, least: float) -> frozenset[str]:
        """Stems of the words that say nothing of any emotion: such words of templates, and those of factors."""
        silent = np.flatnonzero(~self.lifted(least).any(axis=1)).tolist()
        return self.texts.factors.union(self.vocabulary.terms[i] for i in silent)


def make_names(
    table: "pl.DataFrame",
    codes: np.ndarray,
    material: Material,
    settings: NameSettings,
    *,
    seed: int = 0,
    attribution: Attribution | None = None,
    progress: Progress | None = None,
) -> list[Named]:
    """Name the emotion features, and others to compare with, from train + val texts alone.

    Besides the emotion features, ``n_controls`` other features of each emotion are drawn by ``seed`` and named: their
    names are what an own name has to beat.

    Args:
        table: one row per feature with ``feature``, ``emotion`` and ``emotion_feature``.
        codes: ``(n, d_sae)`` activations of the study's rows.
        material: of the study.
        settings: what names may be made of.
        seed: of the other features.
        attribution: of scores to words; None: the study has no encoder.
    """
    progress = progress or silent
    emotions = material.texts.rows.emotions
    active = firings(codes, material.numbers) >= settings.min_firings
    features = np.array(_drawn(table, active, settings.n_controls, seed), dtype=int)
    emotion_of = dict(table.select("feature", "emotion").iter_rows())
    lifted = material.lifted(settings.min_lift)
    free = np.array([term not in material.texts.factors for term in material.vocabulary.terms], dtype=bool)
    named: list[Named] = []
    for c in range(len(emotions)):
        own = features[[emotion_of[f] == emotions[c] for f in features.tolist()]]
        words = np.flatnonzero(lifted[:, c] & free)
        if len(own):
            fires = firing(codes, material.numbers, own)
            maker = _Maker.of(material, c, words, own, fires, settings, attribution)
            named += [maker.name(place) for place in range(len(own))]
        progress("names", len(named), len(features))
    return sorted(named, key=lambda item: item.feature)


def check_shapes(table: "pl.DataFrame", coded: Coded) -> None:
    """Raise BadInput unless there is a column of codes for each feature."""
    if coded.codes.shape[1] != len(table):
        raise BadInput(f"names: codes of shape {coded.codes.shape} do not fit {len(table)} features")


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
    """What the names of the f features of one emotion are made from; w words may be used."""

    material: Material
    emotion: int
    settings: NameSettings
    features: np.ndarray
    """(f,) int"""
    fires: np.ndarray
    """(n, f) bool"""
    words: np.ndarray
    """(w,) numbers of the words."""
    matches: sparse.csc_array
    """(n, w) 1 where a text holds a word."""
    worth: np.ndarray
    """(w, f) share times carry."""
    coverage: np.ndarray
    """(w, f) F-measure of each word alone."""
    concepts: list[str]
    """Of the emotion."""
    z: np.ndarray
    """(n_concepts, f) log-odds z-score of each."""

    @classmethod
    def of(
        cls,
        material: Material,
        emotion: int,
        words: np.ndarray,
        features: np.ndarray,
        fires: np.ndarray,
        settings: NameSettings,
        attribution: Attribution | None,
    ) -> "_Maker":
        held, weights = material.held[:, words], material.weights
        worth = np.maximum(_carry(material, emotion, words, fires), _LEAST)
        if attribution is not None:
            share = word_shares(
                attribution, material.vocabulary, material.numbers, held, words, features, fires
            )
            worth = worth * np.maximum(share, _LEAST)
        predicted, coverage = np.asarray(held.T @ weights)[:, None], np.empty((len(words), len(features)))
        for part in spans(len(fires), len(features)):
            weighted = fires[:, part] * weights[:, None]
            hits = np.asarray(held.T @ weighted)
            coverage[:, part] = 2 * hits / np.maximum(predicted + weighted.sum(axis=0), 1e-12)
        own = np.flatnonzero(material.texts.rows.label == emotion)
        known = [pair for pair in material.reader.concepts if pair[0] == emotion]
        members, z = concept_members(known, material.texts)[own], np.empty((len(known), len(features)))
        for part in spans(len(own), len(features)):
            z[:, part] = log_odds_z(members, fires[own, part], weights[own], prior=settings.prior)
        return cls(
            material,
            emotion,
            settings,
            features,
            fires,
            words,
            held,
            worth,
            coverage,
            [c for _, c in known],
            z,
        )

    def name(self, place: int) -> Named:
        """The name of one feature."""
        fires = self.fires[:, place]
        concept, z = "", self.z[:, place]
        if len(z) and z.max() >= self.settings.min_concept_z:
            concept = self.concepts[int(z.argmax())]
        chosen = self._choose(place)
        telling = np.argsort(-np.round(self.coverage[:, place] * self.worth[:, place], 9), kind="stable")
        others = [i for i in telling[:8].tolist() if i not in chosen and self.coverage[i, place] > 0]
        spoken = tuple(self.material.vocabulary.wordings[self.words[i]] for i in chosen)
        learned = Learned(
            n_firing=int(fires.sum()),
            n_groups=len(np.unique(self.material.texts.rows.group[fires])),
            concept_z=round(float(z.max()), 2) if len(z) else None,
            terms=tuple(self._learned(i, place) for i in chosen),
            other_terms=tuple(self._learned(i, place) for i in others),
        )
        return Named(int(self.features[place]), self.emotion, Name(spoken, concept), learned)

    def _learned(self, i: int, place: int) -> LearnedTerm:
        held = self.material.held
        word = int(self.words[i])
        texts = held.indices[held.indptr[word] : held.indptr[word + 1]]
        firing = texts[self.fires[texts, place]]
        return LearnedTerm(
            term=self.material.vocabulary.wordings[word],
            texts=len(texts),
            firing=len(firing),
            groups=len(np.unique(self.material.texts.rows.group[firing])),
        )

    def _choose(self, place: int) -> list[int]:
        """Words in the order in which they say most of what is not said yet."""
        # Beyond these no word can be the best: each is worth less, and covers less, than any of the few that are taken.
        value = self.coverage[:, place] * self.worth[:, place]
        order = np.argsort(-np.round(value, 9), kind="stable")[: 20 * self.settings.max_words]
        order = order[self.coverage[order, place] > 0]
        weights, fires = self.material.weights, self.fires[:, place]
        firing = weights * fires
        matches = self.matches[:, order]
        by_word = matches.T
        open_rows, free, total = (
            np.ones(len(fires), dtype=bool),
            np.ones(len(order), dtype=bool),
            firing.sum(),
        )
        starts = np.array(
            [self.material.vocabulary.wordings[self.words[i]][:_ALIKE] for i in order], dtype=object
        )
        chosen: list[int] = []
        while free.any() and len(chosen) < self.settings.max_words:
            gained, further = by_word @ (firing * open_rows), by_word @ (weights * open_rows)
            score = self.worth[order, place] * 2 * gained / np.maximum(further + total, 1e-12)
            # Rounded, so that the first of those that cover the same is taken, whatever the order of the rows.
            score = np.round(np.where(free, score, -1), 9)
            pick = int(score.argmax())
            if score[pick] <= 0:
                break
            chosen.append(int(order[pick]))
            open_rows[matches.indices[matches.indptr[pick] : matches.indptr[pick + 1]]] = False
            free &= starts != starts[pick]
        return chosen


def _carry(material: Material, emotion: int, words: np.ndarray, fires: np.ndarray) -> np.ndarray:
    """(w, f): correlation of "reads like the word" with "fires" among texts of the emotion that do not hold the word."""
    own = np.flatnonzero(material.texts.rows.label == emotion)
    held, fired = material.held[:, words][own], fires[own].astype(np.float32)
    out = np.zeros((len(words), fires.shape[1]), dtype=np.float32)
    for part in spans(len(own), len(words)):
        reads = material.reader.directions[words[part]]
        score = products(material.x, reads, material.reader.mean, material.numbers[own]).astype(np.float32)
        absent = (material.weights[own][:, None] * (held[:, part].toarray() == 0)).astype(np.float32)
        n = np.maximum(absent.sum(axis=0), 1e-12)[:, None]
        mean, rate = (absent * score).sum(axis=0)[:, None] / n, absent.T @ fired / n
        covariance = (absent * score).T @ fired / n - mean * rate
        variance = (absent * score**2).sum(axis=0)[:, None] / n - mean**2
        scale = np.sqrt(np.maximum(variance, 0) * np.maximum(rate * (1 - rate), 0))
        np.divide(covariance, scale, out=out[part], where=scale > 1e-6)
    return out
