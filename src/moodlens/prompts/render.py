"""Templates, and the small repairs English needs once their slots are filled."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_SLOT = re.compile(r"\{(\w+)\}")
_ARTICLE = re.compile(r"\b([Aa])n? (?!minor\b|major\b)(?=([\w&]+))")
# Written with a consonant but spoken with a vowel, and the other way round.
_AN = re.compile(r"(?:8|11$|18$|hours?$|honest|heir|r&b|f$|[aeio]|u)")
_A = re.compile(r"(?:uni(?![dmn])|us[eu]|util|uku|eu|ewe|one|once|ou(?=i))")


@dataclass(frozen=True)
class Template:
    """A text with slots; ``bare`` is the text without the parts that carry the emotion, if anything is left."""

    full: str
    bare: str | None
    slots: frozenset[str]
    bare_slots: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Read ``text``, where ``[...]`` marks what the neutral twin lacks."""
        full = re.sub(r"[\[\]]", "", text)
        bare = re.sub(r"\[[^\]]*\]", "", text) if "[" in text else None
        return cls(full, bare, frozenset(_SLOT.findall(full)), frozenset(_SLOT.findall(bare or "")))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put ``values`` into the slots, choose a or an, and begin sentences with a capital."""
    return finish(_SLOT.sub(lambda match: values[match[1]], text))


def finish(text: str) -> str:
    """Choose between a and an; a text that ends like a sentence begins like one."""
    text = _ARTICLE.sub(lambda match: match[1] + ("n " if takes_an(match[2]) else " "), text)
    return capital(text) if text[-1] in ".!?" else text


def takes_an(word: str) -> bool:
    """Whether the indefinite article before ``word`` is "an"."""
    word = word.lower()
    return bool(_AN.match(word)) and not _A.match(word)


def capital(text: str) -> str:
    """``text`` with its first letter raised; the rest is left alone."""
    return text[:1].upper() + text[1:]


def hashtag(text: str) -> str:
    """``text`` as one word for a hashtag: letters and digits only."""
    return re.sub(r"[^0-9a-zA-Z]", "", text).lower()
