"""Files that are either whole or absent: written to a temporary name, synced, renamed."""

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core.errors import BadInput

if TYPE_CHECKING:
    import polars as pl


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on any error it is removed.

    Raises:
        BadInput: the folder cannot be written or the disk is full.
    """
    path = Path(path)
    tmp = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield tmp
        with open(tmp, "rb") as file:
            os.fsync(file.fileno())
        os.replace(tmp, path)
        _sync_folder(path.parent)
    except OSError as error:
        tmp.unlink(missing_ok=True)
        raise BadInput(f"{path}: cannot write: {error.strerror or error}") from error
    except BaseException:
        tmp.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    # Without this the rename itself may be lost when the machine dies.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def plain(value: Any) -> Any:
    """Turn numpy scalars and arrays, tuples and NaN into what strict JSON can hold (NaN becomes null)."""
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
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: not valid JSON at line {error.lineno}, column {error.colno}") from error


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

    if not Path(path).is_file():
        raise BadInput(f"{path}: no such file")
    try:
        return pl.read_parquet(path, use_pyarrow=False, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from error


def file_sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(*things: Any) -> str:
    """A stable hex hash of JSON-able values and numpy arrays; equal inputs give equal digests on any machine."""
    h = hashlib.sha256()
    for thing in things:
        if isinstance(thing, np.ndarray):
            h.update(f"array {thing.dtype.str} {thing.shape}".encode())
            h.update(np.ascontiguousarray(thing).tobytes())
        else:
            h.update(json.dumps(plain(thing), sort_keys=True, ensure_ascii=False).encode())
        h.update(b"\0")
    return h.hexdigest()
