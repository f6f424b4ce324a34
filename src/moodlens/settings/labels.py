"""Which spellings are one label, what means that there is none, and which words cannot be labels."""

import re
import unicodedata
from collections.abc import Iterable

INVISIBLE = "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
"""A regular expression: control characters, byte order marks, marks of the writing direction (which copying from a dialogue
of Windows brings along) and what else has neither width nor meaning."""
IGNORED = (
    f"{INVISIBLE}|[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef]"
)
"""Also joiners and variation selectors: a text keeps them, but two spellings of one word may differ in them."""
DOTLESS = "i\u0307|\u0131"
"""What lower case makes of a Turkish i is none of its own spellings: it depends on the language, so keys know one i."""
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
    visible = re.sub(IGNORED, "", unicodedata.normalize("NFKC", label))
    # Case folding may undo the normal form.
    folded = unicodedata.normalize("NFKC", visible.casefold())
    key = " ".join(re.sub(DOTLESS, "i", folded).split())
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
