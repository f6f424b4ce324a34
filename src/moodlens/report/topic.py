"""What a report is written from: topics, the parts of each, and what they need of the study.

A part is a function of the subject and of what its topic needs, which yields blocks (and sections, which stand under
the topic). It may need more for itself: :func:`needs`. Where something was not measured, the reader is told so with the
command that measures it, or the part is left out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from moodlens.report.document import Absent, Block, Section
from moodlens.report.subject import Needed, Subject, command

Blocks = Iterable[Block | Section]
Part = Callable[..., Blocks]


def needs(*needed: Needed, absent: str = "") -> Callable[[Part], Part]:
    """Give a part what it needs beside what its topic does, as further arguments.

    Args:
        needed: what the part cannot do without.
        absent: what the reader is told was not measured. Empty: the part is left out without a word.
    """

    def decorate(write: Part) -> Part:
        @wraps(write)
        def part(subject: Subject, *given: Any) -> Blocks:
            values = [subject.get(need) for need in needed]
            missing = _first_missing(needed, values)
            if missing is None:
                return write(subject, *given, *values)
            return [Absent(absent, command(missing))] if absent else []

        return part

    return decorate


@dataclass(frozen=True)
class Topic:
    """A section of the report: its words and its pictures."""

    id: str
    title: str | Callable[[Subject], str]
    parts: tuple[Part, ...]
    needs: tuple[Needed, ...] = ()
    """What the topic is about; given to every part."""
    absent: str = ""
    """What the reader is told was not measured where that is not there."""
    labels: bool = True
    """Speaks of labels, so there is nothing to say of ratings alone."""

    def section(self, subject: Subject) -> Section | None:
        """What there is to say on the topic; None where that is nothing."""
        if self.labels and not subject.emotions:
            return None
        title = self.title if isinstance(self.title, str) else self.title(subject)
        values = [subject.get(need) for need in self.needs]
        missing = _first_missing(self.needs, values)
        if missing is not None:
            return Section(self.id, title, (Absent(self.absent, command(missing)),))
        blocks = [block for part in self.parts for block in part(subject, *values)]
        if not blocks:
            return None
        plain = tuple(block for block in blocks if not isinstance(block, Section))
        return Section(self.id, title, plain, tuple(block for block in blocks if isinstance(block, Section)))


def _first_missing(needed: tuple[Needed, ...], values: list[Any]) -> Needed | None:
    return next((need for need, value in zip(needed, values, strict=True) if value is None), None)
