"""The grammar: any number of unique prompts in which nothing but the words of emotion goes with the emotion."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from moodlens.core import BadInput
from moodlens.prompts.prompt import Prompt
from moodlens.prompts.special import write_special
from moodlens.prompts.vocabulary import EMOTIONS, NEUTRAL, Unit
from moodlens.prompts.writer import Text, Writer

if TYPE_CHECKING:
    import polars as pl

MAX_PROMPTS = 100_000
FACTORS = ("instrument", "genre", "intensity", "style")
COLUMNS = ("id", "text", "emotion", "concept", "kind", "about", "split", "group", *FACTORS, "twin", "source")
"""Columns of every frame of prompts; all are text."""
SOURCE = "grammar"
BARE_SHARE = 1 / 3
"""Share of the neutral prompts, twins aside, that hold facts only and no neutral scene or word."""
_TRIES = 300


def generate(
    n: int,
    *,
    seed: int,
    emotions: Sequence[str] = EMOTIONS,
    neutral_share: float = 0.2,
    twin_share: float = 0.15,
    special: float = 0.04,
    held_out_share: float = 0.25,
    caption_share: float = 0.08,
    scene_share: float = 0.2,
) -> "pl.DataFrame":
    """Write ``n`` unique prompts, in random order.

    Instrument, genre, intensity and style are dealt from balanced shuffled decks within each emotion, so
    that none of them goes with an emotion; so are the lexemes of an emotion, and its scenes.

    Args:
        n: rows, 1 to 100,000.
        seed: equal seeds (and settings) give equal tables.
        emotions: two or more of :data:`EMOTIONS`; rows are dealt evenly among them.
        neutral_share: share of all rows without an emotion, twins included.
        twin_share: share of the emotion rows that get a neutral twin: the same words without the emotion.
        special: share of all rows that deny an emotion (kind ``negation``, two in three of them) or mix two (``mixed``).
            A denied row has a twin too: the plain row that says what it denies.
        held_out_share: share of the other rows made from held-out words, scenes and templates.
        caption_share: share of captions of several sentences (they cost the most time to encode).
        scene_share: share of the emotion rows that paint a scene, a metaphor or a listening situation; the others
            use a word or phrase for the emotion. Scenes are the variety of the table: each brings words that no
            other has, so the more of them, the less of a text can be explained by what texts share.

    Returns:
        A frame with :data:`COLUMNS`. ``split`` is ``held_out`` for held-out words, scenes and wordings and for mixtures,
        and empty for the others, which :func:`assign_splits` deals. A twin has its prompt's group and split.

    Raises:
        BadInput: a setting is out of range, or so many unique texts cannot be made.
    """
    import polars as pl

    emotions = tuple(emotions)
    _check(n, emotions, neutral_share, twin_share, special, held_out_share, caption_share, scene_share)
    n_special, n_neutral = round(n * special), round(n * neutral_share)
    n_emotion = n - n_special - n_neutral
    n_twins = round(n_emotion * twin_share)
    if n_twins > n_neutral:
        raise BadInput(
            f"prompts: twin_share {twin_share:g} asks for {n_twins} neutral twins, but neutral_share "
            f"{neutral_share:g} allows {n_neutral} neutral prompts; raise neutral_share or lower twin_share"
        )
    # (owner, held out) -> rows, and how many of them have a neutral twin.
    parts: dict[tuple[str, bool], tuple[int, int]] = {}
    for owner, count, twins in (*_shares(emotions, n_emotion, n_twins), (NEUTRAL, n_neutral - n_twins, 0)):
        n_held_out = round(count * held_out_share)
        twins_held_out = min(round(twins * held_out_share), n_held_out)
        parts[owner, False] = count - n_held_out, twins - twins_held_out
        parts[owner, True] = n_held_out, twins_held_out
    seen: set[str] = set()
    rows: list[Prompt] = []
    written: Counter[tuple[str, bool]] = Counter()
    for row in write_special(n_special, emotions, f"{seed}/special", seen):
        rows.append(row)
        if (plain := row.twin) is not None:
            assert plain.emotion is not None
            part = plain.emotion, plain.split == "held_out"
            if written[part] < parts[part][0] - parts[part][1]:
                written[part] += 1
                rows.append(plain)
            else:  # the emotion has no room for it
                row.twin = None
    for (owner, held_out), (size, twins) in parts.items():
        writer = Writer(f"{seed}/{owner}/{held_out}", held_out=held_out, caption_share=caption_share)
        rows.extend(_write_part(writer, owner, size - written[owner, held_out], twins, scene_share, seen))

    random.Random(f"{seed}/order").shuffle(rows)
    for index, row in enumerate(rows):
        row.id = f"g{index:06d}"
    told = COLUMNS[:-1]
    frame = pl.DataFrame(
        [row.values(told) for row in rows], schema=dict.fromkeys(told, pl.String), orient="row"
    )
    return frame.with_columns(source=pl.lit(SOURCE))


def _check(n: int, emotions: tuple[str, ...], *shares: float) -> None:
    if not 1 <= n <= MAX_PROMPTS:
        raise BadInput(f"prompts: cannot generate {n} prompts; ask for 1 to {MAX_PROMPTS}")
    unknown = [emotion for emotion in emotions if emotion not in EMOTIONS]
    if unknown:
        raise BadInput(
            f"prompts: the grammar has no words for {', '.join(unknown)}; it knows {', '.join(EMOTIONS)} "
            "(give texts for other emotions as a table)"
        )
    if len(emotions) < 2 or len(set(emotions)) < len(emotions):
        raise BadInput("prompts: give two or more different emotions")
    names = ("neutral_share", "twin_share", "special", "held_out_share", "caption_share", "scene_share")
    for name, share in zip(names, shares, strict=True):
        if not 0 <= share <= 1:
            raise BadInput(f"prompts: {name} is a share between 0 and 1, not {share:g}")
    if shares[0] + shares[2] > 1:
        raise BadInput("prompts: neutral_share and special together exceed 1")


def _shares(emotions: tuple[str, ...], n: int, n_twins: int) -> Iterator[tuple[str, int, int]]:
    """Each emotion with its part of both totals; parts differ by at most one."""
    count = len(emotions)
    for index, emotion in enumerate(emotions):
        rows, twins = ((total + count - 1 - index) // count for total in (n, n_twins))
        yield emotion, rows, twins


def _write_part(
    writer: Writer, owner: str, n: int, n_twins: int, scene_share: float, seen: set[str]
) -> Iterator[Prompt]:
    """``n`` rows of one owner and, beside them, ``n_twins`` neutral twins."""
    n_bare = round(n * BARE_SHARE) if owner == NEUTRAL else 0
    n_scenes = round((n - n_bare) * scene_share)
    decks = [None] * n_bare + ["scene"] * n_scenes + ["lexeme"] * (n - n_bare - n_scenes)
    writer.decks.random.shuffle(decks)
    with_twin = [index < n_twins for index in range(n)]
    writer.decks.random.shuffle(with_twin)
    for deck, twin in zip(decks, with_twin, strict=True):
        unit = writer.choose(owner, deck == "lexeme") if deck is not None else None
        made = _new_text(writer, unit, twin, seen)
        row = _row(made.text, unit, made, writer.held_out)
        if twin:
            assert made.bare is not None
            bare = _row(made.bare, None, made, writer.held_out)
            told = made.bare_factors
            instrument, genre = (told.get(name, getattr(bare, name)) for name in ("instrument", "genre"))
            row.twin = replace(bare, instrument=instrument, genre=genre, group=row.group, intensity=None)
            yield row.twin
        yield row


def _new_text(writer: Writer, unit: Unit | None, twin: bool, seen: set[str]) -> Text:
    """A text, with a twin if wanted, that nobody has written yet; it is marked as seen."""
    for _ in range(_TRIES):
        made = writer.write(unit, twin=twin) if unit is not None else writer.write_facts()
        keys = [made.text.casefold()]
        if twin:
            assert made.bare is not None
            keys.append(made.bare.casefold())
        if seen.isdisjoint(keys):
            seen.update(keys)
            return made
    raise BadInput("prompts: the grammar cannot make so many unique prompts with these shares; ask for fewer")


def _row(text: str, unit: Unit | None, made: Text, held_out: bool) -> Prompt:
    emotion = None if unit is None or unit.owner == NEUTRAL else unit.owner
    factors = dict.fromkeys(FACTORS) | made.factors
    if unit is not None:
        group = unit.group
    else:
        words = "held-out facts" if held_out else "facts"
        group = f"{NEUTRAL}/{words}/{factors['genre'] or factors['instrument'] or made.template}"
    return Prompt(
        text=text,
        emotion=emotion,
        concept=unit.concept if unit is not None and emotion is not None else None,
        kind="neutral" if emotion is None else "plain",
        split="held_out" if held_out else "",
        group=group,
        instrument=factors["instrument"],
        genre=factors["genre"],
        intensity=factors["intensity"],
        style=made.style,
    )
