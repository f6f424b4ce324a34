"""How long work reports where it is, without the library ever printing."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``; ``total`` counts the unit that ``what`` names."""


def silent(what: str, done: int, total: int) -> None:
    """The progress of a caller that does not want to know."""
