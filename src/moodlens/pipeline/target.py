"""Tables that a verb writes where it is told to: .csv or .parquet, whole or not at all, whatever their length."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from moodlens.core.errors import BadInput
from moodlens.core.files import atomic_write
from moodlens.settings.study import expand_path, is_hub_table
from moodlens.study.state import read_states
from moodlens.study.study import Study


def check_target(out: Path, source: Path) -> None:
    """Refuse, before any work, a file that :func:`write_frame` could not or should not write.

    Raises:
        BadInput: another ending than .csv or .parquet, a folder, or the table that is read.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise BadInput(f"{out}: tables are written as .csv or .parquet")
    if out.is_dir():
        raise BadInput(f"{out}: is a folder; name a file")
    if out.exists() and source.exists() and out.samefile(source):
        raise BadInput(f"{out}: is the table that is read; it would be overwritten: name another file")


def check_kept(out: Path, study: Study) -> None:
    """Refuse a file that a study reads or is made of, before it is written over.

    Raises:
        BadInput: it is one of the study's own files, or a table of its texts.
    """
    settings = study.settings
    paths = [table.path for table in (*settings.prompts.tables, *settings.transfer)]
    tables = [expand_path(path) for path in paths if not is_hub_table(path)]
    own = [study.path / name for record in read_states(study.path).values() for name in record.files]
    for kept, what in (
        *((path, "a table that the study reads") for path in tables),
        *((path, "a file of the study") for path in own),
    ):
        if out.exists() and kept.exists() and out.samefile(kept):
            raise BadInput(f"{out}: is {what}; it would be overwritten: name another file")


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a table as .csv or .parquet, by the name's ending.

    Raises:
        BadInput: another ending, or the file cannot be written.
    """
    with appended(path) as append:
        append(frame)


@contextmanager
def appended(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Write a table as .csv or .parquet part by part; it takes effect when all parts are there.

    Yields:
        What appends a part; all have the same columns.

    Raises:
        BadInput: the file cannot be written.
    """
    with atomic_write(path) as tmp, _csv(tmp) if path.suffix == ".csv" else _parquet(tmp) as append:
        yield append


@contextmanager
def _csv(tmp: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    with open(tmp, "wb") as file:
        yield lambda frame: frame.write_csv(file, include_header=file.tell() == 0)


@contextmanager
def _parquet(tmp: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Parts lie beside the file until polars streams them into it: it writes no Parquet file piece by piece."""
    with tempfile.TemporaryDirectory(prefix=f"{tmp.stem}.", dir=tmp.parent) as folder:
        parts: list[Path] = []

        def append(frame: pl.DataFrame) -> None:
            parts.append(Path(folder) / f"{len(parts)}.parquet")
            with _full_disk():
                frame.write_parquet(parts[-1])

        yield append
        with _full_disk():
            if len(parts) == 1:
                parts[0].replace(tmp)
            else:
                pl.scan_parquet(parts, glob=False).sink_parquet(tmp)


@contextmanager
def _full_disk() -> Iterator[None]:
    try:
        yield
    except pl.exceptions.ComputeError as error:  # how polars reports one
        raise OSError(str(error)) from error


def records(frame: pl.DataFrame) -> list[dict[str, object]]:
    """Rows as dicts with NaN as null."""
    return [
        {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
        for row in frame.to_dicts()
    ]
