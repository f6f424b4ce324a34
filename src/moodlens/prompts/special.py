"""Texts that deny an emotion or mix two: kept out of training, for tests of what a feature really means."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from moodlens.core import BadInput
from moodlens.prompts.render import Template
from moodlens.prompts.vocabulary import Unit, mixed_words, special_templates, units
from moodlens.prompts.writer import Text, Writer

_TRIES = 300


def write_special(n: int, emotions: tuple[str, ...], seed: str, seen: set[str]) -> Iterator[dict[str, Any]]:
    """``n`` rows, half of kind ``negation`` (about "sad"), half ``mixed`` (about "happy|sad"), all held out."""
    writer = Writer(seed, held_out=True, caption_share=0)
    pairs = tuple(combinations(emotions, 2))
    words = tuple(item for item in mixed_words() if set(item[1]) <= set(emotions))
    for index in range(n):
        for _ in range(_TRIES):
            if index % 2:
                row = _mixed(writer, pairs, words)
            else:
                row = _negation(writer, emotions)
            key = row["text"].casefold()
            if key not in seen:
                seen.add(key)
                yield row
                break
        else:
            raise BadInput(f"prompts: cannot make {n} unique negations and mixtures; lower special")


def _negation(writer: Writer, emotions: tuple[str, ...]) -> dict[str, Any]:
    emotion = writer.decks.deal("denied", emotions)
    template = writer.decks.deal("negation", special_templates("negation"))
    adjective, noun = _lexeme(writer, emotion, "adjective"), _lexeme(writer, emotion, "noun")
    made = writer.fill_special(template, "negation", {"bare_adj": adjective.text, "noun": noun.text})
    said = noun if "noun" in template.slots else adjective
    return _row(made, "negation", emotion, said.group)


def _mixed(
    writer: Writer, pairs: tuple[tuple[str, str], ...], words: tuple[tuple[str, tuple[str, str]], ...]
) -> dict[str, Any]:
    if words and writer.decks.deal("by word", (True, False, False, False)):
        word, pair = writer.decks.deal("word", words)
        made = writer.fill_special(_template(writer, "mixed_word"), "mixed", {"mixed": word})
        return _row(made, "mixed", "|".join(pair), word)
    pair = writer.decks.deal("pair", pairs)
    template = _template(writer, "mixed")
    turned = writer.decks.random.sample(pair, 2)
    kind = "noun" if "noun" in template.slots else "adjective"
    first, second = (_lexeme(writer, emotion, kind) for emotion in turned)
    extra = {"bare_adj": first.text, "other_adj": second.text, "noun": first.text, "other_noun": second.text}
    made = writer.fill_special(template, "mixed", extra)
    return _row(made, "mixed", "|".join(pair), " + ".join(sorted((first.group, second.group))))


def _template(writer: Writer, kind: str) -> Template:
    return writer.decks.deal(kind, special_templates(kind))


def _lexeme(writer: Writer, emotion: str, kind: str) -> Unit:
    """A word the study may train on: what is tested is the denial, not the word."""
    cards = tuple(unit for unit in units(emotion) if unit.kind == kind and not unit.held_out)
    return writer.decks.deal((emotion, kind), cards)


def _row(made: Text, kind: str, about: str, group: str) -> dict[str, Any]:
    return {
        "id": "",
        "text": made.text,
        "emotion": None,
        "concept": None,
        "kind": kind,
        "about": about,
        "split": "held_out",
        "group": f"{kind}/{group}",
        "instrument": made.factors.get("instrument"),
        "genre": made.factors.get("genre"),
        "intensity": None,
        "style": made.style,
        "twin": None,
        "source": "grammar",
    }
