"""Results as lines of text for people: aligned entries and tables."""

from collections.abc import Mapping
from typing import Any


def describe(value: Mapping[str, object], indent: str = "") -> list[str]:
    """``{"a": 1.23456, "b": {"c": 2}}`` as aligned lines."""
    width = max((len(str(key)) for key in value), default=0)
    lines = []
    for key, item in value.items():
        if isinstance(item, Mapping):
            lines += [f"{indent}{key}:", *describe(item, indent + "  ")]
        else:
            lines.append(f"{indent}{key!s:<{width}}  {number(item)}")
    return lines


def number(value: Any) -> str:
    """A value in the digits a reader wants."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(number(item) for item in value)
    return str(value)


def explained(variance: float | None) -> float | str | None:
    """Explained variance as it is shown: how far below -1 it lies says nothing more to a reader."""
    return "< -1" if variance is not None and variance < -1 else variance


def table(header: list[str], rows: list[list[Any]]) -> list[str]:
    """Rows in aligned columns; numbers to the right."""
    cells = [header, *[[number(item) for item in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    right = [bool(rows) and isinstance(rows[0][i], (int, float)) for i in range(len(header))]

    def line(row: list[str]) -> str:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        return "  ".join(parts).rstrip()

    return [line(cells[0]), "  ".join("-" * width for width in widths), *[line(row) for row in cells[1:]]]
