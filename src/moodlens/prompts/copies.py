"""Texts that are one observation: copies share a group, so that none is judged by its twin.

Copies are texts of the same words: without case, punctuation, blanks and invisible characters, in any order (lists
of tags are copied shuffled). Numbers count as words: "120 BPM" and "60 BPM" may be different music, so texts that
differ in numbers alone are counted and reported, but not joined.
"""

from collections.abc import Container, Iterable
from typing import TYPE_CHECKING

from moodlens.settings.labels import DOTLESS, IGNORED

if TYPE_CHECKING:
    import polars as pl

_WORD = r"[\p{L}\p{M}\p{N}\p{So}]+"
_NUMBER = r"[^ ]*\p{N}[^ ]*"
_END = " .,;:!?…。！？\"'“”‘’«»"


def folded(texts: "pl.Series") -> "pl.Series":
    """Texts without what a copy changes and no reader minds: case, blanks, what is invisible, quotes and end marks."""
    import polars as pl

    visible = texts.str.normalize("NFKC").str.replace_all(IGNORED, "").str.to_lowercase()
    spaced = visible.str.replace_all(DOTLESS, "i").str.replace_all(r"\s+", " ").alias("spaced")
    bare = pl.col("spaced").str.strip_chars(_END)
    return (
        spaced.to_frame()
        .select(pl.when(bare != "").then(bare).otherwise("spaced").alias("folded"))
        .to_series()
    )


def copy_keys(texts: "pl.Series") -> "pl.Series":
    """A key that copies share: their words in alphabetical order; a text without words keeps its characters."""
    import polars as pl

    same = folded(texts)
    words = same.str.extract_all(_WORD).list.join(" ")
    # Python sorts short lists twenty times as fast as polars.
    keys = [" ".join(sorted(of.split(" "))) or text for of, text in zip(words, same, strict=True)]
    return pl.Series("key", keys, dtype=pl.String)


def without_numbers(keys: "pl.Series") -> "pl.Series":
    """Keys of :func:`copy_keys` without the words that hold digits, if that leaves any."""
    import polars as pl

    bare = keys.str.replace_all(_NUMBER, "").str.replace_all(" +", " ").str.strip_chars()
    return (
        bare.to_frame("bare").select(pl.when(pl.col("bare") != "").then("bare").otherwise(keys)).to_series()
    )


def join_groups(groups: Iterable[str], keys: Iterable[str | None]) -> list[str]:
    """Groups that share a key become one, named after the first of them; a key of None joins nothing."""
    parent: dict[str, str] = {}
    first: dict[str, str] = {}

    def root(group: str) -> str:
        while (above := parent.get(group, group)) != group:
            parent[group] = parent.get(above, above)
            group = parent[group]
        return group

    groups = list(groups)
    for group, key in zip(groups, keys, strict=True):
        if key is not None:
            here, there = root(group), root(first.setdefault(key, group))
            if here != there:
                parent[here] = there
    return [root(group) for group in groups]


def count_copies(texts: Iterable[Iterable[str]], known: Container[str]) -> int:
    """How many texts, each given as its readings (the whole, its sentences), have one of the keys ``known``."""
    import polars as pl

    pieces = [(number, piece) for number, readings in enumerate(texts) for piece in readings]
    numbers, keys = (
        [n for n, _ in pieces],
        copy_keys(pl.Series([piece for _, piece in pieces], dtype=pl.String)),
    )
    return len({number for number, key in zip(numbers, keys, strict=True) if key in known})
