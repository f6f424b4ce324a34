"""What people see: one JSON object, or readable lines; progress as bars on a terminal, as a line a minute elsewhere."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from moodlens.cli.streams import complain, say, say_json
from moodlens.core.lines import describe
from moodlens.core.progress import Progress, progress_lines, silent


def emit(value: Mapping[str, object], as_json: bool, lines: list[str] | None = None) -> None:
    """Print ``value`` as one JSON object, or ``lines`` (default: its top-level entries) for people."""
    if as_json:
        say_json(value)
    else:
        say(lines if lines is not None else describe(value))


@contextmanager
def progress_bars(as_json: bool) -> Iterator[Progress]:
    """Progress on standard error: bars on a terminal, elsewhere a line a minute, which logs can hold; none with JSON."""
    if as_json:
        yield silent
        return
    if not sys.stderr.isatty():
        yield progress_lines(complain)
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
