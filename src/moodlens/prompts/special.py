"""Texts that deny an emotion or mix two: for tests of what a feature really means, and to learn what denial is."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

from moodlens.core import BadInput
from moodlens.prompts.prompt import Prompt
from moodlens.prompts.render import Template
from moodlens.prompts.vocabulary import (
    Kind,
    Unit,
    cards_of,
    concepts,
    denials,
    mixed_words,
    special_templates,
)
from moodlens.prompts.writer import Text, Writer

_TRIES = 300
HELD_OUT_NINTHS = (1, 6)
"""Of nine rows in turn six are denied; these are the held-out ones of them."""


def write_special(n: int, emotions: tuple[str, ...], seed: str, seen: set[str]) -> Iterator[Prompt]:
    """``n`` rows: two in three of kind ``negation`` (about "sad"), the others ``mixed`` (about "happy|sad").

    A denied row holds in ``twin`` the row that says what it denies: of kind ``plain``, with the same words and group.
    Two in three denied rows use words and wordings of the ordinary splits, and are dealt with their words' groups; the
    others, and all mixtures, are held out.
    """
    writers = {part: Writer(f"{seed}/{part}", held_out=part, caption_share=0) for part in (False, True)}
    pairs = tuple(combinations(emotions, 2))
    words = tuple(item for item in mixed_words() if set(item[1]) <= set(emotions))
    for index in range(n):
        for _ in range(_TRIES):
            if index % 3 == 2:
                row = _mixed(writers[True], pairs, words)
            else:
                row = _negation(writers[index % 9 in HELD_OUT_NINTHS], emotions)
            keys = [text.text.casefold() for text in (row, row.twin) if text is not None]
            if seen.isdisjoint(keys):
                seen.update(keys)
                yield row
                break
        else:
            raise BadInput(f"prompts: cannot make {n} unique negations and mixtures; lower special")


def _negation(writer: Writer, emotions: tuple[str, ...]) -> Prompt:
    """A denied row; ``twin`` is the row that says it."""
    emotion = writer.decks.deal("denied", emotions)
    template = writer.decks.deal("negation", denials(writer.held_out))
    lexeme = _lexeme(writer, emotion, "noun" if "noun" in template.slots else "adjective")
    made = writer.fill_special(template, "negation", {"bare_adj": lexeme.text, "noun": lexeme.text})
    assert made.bare is not None
    row = _row(made, "negation", emotion, lexeme.group)
    row.split = "held_out" if writer.held_out else ""
    style = "sentence" if template.full.endswith(".") else "prompt"
    row.twin = replace(
        row, text=made.bare, emotion=emotion, concept=lexeme.concept, kind="plain", about=None, style=style
    )
    return row


def _mixed(
    writer: Writer, pairs: tuple[tuple[str, str], ...], words: tuple[tuple[str, tuple[str, str]], ...]
) -> Prompt:
    if words and writer.decks.deal("by word", (True, False, False, False)):
        word, pair = writer.decks.deal("word", words)
        made = writer.fill_special(_template(writer, "mixed_word"), "mixed", {"mixed": word})
        return _row(made, "mixed", "|".join(pair), f"mixed/{word}")
    pair = writer.decks.deal("pair", pairs)
    template = _template(writer, "mixed")
    turned = writer.decks.random.sample(pair, 2)
    kind: Kind = "noun" if "noun" in template.slots else "adjective"
    # Words the study may train on: what is tested is the mixture, not the words.
    first, second = (_lexeme(writer, emotion, kind, held_out=False) for emotion in turned)
    extra = {"bare_adj": first.text, "other_adj": second.text, "noun": first.text, "other_noun": second.text}
    made = writer.fill_special(template, "mixed", extra)
    group = f"mixed/{' + '.join(sorted((first.group, second.group)))}"
    return _row(made, "mixed", "|".join(pair), group)


def _template(writer: Writer, kind: str) -> Template:
    return writer.decks.deal(kind, special_templates(kind))


def _lexeme(writer: Writer, emotion: str, kind: Kind, *, held_out: bool | None = None) -> Unit:
    """A word of an emotion: of the writer's part, or of ``held_out``."""
    part = writer.held_out if held_out is None else held_out
    concept = writer.decks.deal((emotion, kind, part), concepts(emotion))
    cards = cards_of(emotion, concept, part, (kind,))
    return writer.decks.deal((emotion, kind, concept, part), cards)


def _row(made: Text, kind: str, about: str, group: str) -> Prompt:
    return Prompt(
        text=made.text,
        kind=kind,
        about=about,
        group=group,
        split="held_out",
        style=made.style,
        instrument=made.factors.get("instrument"),
        genre=made.factors.get("genre"),
    )
