"""Memory maps whose pages do not pile up in a process: what was read goes back to the system, which keeps it while it can."""

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from moodlens.core.errors import BadInput

HELD = 3 * 2**29
"""Bytes of mapped files that a process holds, about, before it gives them back."""
_LOOK = 2**28
"""Bytes read, at most, between two looks at how much is held."""
_AROUND = 2**16
"""Bytes that the system maps with a row that is read alone."""
BLOCK = 2**26
"""Bytes of rows that are looked at together."""
_rooms: "weakref.WeakValueDictionary[int, np.memmap]" = weakref.WeakValueDictionary()
"""Every file without a name that is in use: its pages can be given back whoever reads."""


def room(n: int, width: int, held: float = 2**30, dtype: type[np.generic] = np.float32) -> np.ndarray:
    """``(n, width)`` numbers, in memory, or on disk in a file without a name where they have more than ``held`` bytes.

    The file lies where temporary files do that may be large, and is gone with the array.

    Raises:
        BadInput: there is no room for the file.
    """
    n_bytes = n * width * np.dtype(dtype).itemsize
    if n_bytes <= held:
        return np.empty((n, width), dtype=dtype)
    mode = "r+" if hasattr(os, "posix_fallocate") else "w+"
    folder = _large_files()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if mode == "r+":  # a full disk is an error here, and the end of the process later
                os.posix_fallocate(file.fileno(), 0, n_bytes)
            array = np.memmap(file, dtype=dtype, mode=mode, shape=(n, width))
            _rooms[id(array)] = array
            return array
    except OSError as error:
        raise BadInput(
            f"{folder}: {error.strerror} for {n:,} rows of {width:,} numbers ({n_bytes / 2**30:.1f} GiB), which are "
            "more than engine.memory holds: raise that, or set TMPDIR to a folder with room"
        ) from error


def _large_files() -> str:
    """A folder of temporary files on a disk: /tmp is memory on many systems, and /var/tmp there is for large ones."""
    asked = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    return "/var/tmp" if not asked and os.access("/var/tmp", os.W_OK | os.X_OK) else tempfile.gettempdir()


def blocks(
    array: np.ndarray,
    rows: np.ndarray | None = None,
    columns: slice | np.ndarray | None = None,
    *,
    size: int | None = None,
) -> Iterator[np.ndarray]:
    """The rows ``rows`` (int, rising; None: all) of ``array (n, d)``, a few at a time, of ``columns`` (int or a slice) alone.

    Of an array on disk, the pages that were read are given back on the way. ``size``: rows at a time; None: as many as
    :data:`BLOCK` holds.
    """
    pages, n = Pages(), len(array) if rows is None else len(rows)
    row_bytes = max(1, array[:1].nbytes)
    size = size or max(1, BLOCK // row_bytes)
    columns = slice(None) if columns is None else columns
    for begin in range(0, n, size):
        part = slice(begin, begin + size) if rows is None else rows[begin : begin + size]
        if isinstance(part, slice) or isinstance(columns, slice):
            block = np.asarray(array[part, columns])
        else:
            block = np.asarray(array[part[:, None], columns])
        yield block
        pages.count(len(block), row_bytes, [array], apart=False)


def taken(array: np.ndarray, rows: np.ndarray, memory: float) -> np.ndarray:
    """``array[rows]`` as float32, rows (int, rising): where :func:`room` puts it.

    Args:
        array: ``(n, d)``.
        rows: numbers of the rows.
        memory: GiB that they may take in memory.

    Raises:
        BadInput: there is no room for the file.
    """
    out, begin, pages = room(len(rows), array.shape[1], memory * 2**30), 0, Pages()
    for block in blocks(array, rows):
        out[begin : begin + len(block)] = block
        begin += len(block)
        pages.count(len(block), out[:1].nbytes, [out], apart=False)
    return out


def columns_of(array: np.ndarray, rows: np.ndarray, columns: slice) -> np.ndarray:
    """``array[rows, columns]`` in memory."""
    out = np.empty((len(rows), len(range(*columns.indices(array.shape[1])))), dtype=array.dtype)
    begin = 0
    for block in blocks(array, rows, columns):
        out[begin : begin + len(block)] = block
        begin += len(block)
    return out


def beside(parts: Sequence[tuple[np.ndarray, np.ndarray]], memory: float) -> np.ndarray:
    """Columns of several arrays of as many rows, side by side, ``(n, m)`` float32: where :func:`room` puts them.

    Args:
        parts: arrays ``(n, d)``, each with the numbers of its columns.
        memory: GiB that they may take in memory.

    Raises:
        BadInput: there is no room for the file.
    """
    n, pages = len(parts[0][0]), Pages()
    out = room(n, sum(len(columns) for _, columns in parts), memory * 2**30)
    first = 0
    for array, columns in parts:
        begin = 0
        for block in blocks(array, columns=columns):
            out[begin : begin + len(block), first : first + len(columns)] = block
            begin += len(block)
            pages.count(len(block), out[:1].nbytes, [out], apart=False)
        first += len(columns)
    return out


def spans(n_rows: int, n_columns: int) -> Iterator[slice]:
    """Neighbouring columns, so many at a time as :data:`BLOCK` holds of ``n_rows`` float64, at least one."""
    width = max(1, BLOCK // (8 * max(n_rows, 1)))
    for begin in range(0, n_columns, width):
        yield slice(begin, min(begin + width, n_columns))


class Pages:
    """Gives the pages of memory maps back once they are many.

    Else they would count as memory of the process, up to the size of the files. They stay in the system's cache, from
    where they come back at once.
    """

    def __init__(self) -> None:
        self._read = 0

    def count(self, rows: int, row_bytes: int, maps: Iterable[np.ndarray], *, apart: bool) -> None:
        """Note that so many rows were read or written through some of the ``maps``; ``apart``: here and there.

        What is given back is of all of these, and of what :func:`room` put on disk.
        """
        self._read += rows * max(_AROUND if apart else 0, row_bytes)
        if self._read < _LOOK:
            return
        self._read = 0
        if _mapped() < HELD or not hasattr(mmap, "MADV_DONTNEED"):
            return
        for mapped in [*maps, *(known() for known in _rooms.valuerefs())]:
            pages = getattr(mapped, "_mmap", None)
            if pages is not None:
                pages.madvise(mmap.MADV_DONTNEED)


def _mapped() -> int:
    """Bytes of files that this process has mapped and in memory; all there may be where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return HELD
