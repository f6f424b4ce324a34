"""What a report is made of: one tree of blocks that is written as HTML and as Markdown.

Text in a block may hold `code` between backticks and nothing else; whatever comes from a user's data goes through
:func:`plain_text` first. The templates escape everything.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tone = Literal["good", "bad", "warn", "none"]


_JOINERS = "\u200c\u200d"
"""Invisible characters that scripts and emoji need; every other invisible one is dropped."""


def plain_text(text: object) -> str:
    """A user's text on one line, with no character that the report would read as markup or that turns text around."""
    line = " ".join(str(text).split()).replace("`", "'")
    return line if line.isprintable() else "".join(c for c in line if c.isprintable() or c in _JOINERS)


def cut(text: object, limit: int = 300) -> str:
    """:func:`plain_text` that ends with an ellipsis where it is longer than ``limit`` characters."""
    line = plain_text(str(text)[: 20 * limit])  # a text of megabytes is not worth reading to its end
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def visible(text: str) -> str:
    """``text`` of several lines in which invisible characters are written as escapes, such as ``\\u202e``."""
    return "".join(
        c if c.isprintable() or c in _JOINERS or c == "\n" else c.encode("unicode_escape").decode()
        for c in text
    )


def emotion_label(emotion: object) -> str:
    """The name of an emotion as tables show it."""
    return cut(emotion, 120)


@dataclass(frozen=True)
class Cell:
    """A table cell that means well or ill; ``text`` says so in words, ``tone`` only colours it."""

    text: str
    tone: Tone = "none"


@dataclass(frozen=True)
class Paragraph:
    """Plain text."""

    text: str
    tone: Tone = "none"
    kind: ClassVar[str] = "paragraph"


@dataclass(frozen=True)
class Bullets:
    """A list of plain texts."""

    items: tuple[str, ...]
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Table:
    """Rows of data; the first column names the row. ``numeric`` columns are set flush right."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str | Cell, ...], ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Picture:
    """A figure: its name in ``figures/``, how to read it, what it shows for those who cannot see it, how to draw it."""

    name: str
    caption: str
    alt: str
    draw: "Callable[[], Figure]" = field(repr=False, compare=False)
    kind: ClassVar[str] = "picture"


@dataclass(frozen=True)
class Absent:
    """What was not measured, and the command that would measure it."""

    what: str
    command: str | None = None
    kind: ClassVar[str] = "absent"


@dataclass(frozen=True)
class Method:
    """A formula with its meaning and source; ``math`` is MathML, ``text`` the same as plain text."""

    name: str
    math: str
    text: str
    meaning: str
    source: str = ""
    kind: ClassVar[str] = "method"


@dataclass(frozen=True)
class Listing:
    """Verbatim text, such as settings or a command."""

    text: str
    language: str = ""
    kind: ClassVar[str] = "listing"


@dataclass(frozen=True)
class Fold:
    """Blocks that are folded away on screen and open in print."""

    summary: str
    blocks: "tuple[Block, ...]"
    kind: ClassVar[str] = "fold"


@dataclass(frozen=True)
class Player:
    """A clip to listen to; ``source`` is a path relative to the report."""

    label: str
    source: str


@dataclass(frozen=True)
class Players:
    """Clips to compare."""

    caption: str
    players: tuple[Player, ...]
    kind: ClassVar[str] = "players"


Block = Players | Paragraph | Bullets | Table | Picture | Absent | Method | Listing | Fold


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    id: str
    title: str
    blocks: tuple[Block, ...]
    sections: "tuple[Section, ...]" = field(default=())

    def every_block(self) -> "Iterator[Block]":
        """The blocks of the section and of those under it, folded ones too, in order."""
        todo = list(self.blocks)
        while todo:
            block = todo.pop(0)
            yield block
            if isinstance(block, Fold):
                todo[:0] = block.blocks
        for section in self.sections:
            yield from section.every_block()


@dataclass(frozen=True)
class Report:
    """The whole report. ``first_line`` names the encoder; ``verdict`` says go or no-go in one sentence.

    ``warning`` is what must be read before anything else, such as that the labels were shuffled; mostly empty.
    """

    first_line: str
    title: str
    verdict: str
    tone: Tone
    sections: tuple[Section, ...]
    warning: str = ""

    def every_block(self) -> Iterator[Block]:
        """All blocks, in order."""
        for section in self.sections:
            yield from section.every_block()

    @property
    def plays(self) -> bool:
        """Whether there is anything to listen to."""
        return any(isinstance(block, Players) for block in self.every_block())

    @property
    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        return [block for block in self.every_block() if isinstance(block, Picture)]
