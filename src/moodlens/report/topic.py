"""What a report is written from: topics, the parts of each, and what they need of the study.

A part is a function of the study and of what its topic needs, which yields blocks (and sections, which stand under the
topic). It may need more for itself: :func:`needs`. Where something was not measured, the reader is told so with the
command that measures it, or the part is left out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from moodlens.report.document import Absent, Block, Section
from moodlens.report.evidence import Evidence
from moodlens.report.files import command_of

Blocks = Iterable[Block | Section]
Part = Callable[..., Blocks]


def needs(*names: "str | Need", absent: str = "") -> Callable[[Part], Part]:
    """Give a part what it needs beside what its topic does, as further arguments.

    Args:
        names: what the part cannot do without.
        absent: what the reader is told was not measured. Empty: the part is left out without a word.
    """

    def decorate(write: Part) -> Part:
        @wraps(write)
        def part(study: Evidence, *given: Any) -> Blocks:
            values = _read(study, names)
            if not isinstance(values, Missing):
                return write(study, *given, *values)
            return [Absent(absent, values.command)] if absent else []

        return part

    return decorate


@dataclass(frozen=True)
class Topic:
    """A section of the report: its words and its pictures."""

    id: str
    title: str
    parts: tuple[Part, ...]
    needs: "tuple[str | Need, ...]" = ()
    """What the topic is about; given to every part."""
    absent: str = ""
    """What the reader is told was not measured where that is not there."""

    def section(self, study: Evidence) -> Section | None:
        """What the study has to say on the topic; None where that is nothing."""
        values = _read(study, self.needs)
        if isinstance(values, Missing):
            return Section(self.id, self.title, (Absent(self.absent, values.command),))
        blocks = [block for part in self.parts for block in part(study, *values)]
        if not blocks:
            return None
        under = tuple(block for block in blocks if isinstance(block, Section))
        return Section(
            self.id, self.title, tuple(block for block in blocks if not isinstance(block, Section)), under
        )


@dataclass(frozen=True)
class Need:
    """Something of a study that is neither a record nor a table."""

    read: Callable[[Evidence], Any]
    """None where it is not there."""
    command: str
    """What measures it."""


@dataclass(frozen=True)
class Missing:
    """Something was not measured; ``command`` measures it."""

    command: str


def _read(study: Evidence, needs: tuple[str | Need, ...]) -> list[Any] | Missing:
    values = []
    for need in needs:
        values.append(need.read(study) if isinstance(need, Need) else getattr(study, need))
        if values[-1] is None:
            return Missing(need.command if isinstance(need, Need) else command_of(need))
    return values
