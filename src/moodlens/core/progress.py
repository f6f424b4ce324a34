"""How long work reports where it is, without the library ever printing."""

import time
from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called as ``progress(what, done, total)``; ``total`` counts the unit that ``what`` names."""
MINUTE = 60.0


def silent(what: str, done: int, total: int) -> None:
    """The progress of a caller that does not want to know."""


def shifted(progress: Progress, begin: int, total: int) -> Progress:
    """What a part of ``total`` that begins at ``begin`` reports, as progress of the whole."""
    return lambda what, done, _: progress(what, begin + done, total)


def progress_lines(
    write: Callable[[str], None], every: float = MINUTE, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """Progress as lines, at most one in ``every`` seconds, the first after as long: short work says nothing."""
    began: dict[str, tuple[float, int]] = {}
    last = clock()

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        now = clock()
        start, before = began.setdefault(what, (now, done))
        if now - last < every or total <= 0:
            return
        last = now
        left = (now - start) / (done - before) * (total - done) if done > before else None
        more = "" if left is None else f", {_duration(left)} left"
        write(f"{what}: {done:,} of {total:,}, {done / total:.0%}{more}")

    return show


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / MINUTE), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else "less than a minute"
