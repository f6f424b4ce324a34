"""Files that are either whole or absent: written to a temporary name, synced, renamed."""

import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodlens.core.errors import BadInput
from moodlens.core.text import read_text, reason

if TYPE_CHECKING:
    import polars as pl
    from pydantic import JsonValue


_unfinished: set[Path] = set()
_SELF = secrets.token_hex(3)
"""Two machines that write into one folder may have processes of the same number."""


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on any error it is removed.

    A link is followed: what it points to is replaced.

    Raises:
        BadInput: the folder cannot be written or the disk is full.
    """
    target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    # Names may have 255 bytes, and a character up to 4.
    tmp = target.with_name(f".{target.name[:50]}.{os.getpid()}-{_SELF}.tmp")
    _unfinished.add(tmp)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield tmp
        with open(tmp, "rb") as file:
            os.fsync(file.fileno())
        os.replace(tmp, target)
    except FileExistsError as error:  # of the folders above it
        raise BadInput(f"{path}: cannot write: {error.filename} is no folder") from error
    except OSError as error:
        if error.filename is not None and not str(error.filename).startswith(str(target.parent)):
            raise  # another file, that was to be read
        raise BadInput(f"{path}: cannot write: {reason(error)}") from error
    finally:
        with suppress(OSError):
            tmp.unlink(missing_ok=True)
        _unfinished.discard(tmp)
    _sync_folder(target.parent)


def remove_unfinished() -> None:
    """Remove what threads are still writing, before a program ends without waiting for them."""
    for tmp in list(_unfinished):
        with suppress(OSError):
            tmp.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # Without this the rename itself may be lost when the machine dies. Not every file system can, or lets one.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def plain(value: Any) -> Any:
    """Turn numpy scalars and arrays, tuples and NaN into what strict JSON can hold (NaN becomes null)."""
    import numpy as np

    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as tmp:
        tmp.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """Read a JSON file.

    Raises:
        BadInput: it is missing, unreadable or not JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: not valid JSON at line {error.lineno}, column {error.colno}") from error
    except (RecursionError, ValueError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadInput(f"{path}: not valid JSON: {problem}") from error


def read_object(path: Path | str) -> "dict[str, JsonValue]":
    """Read a JSON file that holds one object.

    Raises:
        BadInput: it is missing, unreadable, not JSON, or holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise BadInput(f"{path}: holds no object")
    return value


def _no_number(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def write_table(path: Path | str, frame: "pl.DataFrame") -> None:
    """Write a polars frame as Parquet, whole or not at all."""
    import polars as pl

    with atomic_write(path) as tmp:
        try:
            frame.write_parquet(tmp)
        except pl.exceptions.ComputeError as error:  # how polars reports a full disk
            raise OSError(str(error)) from error


def read_table(path: Path | str) -> "pl.DataFrame":
    """Read a Parquet file written by :func:`write_table`.

    Raises:
        BadInput: it is missing, truncated or not Parquet.
    """
    import polars as pl

    try:
        # An open file: polars takes brackets in a name for a pattern, and `s3:` for a bucket.
        with open(path, "rb") as file:
            return pl.read_parquet(file, use_pyarrow=False)
    except OSError as error:
        raise BadInput(f"{path}: cannot read: {reason(error)}") from error
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise BadInput(f"{path}: not a readable Parquet file: {str(error).partition(chr(10))[0]}") from error


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*things: Any) -> str:
    """A stable hex hash of JSON-able values and numpy arrays; equal inputs give equal digests on any machine."""
    import numpy as np

    h = hashlib.sha256()
    for thing in things:
        if isinstance(thing, np.ndarray):
            h.update(f"array {thing.dtype.str} {thing.shape}".encode())
            h.update(np.ascontiguousarray(thing).reshape(-1).view(np.uint8).data)
        else:
            h.update(json.dumps(plain(thing), sort_keys=True, ensure_ascii=False).encode())
        h.update(b"\0")
    return h.hexdigest()
