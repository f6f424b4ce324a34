"""Balanced draws: every card comes up once before any comes up twice."""

import random
from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

Card = TypeVar("Card")


class Decks:
    """Named decks of one part of the table (one emotion), dealt from one seeded generator.

    Dealing every factor from its own shuffled deck within every emotion is what makes the table
    counterbalanced: each emotion meets each instrument equally often, give or take one.
    """

    def __init__(self, seed: str):
        self.random = random.Random(seed)
        self._left: dict[Hashable, list[Any]] = {}

    def deal(self, name: Hashable, cards: Sequence[Card]) -> Card:
        """The next card of the deck ``name``, which holds ``cards``; reshuffled when it runs out."""
        left = self._left.get(name)
        if not left:
            left = list(cards)
            self.random.shuffle(left)
            self._left[name] = left
        return left.pop()
