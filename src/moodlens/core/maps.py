"""Memory maps whose pages do not pile up in a process: what was read goes back to the system, which keeps it while it can."""

import mmap
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

HELD = 3 * 2**29
"""Bytes of mapped files that a process holds, about, before it gives them back."""
_LOOK = 2**28
"""Bytes read, at most, between two looks at how much is held."""
_AROUND = 2**16
"""Bytes that the system maps with a row that is read alone."""


class Pages:
    """Gives the pages of memory maps back once they are many.

    Else they would count as memory of the process, up to the size of the files. They stay in the system's cache, from
    where they come back at once.
    """

    def __init__(self) -> None:
        self._read = 0

    def count(self, rows: int, row_bytes: int, maps: Iterable[np.ndarray], *, apart: bool) -> None:
        """Note that so many rows were read or written through some of the ``maps``; ``apart``: here and there."""
        self._read += rows * max(_AROUND if apart else 0, row_bytes)
        if self._read < _LOOK:
            return
        self._read = 0
        if _mapped() < HELD or not hasattr(mmap, "MADV_DONTNEED"):
            return
        for one in maps:
            pages = getattr(one, "_mmap", None)
            if pages is not None:
                pages.madvise(mmap.MADV_DONTNEED)


def _mapped() -> int:
    """Bytes of files that this process has mapped and in memory; all there may be where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return HELD
