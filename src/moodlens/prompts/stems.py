"""Word stems, coarse enough that "joy", "joyful" and "joyous" are one word.

Groups and the held-out set are cut by stem, so a stemmer that joins too much is the safe one;
a dictionary of English would be a heavy dependency for a vocabulary of a few hundred words.
"""

import re

# Say nothing about emotion by themselves, though they are parts of words that do ("feel-good", "heavy-hearted").
WEAK = frozenset(
    """
    a about above after again all alone along always an and any anyone are around as at away back be
    because bed been before behind being below beside between but by can come comes coming could day did
    do does doing down each end ever every everyone everything fast feel feeling feels for from full get
    gets getting give gives go goes going gone good hard has have head heart hearted heavy her high him
    his hit hits holds home hop how if in inside into is it its just keeps key keys last leaves less
    lets life light like long look looking low made make makes making matter me mid mill mind minded
    more most much my natured near never no nobody nor not nothing of off old on one only open or other
    our out over own paced packed packing place play played playing plays put puts racing run running
    say says so some someone something style take takes taking than that the their them then there
    things through time to too top turned two under until up very was way what when where which while
    who whole with without world would year years you your
    """.split()  # noqa: SIM905 - a list of this length would take a line for each word
)

_SUFFIXES = (
    "iousness", "fulness", "istically", "ousness", "ingly", "fully", "ously", "ically", "istic", "ation", "ible",
    "able", "ness", "ment", "ance", "ence", "ancy", "ency", "etic", "ical", "ious", "ful", "ous", "ing", "ion", "ive",
    "ism", "ity", "ory", "ant", "ent", "ate", "ies", "ed", "ic", "ia", "es", "s", "e", "y", "i",
)  # fmt: skip


def stem(word: str) -> str:
    """The stem of one lower-case word: suffixes off until none is left or three letters remain."""
    word = re.sub(r"our$", "or", word)
    while True:
        for suffix in _SUFFIXES:
            plural = suffix != "s" or not word.endswith("ss")
            if word.endswith(suffix) and len(word) - len(suffix) >= 3 and plural:
                word = word[: -len(suffix)]
                break
        else:
            break
    if len(word) > 5 and word.endswith("at"):  # meditat(ive), medit(ation)
        word = word[:-2]
    if len(word) > 3 and word[-1] == word[-2]:  # regrett(able), regret
        word = word[:-1]
    return re.sub(r"our$", "or", word)


def words(text: str) -> list[str]:
    """Lower-case words of a text; hyphens separate, apostrophes do not."""
    return re.findall(r"[a-z0-9&]+(?:'[a-z]+)?", text.lower().replace("’", "'"))


def content_stems(text: str) -> list[str]:
    """Stems of the words of a text that carry meaning, in order.

    Never empty for a text that has words: one made of weak words only ("feel-good") is a stem as a whole.
    """
    every = [word.removesuffix("'s") for word in words(text)]
    strong = [word for word in every if word not in WEAK]
    return [stem(word) for word in strong] or [" ".join(every)] * bool(every)
