"""What people see: one JSON object, or readable lines; progress bars on a terminal only."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moodlens.core.files import plain
from moodlens.core.progress import Progress, silent


def emit(value: dict[str, Any], as_json: bool, lines: list[str] | None = None) -> None:
    """Print ``value`` as one JSON object, or ``lines`` (default: its top-level entries) for people."""
    if as_json:
        print(json.dumps(plain(value), ensure_ascii=False, allow_nan=False))
        return
    for line in lines if lines is not None else describe(value):
        print(line)


def describe(value: dict[str, Any], indent: str = "") -> list[str]:
    """``{"a": 1.23456, "b": {"c": 2}}`` as aligned lines."""
    width = max((len(str(key)) for key in value), default=0)
    lines = []
    for key, item in value.items():
        if isinstance(item, dict):
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


def table(header: list[str], rows: list[list[Any]]) -> list[str]:
    """Rows in aligned columns; numbers to the right."""
    cells = [header, *[[number(item) for item in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    right = [bool(rows) and isinstance(rows[0][i], (int, float)) for i in range(len(header))]

    def line(row: list[str]) -> str:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        return "  ".join(parts).rstrip()

    return [line(cells[0]), "  ".join("-" * width for width in widths), *[line(row) for row in cells[1:]]]


@contextmanager
def progress_bars(as_json: bool) -> Iterator[Progress]:
    """Progress bars on standard error while it is a terminal and no JSON was asked for; silence otherwise."""
    if as_json or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description:<34}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True), transient=False) as bars:
        tasks: dict[str, Any] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show
