"""The words of the grammar, read from the package's data files and checked as they are read."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from moodlens.core import BadInput
from moodlens.prompts.render import Template
from moodlens.prompts.stems import content_stems

EMOTIONS = ("happy", "sad", "calm", "energetic")
"""The emotions the grammar can write, in the order of their labels."""
NEUTRAL = "neutral"

Kind = Literal["adjective", "noun", "verb", "scene", "metaphor", "situation"]
KINDS: tuple[Kind, ...] = ("adjective", "noun", "verb", "scene", "metaphor", "situation")
LEXEMES: tuple[Kind, ...] = ("adjective", "noun", "verb")
SCENES: tuple[Kind, ...] = ("scene", "metaphor", "situation")
PARTS = ("train", "held_out")
_LISTS: Mapping[str, tuple[Kind, bool]] = {
    "adjectives": ("adjective", True),
    "absolutes": ("adjective", False),
    "nouns": ("noun", True),
    "verbs": ("verb", True),
    "scenes": ("scene", True),
    "metaphors": ("metaphor", True),
    "situations": ("situation", True),
}
"""List of the data files -> the kind of its units, and whether they take "slightly" or "very"."""


@dataclass(frozen=True)
class Unit:
    """One lexeme, scene, metaphor or situation: what a prompt says its emotion with."""

    owner: str
    """An emotion, or ``neutral``."""
    concept: str
    """What of the emotion it says, such as grief; empty for neutral units."""
    kind: Kind
    text: str
    held_out: bool
    group: str
    """``owner/root``; "joy", "joyful" and "a heart that sings with joy" share one."""
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
def concepts(owner: str) -> tuple[str, ...]:
    """The concepts of an emotion in the order of its file; neutral has one that is called ``""``."""
    return tuple(_by_concept(owner))


def _by_concept(owner: str) -> Mapping[str, object]:
    data = _load(owner)
    return {"": data} if owner == NEUTRAL else data


@cache
def _entries(owner: str) -> tuple[tuple[str, str, Kind, str, bool], ...]:
    """(concept, part, kind, text, graded) of every unit of ``owner``: by concept, by kind, held-out ones last.

    Raises:
        BadInput: a data file is not laid out as it must be, or says a text twice.
    """
    entries: list[tuple[str, str, Kind, str, bool]] = []
    seen: set[tuple[Kind, str]] = set()
    for concept, parts in _by_concept(owner).items():
        place = f"{owner}.yaml: {concept or owner}"
        if not isinstance(parts, dict) or tuple(parts) != PARTS:
            raise BadInput(f"{place}: needs {' and '.join(PARTS)}, in this order")
        for part, lists in parts.items():
            if not isinstance(lists, dict) or tuple(lists) != tuple(_LISTS):
                raise BadInput(f"{place}: {part} needs the lists {', '.join(_LISTS)}, in this order")
        for name, (kind, graded) in _LISTS.items():
            for part in PARTS:
                for text in parts[part][name]:
                    if not isinstance(text, str) or (kind, text) in seen:
                        raise BadInput(f"{place}: {part}: {name}: {text!r} is no text, or there twice")
                    seen.add((kind, text))
                    entries.append((concept, part, kind, text, graded))
    return tuple(entries)


@cache
def lexeme_roots(owner: str) -> frozenset[str]:
    """Roots of all adjectives and nouns of an emotion: no neutral text may hold one."""
    return frozenset(
        root
        for _, _, kind, text, _ in _entries(owner)
        if kind in ("adjective", "noun")
        for root in roots(text)
    )


@cache
def _users() -> Mapping[str, frozenset[tuple[str, str]]]:
    """Root -> the (owner, concept) pairs that have a unit with it."""
    users: dict[str, set[tuple[str, str]]] = {}
    for owner in (*EMOTIONS, NEUTRAL):
        for concept, _, _, text, _ in _entries(owner):
            for root in roots(text):
                users.setdefault(root, set()).add((owner, concept))
    return {root: frozenset(of) for root, of in users.items()}


@cache
def units(owner: str) -> tuple[Unit, ...]:
    """Everything ``owner`` (an emotion, or ``neutral``) can be said with, held-out units included.

    Units are one group where they share the root of an adjective or noun, or a root that this concept alone uses:
    "a grave" and "visiting a grave". A root that several concepts use ("old", "morning") is everyday language.
    """
    entries, known = _entries(owner), lexeme_roots(owner)
    first: dict[str, int] = {}
    names = list(range(len(entries)))
    for number, (_, _, _, text, _) in enumerate(entries):
        for root in roots(text):
            if root in known or len(_users()[root]) == 1:
                other = first.setdefault(root, number)
                old, new = names[number], names[other]
                names = [new if name == old else name for name in names]
    titles: dict[int, str] = {}
    for name, (_, _, _, text, _) in zip(names, entries, strict=True):
        titles.setdefault(name, next((root for root in roots(text) if root in known), text))
    return tuple(
        Unit(owner, concept, kind, text, part == "held_out", f"{owner}/{titles[name]}", graded)
        for name, (concept, part, kind, text, graded) in zip(names, entries, strict=True)
    )


@cache
def cards_of(owner: str, concept: str, held_out: bool, kinds: tuple[Kind, ...]) -> tuple[Unit, ...]:
    """The units of one concept and part that are of ``kinds``: a deck."""
    return tuple(
        unit
        for unit in units(owner)
        if unit.concept == concept and unit.held_out == held_out and unit.kind in kinds
    )


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
    """Templates of ``mixed`` or ``mixed_word``."""
    return tuple(map(Template.parse, _load("special")[kind]))


@cache
def denials(held_out: bool) -> tuple[Template, ...]:
    """Templates that deny a word; ``bare`` says it instead, in otherwise the same words."""
    pairs = []
    for denied, bare_text in _load("special")["negation"][_part(held_out)]:
        full, bare = Template.parse(denied), Template.parse(bare_text)
        pairs.append(replace(full, bare=bare.full, bare_slots=bare.slots))
    return tuple(pairs)


@cache
def mixed_words() -> tuple[tuple[str, tuple[str, str]], ...]:
    """(word, the two emotions in it), such as ("bittersweet", ("happy", "sad"))."""
    return tuple((word, (pair[0], pair[1])) for word, pair in _load("special")["mixed_words"])
