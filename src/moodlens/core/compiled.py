"""Compiled loops (numba): one set of options for all, and a place for their machine code wherever this runs.

numba keeps machine code beside the source, else in the user's cache folder (``NUMBA_CACHE_DIR`` goes before both).
Where it may write to neither, as in a read-only installation without a home, :func:`compiled` gives it a folder for
temporary files that is this user's alone; where there is none, code is compiled anew in each process. Either way the
loops are the same, and nothing is said.
"""

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    # Sums may be reordered and divisions approximated. But no nnan and no ninf: with them a comparison with NaN may come
    # out either way, and loops that count by one comparison and fill by another run past their arrays.
    # A sum belongs in a variable: one that grows in an array is reordered only where the arrays that it reads lie far enough
    # from it, so that its last bit would hang on addresses.
    "fastmath": {"reassoc", "contract", "arcp", "afn", "nsz"},
}


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a loop when it is first called with arguments of some types; the code is kept where that is possible."""
    return _dispatcher(function, forceinline=False)


def part(function: Callable[..., Any]) -> Any:
    """A piece of compiled loops: its code stands in each of them.

    As a function of its own it would be found by name: in the process that compiled it its own code, in a later one that
    which was kept with whatever loop is loaded first; and the two may round otherwise.
    """
    return _dispatcher(function, forceinline=True)


def _dispatcher(function: Callable[..., Any], *, forceinline: bool) -> Any:
    dispatcher: Any = numba.njit(**OPTIONS, forceinline=forceinline)(function)
    with suppress(RuntimeError):  # numba's word for no folder
        try:
            dispatcher._cache = _Cache(function)
        except RuntimeError:
            if _private_folder() is not None:
                with _cache_in(str(_private_folder())):
                    dispatcher._cache = _Cache(function)
    return dispatcher


class _Cache(FunctionCache):
    """numba's cache of one function, for which no file is a reason to stop: full disks, files cut off by a crash."""

    @contextmanager
    def _guard_against_spurious_io_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # noqa: BLE001 - a damaged pickle can raise anything
            with suppress(OSError):
                self.flush()


@cache
def keeps_kernels() -> bool:
    """Whether compiled loops are kept for the next run."""
    return isinstance(compiled(lambda: None)._cache, _Cache)


@cache
def _private_folder() -> Path | None:
    """A folder for temporary files that only this user can write to: what lies there is run as code."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    try:
        folder = Path(tempfile.gettempdir()) / f"moodlens-{user}"
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    if not stat.S_ISDIR(state.st_mode):
        return None
    if hasattr(os, "getuid") and (state.st_uid != os.getuid() or state.st_mode & 0o022):
        return None
    return folder


@contextmanager
def _cache_in(folder: str) -> Iterator[None]:
    before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, folder  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]
