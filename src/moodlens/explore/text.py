"""A text under a study's features: which fire, word by word, and which emotion and concept they speak for.

Scores of families, their words and activations are those of `moodlens score`: the same code reads the text.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput
from moodlens.embed.segments import segments
from moodlens.explore.answers import (
    ActiveCount,
    ActiveFeature,
    Member,
    SentencePart,
    TextReading,
    WhyConcept,
    WhyEmotion,
    WordPlace,
)
from moodlens.explore.explored import Explored, short, shorts
from moodlens.explore.spans import SpokenText, spoken, utf16
from moodlens.pipeline.score import study_methods
from moodlens.pipeline.texts import ReadTexts, read_texts

if TYPE_CHECKING:
    from moodlens.validate.methods import Method

SHOWN = 60
"""Active features that are told."""
SENTENCES = 200


def _methods(explored: Explored) -> "dict[str, Method]":
    def make() -> "dict[str, Method]":
        methods = study_methods(explored.study, explored.study.settings.validation.transfer.reading)
        return {"family": methods["family"]}

    return explored.once("methods", make)


def warm_text(explored: Explored) -> None:
    """Make what every answer needs, the encoder first of all."""
    read_text(explored, "a song")


def read_text(explored: Explored, text: str, feature: int | None = None) -> TextReading:
    """Which features fire in a text, what of it each stands on, and what that says of emotions and concepts.

    Args:
        explored: the study.
        text: any length; read sentence by sentence, and the largest activation counts.
        feature: is told in any case, silent ones too.

    Raises:
        BadInput: it is blank or has too many sentences, or the study's encoder cannot be had.
    """
    began = time.perf_counter()
    if not explored.has("encoder"):
        raise BadInput(explored.missing["encoder"])
    parts = segments(text)
    if not parts:
        raise BadInput("a blank text says nothing")
    if len(parts) > SENTENCES:
        raise BadInput(f"{len(parts)} sentences are more than {SENTENCES}; send a part of the text")
    study = explored.study
    every = np.arange(explored.table.height)
    asked = [text] if len(parts) == 1 else [text, *parts]
    with explored.reading:
        read = read_texts(explored.encoder, asked, _methods(explored), study.sae(), every)
    own = read.activations if len(parts) == 1 else read.activations[1:]
    places, offset = _characters(text, parts), utf16(text)
    told = spoken(explored, parts)
    return TextReading(
        text=text,
        sentences=tuple(
            SentencePart(
                begin=int(offset[places[i][0]]),
                end=int(offset[places[i][-1] + 1]),
                families=_families(read, 0 if len(parts) == 1 else i + 1, study.emotions),
            )
            for i in range(len(parts))
        ),
        families=_families(read, 0, study.emotions),
        family_words=_family_words(read, study.emotions),
        words=_word_places(told, places, offset),
        active=_told(explored, _strongest(explored, read.activations[0]), read.activations[0], own, told),
        asked=None
        if feature is None
        else _told(explored, np.array([feature]), read.activations[0], own, told)[0],
        n_active=_counts(explored, read.activations[0]),
        emotions=tuple(_why(explored, c, read) for c in range(len(study.emotions))),
        concepts=_concepts(explored, read.activations[0]),
        seconds=round(time.perf_counter() - began, 4),
    )


def _families(read: ReadTexts, row: int, emotions: tuple[str, ...]) -> dict[str, float | None]:
    score = read.scores["family"][row]
    return {emotion: short(float(score[c]), 6) for c, emotion in enumerate(emotions)}


def _family_words(read: ReadTexts, emotions: tuple[str, ...]) -> dict[str, list[tuple[str, float]]]:
    words = read.words[0]
    if not words:
        return {}
    return {
        emotion: [(word, short(share) or 0.0) for word, share in words[c]]
        for c, emotion in enumerate(emotions)
    }


def _characters(text: str, parts: list[str]) -> list[list[int]]:
    """For each sentence the places in ``text`` of its characters; of a blank, that of the character before it.

    Sentences are the text but for white space.
    """
    solid = [i for i, sign in enumerate(text) if not sign.isspace()]
    out, at = [], 0
    for part in parts:
        places = []
        for sign in part:
            if sign.isspace():
                places.append(places[-1])
            else:
                places.append(solid[at])
                at += 1
        out.append(places)
    return out


def _word_places(
    told: list[SpokenText], places: list[list[int]], offset: np.ndarray
) -> tuple[WordPlace, ...]:
    return tuple(
        WordPlace(begin=int(offset[places[i][begin]]), end=int(offset[places[i][end - 1] + 1]), sentence=i)
        for i, sentence in enumerate(told)
        for begin, end in sentence.places
    )


@dataclass(frozen=True)
class _Facts:
    """Columns of the table that a reading tells."""

    emotion: list[str | None]
    concept: list[str | None]
    name: list[str | None]
    claimed: np.ndarray
    core: np.ndarray
    usual: np.ndarray
    """mean activation where it fires."""
    concept_feature: np.ndarray


def _facts(explored: Explored) -> _Facts:
    def make() -> _Facts:
        usual = np.array([value or np.nan for value in explored.column("mean_activation")], dtype=float)
        return _Facts(
            explored.column("emotion"),
            explored.column("concept"),
            explored.column("name"),
            explored.table["emotion_feature"].to_numpy().astype(bool),
            explored.table["core"].to_numpy().astype(bool),
            usual,
            np.array([bool(value) for value in explored.column("concept_feature")]),
        )

    return explored.once("facts", make)


def _typical(facts: _Facts, activation: np.ndarray) -> np.ndarray:
    """(n,) activations over their mean where the feature fires."""
    return np.divide(activation, facts.usual, out=np.zeros(len(activation)), where=facts.usual > 0)


def _strongest(explored: Explored, activation: np.ndarray) -> np.ndarray:
    """Features that fire: claimed ones first, then those of the core, by how strongly for themselves."""
    facts = _facts(explored)
    order = np.lexsort((-_typical(facts, activation), ~facts.core, ~facts.claimed))
    return order[activation[order] > 0][:SHOWN]


def _told(
    explored: Explored,
    chosen: np.ndarray,
    activation: np.ndarray,
    sentences: np.ndarray,
    told: list[SpokenText],
) -> tuple[ActiveFeature, ...]:
    """What each of the chosen features does, by the sentence that activates it most."""
    facts = _facts(explored)
    typical = _typical(facts, activation)
    columns = explored.study.W_enc()[:, chosen]
    added = [sentence.vectors @ columns for sentence in told]
    rises = [sentence.whole @ columns for sentence in told]
    out = []
    for place, feature in enumerate(chosen.tolist()):
        fires = sentences[:, feature].max() > 0
        # A silent feature is nearest to firing where its pre-activation is largest.
        sentence = int(
            sentences[:, feature].argmax() if fires else np.argmax([rise[place] for rise in rises])
        )
        words = added[sentence][:, place]
        rise = float(rises[sentence][place])
        out.append(
            ActiveFeature(
                feature=feature,
                activation=short(float(activation[feature]), 6) or 0.0,
                typical=short(float(typical[feature])) or 0.0,
                emotion=facts.emotion[feature],
                concept=facts.concept[feature],
                claimed=bool(facts.claimed[feature]),
                name=facts.name[feature],
                sentence=sentence,
                rise=short(rise, 6) or 0.0,
                added=shorts(words),
                rest=short(rise - float(words.sum())) or 0.0,
            )
        )
    return tuple(out)


def _counts(explored: Explored, activation: np.ndarray) -> ActiveCount:
    facts, fires = _facts(explored), activation > 0
    return ActiveCount(
        claimed=int((fires & facts.claimed).sum()),
        core=int((fires & facts.core).sum()),
        rest=int((fires & ~facts.core).sum()),
    )


def _why(explored: Explored, emotion: int, read: ReadTexts) -> WhyEmotion:
    family, activation = explored.study.families.families[emotion], read.activations[0]
    members = [
        Member(
            feature=feature,
            weight=short(weight) or 0.0,
            activation=short(float(activation[feature]), 6) or 0.0,
            share=short(weight * float(activation[feature])) or 0.0,
        )
        for feature, weight in zip(family.features, family.weights, strict=True)
    ]
    return WhyEmotion(
        emotion=family.emotion,
        score=short(float(read.scores["family"][0, emotion]), 6),
        members=tuple(sorted(members, key=lambda one: -one.share)),
    )


def _concepts(explored: Explored, activation: np.ndarray) -> tuple[WhyConcept, ...]:
    facts = _facts(explored)
    by_concept: dict[tuple[str, str], list[int]] = {}
    for feature in np.flatnonzero((activation > 0) & facts.concept_feature).tolist():
        emotion, concept = facts.emotion[feature], facts.concept[feature]
        if emotion is not None and concept is not None:
            by_concept.setdefault((emotion, concept), []).append(feature)
    out = [
        WhyConcept(
            emotion=emotion,
            concept=concept,
            strength=short(float(np.nansum(activation[features] / facts.usual[features]))) or 0.0,
            features=tuple(sorted(features, key=lambda f: -activation[f] / facts.usual[f])),
        )
        for (emotion, concept), features in by_concept.items()
    ]
    return tuple(sorted(out, key=lambda one: -one.strength))
