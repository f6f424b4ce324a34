"""One generated prompt, on its way into a table."""

from dataclasses import dataclass


@dataclass
class Prompt:
    """A row of the prompts' table but for ``source``; ``twin`` is the row itself, and its id once all have one."""

    text: str
    kind: str
    group: str
    split: str
    style: str | None
    emotion: str | None = None
    concept: str | None = None
    about: str | None = None
    instrument: str | None = None
    genre: str | None = None
    intensity: str | None = None
    twin: "Prompt | None" = None
    id: str = ""

    def values(self, columns: tuple[str, ...]) -> tuple[str | None, ...]:
        """What the columns of a table say of it; a twin by its id."""
        told = self.__dict__ | {"twin": None if self.twin is None else self.twin.id}
        return tuple(told[column] for column in columns)
