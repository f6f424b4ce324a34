"""The words of the grammar, read from the package's data files and checked as they are read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from moodlens.prompts.render import Template
from moodlens.prompts.stems import content_stems

EMOTIONS = ("happy", "sad", "calm", "energetic")
"""The emotions the grammar can write, in the order of their labels."""
NEUTRAL = "neutral"

Kind = Literal["adjective", "noun", "verb", "scene", "metaphor", "situation"]
KINDS: tuple[Kind, ...] = ("adjective", "noun", "verb", "scene", "metaphor", "situation")
LEXEMES: tuple[Kind, ...] = ("adjective", "noun", "verb")


@dataclass(frozen=True)
class Unit:
    """One lexeme, scene, metaphor or situation: what a prompt says its emotion with."""

    owner: str
    """An emotion, or ``neutral``."""
    kind: Kind
    text: str
    held_out: bool
    group: str
    """``owner/root``; "joy", "joyful" and "joyous" share one."""
    graded: bool = True
    """Takes "slightly" or "very"."""


@dataclass(frozen=True)
class Shared:
    """What every emotion uses alike."""

    instruments: tuple[str, ...]
    genres: tuple[tuple[str, bool], ...]
    """(name, is a noun): "jazz" stands alone, "classical" needs "music"."""
    percussion: tuple[tuple[str, bool], ...]
    """(name, takes an article)."""
    intensities: Mapping[str, Mapping[str, tuple[str, ...]]]
    plain_amount: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]
    """slot -> values, for the slots that are filled by one word list."""


@cache
def _load(name: str) -> Any:
    import yaml

    text = files("moodlens.prompts").joinpath("data", f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def _same_roots() -> dict[str, str]:
    """Stem -> the stem that stands for it, for the roots that spelling hides."""
    table: dict[str, str] = {}
    for row in _load("shared")["same"]:
        first = content_stems(row[0])[0]
        for word in row:
            table[content_stems(word)[0]] = first
    return table


def roots(text: str) -> list[str]:
    """Roots of the words of a text that carry meaning, in order."""
    same = _same_roots()
    return [same.get(item, item) for item in content_stems(text)]


@cache
def lexeme_roots(owner: str) -> frozenset[str]:
    """Roots of all adjectives and nouns of an emotion: no neutral text may hold one."""
    data = _load(owner)
    entries = [
        entry
        for kind in ("adjectives", "nouns")
        for part in ("train", "held_out")
        for entry in data[kind][part]
    ]
    return frozenset(root for entry in entries for root in roots(entry))


@cache
def units(owner: str) -> tuple[Unit, ...]:
    """Everything ``owner`` (an emotion, or ``neutral``) can be said with, held-out units included."""
    data = _load(owner)
    ungraded = set(_load("shared")["ungraded"])
    known = lexeme_roots(owner)
    found = []
    for kind in KINDS:
        for part in ("train", "held_out"):
            for text in data[f"{kind}s"][part]:
                root = next((root for root in roots(text) if root in known), text)
                graded = text not in ungraded
                found.append(Unit(owner, kind, text, part == "held_out", f"{owner}/{root}", graded))
    return tuple(found)


@cache
def shared() -> Shared:
    """Instruments, genres and the other facts of music."""
    data = _load("shared")
    genres = [(name, True) for name in data["genres"]["nouns"]] + [
        (name, False) for name in data["genres"]["adjectives"]
    ]
    percussion = [(name, True) for name in data["percussion"]["countable"]]
    percussion += [(name, False) for name in data["percussion"]["plural"]]
    lists = {
        "piece": "pieces",
        "vocals": "vocals",
        "recording": "recording",
        "key": "keys",
        "metre": "metres",
        "tempo": "tempos",
        "tempo_word": "tempo_words",
        "minutes": "minutes",
        "use": "uses",
        "bass": "basses",
        "texture": "textures",
        "part": "parts",
        "quality": "qualities",
        "scale": "scales",
    }
    words = {slot: tuple(data[name]) for slot, name in lists.items()}
    words["bpm"] = tuple(str(bpm) for bpm in range(60, 181, 2))
    intensities = {
        level: MappingProxyType({form: tuple(values) for form, values in forms.items()})
        for level, forms in data["intensities"].items()
    }
    return Shared(
        tuple(data["instruments"]),
        tuple(genres),
        tuple(percussion),
        MappingProxyType(intensities),
        tuple(data["plain_amount"]),
        MappingProxyType(words),
    )


def _part(held_out: bool) -> str:
    return "held_out" if held_out else "train"


@cache
def templates(kind: Kind, held_out: bool) -> Mapping[str, tuple[Template, ...]]:
    """Style -> templates that use a unit of ``kind``."""
    data = _load("templates")[_part(held_out)][kind]
    return MappingProxyType({style: tuple(map(Template.parse, texts)) for style, texts in data.items()})


@cache
def facts(held_out: bool) -> Mapping[str, tuple[Template, ...]]:
    """Topic -> sentences that say nothing about emotion, in the order in which a caption takes them."""
    data = _load("facts")[_part(held_out)]
    return MappingProxyType({topic: tuple(map(Template.parse, texts)) for topic, texts in data.items()})


@cache
def fact_sentences(held_out: bool) -> tuple[Template, ...]:
    """The sentences of :func:`facts`, each a neutral text of its own."""
    every = [template for topic in facts(held_out).values() for template in topic]
    return tuple(replace(template, bare=template.full, bare_slots=template.slots) for template in every)


@cache
def special_templates(kind: str) -> tuple[Template, ...]:
    """Templates of ``negation`` or ``mixed``."""
    return tuple(map(Template.parse, _load("special")[kind]))


@cache
def mixed_words() -> tuple[tuple[str, tuple[str, str]], ...]:
    """(word, the two emotions in it), such as ("bittersweet", ("happy", "sad"))."""
    return tuple((word, (pair[0], pair[1])) for word, pair in _load("special")["mixed_words"])
