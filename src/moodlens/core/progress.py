"""How long work reports where it is, without the library ever printing."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``; ``total`` counts the unit that ``what`` names."""


def silent(what: str, done: int, total: int) -> None:
    """The progress of a caller that does not want to know."""


def shifted(progress: Progress, begin: int, total: int) -> Progress:
    """What a part of ``total`` that begins at ``begin`` reports, as progress of the whole."""
    return lambda what, done, _: progress(what, begin + done, total)
