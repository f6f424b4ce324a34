"""Labels of a user's table: however a label is spelled, it is one."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from moodlens.settings.labels import IGNORED, INVISIBLE, MISSING, NEUTRAL, label_key


def one_spelling(labels: Iterable[str | None], emotions: Sequence[str] = ()) -> dict[str, str | None]:
    """Every spelling -> the label it stands for; None where it means that there is no label.

    The spelling is that of ``emotions`` where one fits, else the most frequent one.
    """
    counts = Counter(label for label in labels if label is not None)
    chosen: dict[str, str | None] = dict.fromkeys(MISSING)
    for label, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        key = label_key(label)
        number = re.fullmatch(r"[+-]?\d+", key)
        plain = unicodedata.normalize("NFC", " ".join(re.sub(INVISIBLE, "", label).split()))
        chosen.setdefault(key, key if number or key == NEUTRAL else plain)
    chosen |= {label_key(emotion): emotion for emotion in emotions}
    return {label: chosen[label_key(label)] for label in counts}


def merged_spellings(spellings: dict[str, str | None]) -> dict[str, tuple[str, ...]]:
    """Label -> its other spellings, for labels that have any; what looks alike is written with escapes."""
    others: dict[str, list[str]] = {}
    for spelled, label in sorted(spellings.items()):
        if label is not None and spelled != label:
            plain = unicodedata.is_normalized("NFC", spelled) and spelled.isprintable()
            plain = plain and re.search(IGNORED, spelled) is None
            others.setdefault(label, []).append(spelled if plain else ascii(spelled)[1:-1])
    return {label: tuple(spelled) for label, spelled in others.items()}


def twins(names: Iterable[str], *, punctuation: bool) -> list[tuple[str, str]]:
    """Pairs of names that may be meant as one: they differ in case, blanks or, if wanted, ``punctuation`` alone."""
    first: dict[str, str] = {}
    pairs = []
    for name in sorted(set(names)):
        key = label_key(name)
        words = " ".join(re.findall(r"\w+", key.replace("_", " ")))
        # A sign makes another number.
        key = words if punctuation and words and not re.fullmatch(r"[\W\d]+", key) else key
        if first.setdefault(key, name) != name:
            pairs.append((first[key], name))
    return pairs


def in_order(labels: Iterable[str]) -> list[str]:
    """Labels as people count: numbers by value, others by the alphabet, numbers within them by value."""
    labels = sorted(set(labels))
    try:
        return sorted(labels, key=float)
    except ValueError:
        parts = {label: re.split(r"(\d+)", label.casefold()) for label in labels}
        return sorted(labels, key=lambda label: [int(p) if i % 2 else p for i, p in enumerate(parts[label])])
