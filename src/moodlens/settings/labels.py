"""Which spellings are one label, what means that there is none, and which words cannot be labels."""

import re
import unicodedata
from collections.abc import Iterable

INVISIBLE = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u00ad\u200b\u200e\u200f\u2060-\u2064\ufeff]"
"""A regular expression: control characters, byte order marks and what else has neither width nor meaning."""
MISSING = frozenset(
    """
    . .. ... - -- --- – — _ ? ?? ??? # * / \\n <na> <none> <null> (none) (null) [none] #n/a #na #null! #value! #ref!
    #name? #div/0! n/a n.a. na nan -nan nil none null undefined unknown unlabeled unlabelled
    """.split()  # noqa: SIM905 - a list of this length would take a line for each word
) | {""}
"""Keys of what programs and people write for no value."""
NEUTRAL = "neutral"
"""The label of texts that are known to have no emotion; an emotion of its own only where the settings list it."""
RESERVED = {
    "mean": "results call the mean over all emotions so",
    "(none)": "counts call texts without an emotion so",
}
"""Words that stand beside the emotions in results -> why they cannot be labels."""


def label_key(label: str) -> str:
    """What all spellings of a label share: no case, nothing invisible, single spaces, and ``1.0`` is ``1``."""
    visible = re.sub(f"{INVISIBLE}|[\u200c\u200d]", "", unicodedata.normalize("NFKC", label))
    # Case folding may undo the normal form.
    key = " ".join(unicodedata.normalize("NFKC", visible.casefold()).split())
    return re.sub(r"^([+-]?\d+)\.0*$", r"\1", key)


def check_labels(labels: Iterable[str]) -> None:
    """Refuse labels that are blank, reserved or one label in two spellings.

    Raises:
        ValueError: with the reason.
    """
    seen: dict[str, str] = {}
    for label in labels:
        key = label_key(label)
        if not key:
            raise ValueError("a label is blank")
        if key in RESERVED:
            raise ValueError(f"{label!r} cannot be a label, since {RESERVED[key]}; rename it")
        if key in seen:
            raise ValueError(f"{seen[key]!r} and {label!r} are one label; leave one out")
        seen[key] = label
