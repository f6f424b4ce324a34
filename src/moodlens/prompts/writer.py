"""One text at a time: a template filled from the decks of its part of the table."""

import re
from dataclasses import dataclass, field

from moodlens.prompts.decks import Decks
from moodlens.prompts.render import Template, capital, fill, finish, hashtag
from moodlens.prompts.vocabulary import (
    LEXEMES,
    SCENES,
    Kind,
    Unit,
    cards_of,
    concepts,
    fact_sentences,
    facts,
    shared,
    templates,
)

STYLES: dict[Kind, dict[str, int]] = {
    "adjective": {"words": 5, "prompt": 6, "tags": 4, "sentence": 8},
    "noun": {"prompt": 6, "tags": 4, "sentence": 8},
    "verb": {"prompt": 1, "sentence": 1},
    "scene": {"scene": 1, "sentence": 1},
    "metaphor": {"metaphor": 1, "sentence": 1},
    "situation": {"situation": 1, "sentence": 1},
}
"""Kind -> style (register) -> how often, relative to the others; captions come on top."""
CAPTION = "caption"
BARE_STYLES = ("words", "prompt", "tags", "sentence", "sentence", "sentence", CAPTION)
"""Styles of the neutral texts that hold no unit, only facts."""
CAPTION_FACTS = (1, 2, 2, 3)
"""Sentences of facts in a caption, beside its opening."""
# No intensity is as common as all three together.
INTENSITIES = (None, None, None, "subtle", "moderate", "intense")
# A caption says once at most whether anybody sings.
_SINGING = re.compile("sing|vocal|lyrics|instrumental")
_GRADED = frozenset({"adj", "adj_tag", "feeling", "how"})


@dataclass
class Text:
    """A filled template and what it says."""

    text: str
    style: str
    bare: str | None = None
    """The same words without the emotion."""
    factors: dict[str, str | None] = field(default_factory=dict)
    bare_factors: dict[str, str | None] = field(default_factory=dict)
    template: str = ""
    """What a text of facts was filled from."""


class Writer:
    """Writes the texts of one part of the table: one emotion (or neutral), held out or not."""

    def __init__(self, seed: str, *, held_out: bool, caption_share: float):
        self.decks = Decks(seed)
        self.held_out = held_out
        n_captions = round(100 * caption_share)
        self._captions = (True,) * n_captions + (False,) * (100 - n_captions)

    def choose(self, owner: str, lexeme: bool) -> Unit:
        """The next word or phrase of ``owner``, or its next scene, metaphor or situation: each concept in turn."""
        concept = self.decks.deal((owner, lexeme), concepts(owner))
        cards = cards_of(owner, concept, self.held_out, LEXEMES if lexeme else SCENES)
        return self.decks.deal((owner, lexeme, concept), cards)

    def write(self, unit: Unit, *, twin: bool) -> Text:
        """A text that says ``unit``; with ``twin``, one that has a neutral twin."""
        kind = unit.kind
        by_style = templates(kind, self.held_out)
        if self.decks.deal(("caption", kind), self._captions):
            return self._caption(unit, by_style["sentence"])
        weights = STYLES[kind]
        if twin:
            weights = {style: weight for style, weight in weights.items() if _with_twin(by_style[style])}
        cards = tuple(style for style, weight in weights.items() for _ in range(weight))
        style = self.decks.deal(("style", kind, twin), cards)
        choice = _with_twin(by_style[style]) if twin else by_style[style]
        return self._fill(self.decks.deal(("template", kind, style, twin), choice), style, unit)

    def write_facts(self) -> Text:
        """A neutral text that holds facts only."""
        style = self.decks.deal("bare style", BARE_STYLES)
        if style == CAPTION:
            return self._caption(None, ())
        choice = _with_twin(templates("adjective", self.held_out)[style])
        if style == "sentence":
            choice += fact_sentences(self.held_out)
        template = self.decks.deal(("bare", style), choice)
        made = self._fill(template, style, None)
        assert made.bare is not None
        return Text(made.bare, style, factors=made.bare_factors, template=template.full)

    def fill_special(self, template: Template, style: str, extra: dict[str, str]) -> Text:
        """A negation or a mixture: ``extra`` holds the words of emotion."""
        return self._fill(template, style, None, extra)

    def _fill(
        self, template: Template, style: str, unit: Unit | None, extra: dict[str, str] | None = None
    ) -> Text:
        slots = template.slots if unit is not None or extra is not None else template.bare_slots
        values, factors = self._values(slots)
        if extra is not None:
            values |= extra
        if unit is not None:
            spoken, factors["intensity"] = self._say(unit, slots)
            values |= spoken
        made = Text("", style, factors=_used(factors, slots))
        if unit is not None or extra is not None:
            made.text = fill(template.full, values)
        if template.bare is not None:
            made.bare = fill(template.bare, values)
            made.bare_factors = _used(factors, template.bare_slots)
        return made

    def _caption(self, unit: Unit | None, moods: tuple[Template, ...]) -> Text:
        by_topic = facts(self.held_out)
        opening = self.decks.deal(("fact", "opening"), by_topic["opening"])
        others = [topic for topic in by_topic if topic != "opening"]
        if _SINGING.search(opening.full):
            others.remove("vocals")
        n_facts = self.decks.deal("facts", CAPTION_FACTS) + (unit is None)
        chosen = set()
        while len(chosen) < n_facts:
            chosen.add(self.decks.deal("topic", others))
        topics = [topic for topic in others if topic in chosen]
        picked = [opening, *(self.decks.deal(("fact", topic), by_topic[topic]) for topic in topics)]
        slots: frozenset[str] = frozenset().union(*(template.slots for template in picked))
        moods = tuple(template for template in moods if not _SINGING.search(template.full))
        mood = self.decks.deal(("mood", unit.kind), moods) if unit is not None else None
        every = slots | mood.slots if mood is not None else slots
        values, factors = self._values(every)
        sentences = [fill(template.full, values) for template in picked]
        bare = " ".join(sentences)
        bare_factors = _used(factors, slots)
        if unit is None or mood is None:
            return Text(bare, CAPTION, factors=bare_factors)
        spoken, factors["intensity"] = self._say(unit, every)
        # The mood sentence stands anywhere but first: it speaks of what the opening has named.
        place = self.decks.random.randint(1, len(sentences))
        sentences.insert(place, fill(mood.full, values | spoken))
        return Text(" ".join(sentences), CAPTION, bare, _used(factors, every), bare_factors)

    def _say(self, unit: Unit, slots: frozenset[str]) -> tuple[dict[str, str], str | None]:
        """The slots that the unit fills, and the intensity it is said with."""
        words = shared()
        graded = unit.graded and bool(slots & _GRADED)
        level = self.decks.deal("intensity", INTENSITIES) if graded else None
        values = {unit.kind: unit.text, "adj": unit.text, "how": "", "adj_tag": hashtag(unit.text)}
        forms = words.intensities[level] if level is not None else None
        if unit.kind == "adjective" and forms is not None:
            adverb = self.decks.deal(("adverb", level), forms["adverbs"])
            values["adj"] = f"{adverb} {unit.text}"
            values["adj_tag"] = hashtag(values["adj"])
        elif unit.kind == "noun":
            amounts = forms["amounts"] if forms is not None else words.plain_amount
            values["feeling"] = f"{self.decks.deal(('amount', level), amounts)} {unit.text}"
        elif forms is not None:
            values["how"] = self.decks.deal(("manner", level), forms["manners"]) + " "
        return values, level

    def _values(self, slots: frozenset[str]) -> tuple[dict[str, str], dict[str, str | None]]:
        """Values for every slot but the emotion's, and the factors drawn for them."""
        words = shared()
        deal = self.decks.deal
        values: dict[str, str] = {}
        factors: dict[str, str | None] = {}
        if any("instrument" in slot for slot in slots):
            factors["instrument"] = first = deal("instrument", words.instruments)
            values |= _forms("instrument", first)
            values["instrument_tag"] = hashtag(first)
        if any("instrument2" in slot for slot in slots):
            second = deal("instrument2", words.instruments)
            while second == values["instrument"]:
                second = deal("instrument2", words.instruments)
            values |= _forms("instrument2", second)
        if any(slot.startswith("genre") for slot in slots):
            name, noun = deal("genre", words.genres)
            factors["genre"] = name
            values["genre"] = name
            values["genre_music"] = name if noun else f"{name} music"
            values["genre_tag"] = hashtag(name)
        if "genre2" in slots:
            others = [name for name, _ in words.genres if name != factors["genre"]]
            values["genre2"] = self.decks.random.choice(others)
        if any("percussion" in slot for slot in slots):
            name, article = deal("percussion", words.percussion)
            values["percussion"] = name
            values["some_percussion"] = f"a {name}" if article else name
            values["Some_percussion"] = capital(values["some_percussion"])
        # In alphabetical order: the order of a set changes from run to run, and with it what is dealt.
        for slot in sorted(slots):
            if slot in words.words:
                values[slot] = deal(slot, words.words[slot])
        if "Bass" in slots:
            values["Bass"] = capital(deal("bass", words.words["bass"]))
        return values, factors


def _forms(slot: str, name: str) -> dict[str, str]:
    phrase = finish(f"a {name}")
    return {slot: name, f"an_{slot}": phrase, f"An_{slot}": capital(phrase)}


def _with_twin(choice: tuple[Template, ...]) -> tuple[Template, ...]:
    return tuple(template for template in choice if template.bare is not None)


def _used(factors: dict[str, str | None], slots: frozenset[str]) -> dict[str, str | None]:
    """The factors that the slots really name."""
    used = {}
    if slots & {"instrument", "an_instrument", "An_instrument", "instrument_tag"}:
        used["instrument"] = factors.get("instrument")
    if any(slot.startswith("genre") for slot in slots):
        used["genre"] = factors.get("genre")
    if slots & _GRADED:
        used["intensity"] = factors.get("intensity")
    return used
