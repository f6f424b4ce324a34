"""The cells of a user's table, whatever program wrote it: text, one column for each that was asked for.

What can be read without doubt is read; anything else is one line that names the place and the cure.
"""

import bz2
import codecs
import difflib
import gzip
import io
import lzma
import os
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

from moodlens.core import BadInput
from moodlens.prompts.delimited import read_delimited
from moodlens.prompts.json_rows import read_json_rows
from moodlens.settings.labels import label_key

if TYPE_CHECKING:
    import polars as pl

READABLE = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".parquet")
_JSON = (".json", ".jsonl", ".ndjson")
_UNPACK = {
    b"\x1f\x8b": (".gz", gzip.open),
    b"BZh": (".bz2", bz2.open),
    b"\xfd7zXZ": (".xz", lzma.open),
}
"""How a packed file begins -> its ending, what unpacks it."""
_ZSTD = b"\x28\xb5\x2f\xfd"
LARGEST_UNPACKED = 4_000_000_000
"""Bytes that a packed table may hold: a few kilobytes can be packed zeros that fill a machine."""
LARGEST_ROWS = 200_000_000
"""Rows that a Parquet table may say it has, for the same reason."""
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NAMES_SHOWN = 20
_SAVE = "save it as UTF-8 (in Excel: CSV UTF-8)"


class Cells(NamedTuple):
    """What was read."""

    frame: "pl.DataFrame"
    """A column of text for each role; null where there is no value."""
    dialect: str
    encoding: str


def table_name(path: Path) -> tuple[str, str]:
    """Name and ending of a table of texts: ``captions.CSV.gz`` is ``("captions", ".csv")``.

    The ending is empty for a file that is none by its name.
    """
    packed = {".zst", *(ending for ending, _ in _UNPACK.values())}
    inner = path.with_suffix("") if path.suffix.lower() in packed else path
    ending = inner.suffix.lower()
    return inner.stem, ending if ending in READABLE else ""


def refuse_parts(folder: Path) -> None:
    """Refuse a folder of Parquet files, as other programs write one table.

    Raises:
        BadInput: it is one.
    """
    parts = list(Path(folder).glob("*.parquet"))
    if parts:
        code = f"pl.read_parquet('{folder}/*.parquet').write_parquet('ONE.parquet')"
        raise BadInput(
            f"{folder}: is a folder of Parquet files ({len(parts)}); a table is one file, so put them into one (polars: {code})"
        )


def read_cells(path: Path, asked: Mapping[str, str]) -> Cells:
    """Read the columns ``asked`` for (role -> name); a name may differ from the file's in case and blanks.

    Raises:
        BadInput: the file cannot be read without doubt, or lacks a column.
    """
    if os.path.isdir(path):
        refuse_parts(path)
        raise BadInput(f"{path}: is a folder; give a file ({', '.join(READABLE)})")
    if not os.path.isfile(path):
        raise BadInput(f"{path}: no such file")
    ending = table_name(path)[1]
    if not ending:
        raise BadInput(
            f"{path}: cannot tell its format; name it {', '.join(READABLE[:-1])} or {READABLE[-1]}"
        )
    if os.path.getsize(path) == 0:
        raise BadInput(f"{path}: is empty")
    try:
        with open(path, "rb") as file:
            head = file.read(4)
            if head == _ZSTD:
                raise BadInput(f"{path}: is packed by zstd; unpack it (zstd -d)")
            if head == b"PAR1" or ending == ".parquet":
                return Cells(_parquet(path, file, asked), "Parquet", "binary")
            file.seek(0)
            data = file.read()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror or error}") from error
    text, encoding, fault = _decode(path, _unpack(path, data))
    if not text.replace("\ufeff", "").strip():
        raise BadInput(f"{path}: is empty")
    read = read_json_rows if ending in _JSON else read_delimited
    try:
        columns, dialect = read(path, text, asked, lambda names, column: _find(path, names, column))
    except BadInput as error:
        if fault is not None and _half_letters(str(error)):
            raise fault from error
        raise
    return Cells(_frame(path, columns, asked), dialect, encoding)


def _unpack(path: Path, data: bytes) -> bytes:
    for mark, (_, unpack) in _UNPACK.items():
        if data.startswith(mark):
            try:
                with unpack(io.BytesIO(data)) as file:
                    content = file.read(LARGEST_UNPACKED + 1)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise BadInput(f"{path}: cannot be unpacked: {error}; copy it anew") from error
            if len(content) > LARGEST_UNPACKED:
                raise BadInput(f"{path}: unpacks to more than {LARGEST_UNPACKED:,} bytes; split it")
            return content
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise BadInput(f"{path}: is a workbook or an archive; save the sheet as CSV UTF-8, or unpack it")
    return data


def _decode(path: Path, data: bytes) -> tuple[str, str, BadInput | None]:
    """The text, its encoding, and what to say if its bytes that are none turn out to matter."""
    encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8")
    if encoding == "utf-8":  # UTF-16 without a mark: every other byte of a Latin text is 0
        for offset, name in ((1, "utf-16-le"), (0, "utf-16-be")):
            half = data[offset:1000:2]
            encoding = name if 2 * half.count(0) > len(half) > 0 else encoding
    fault = None
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = max(data.count(mark, 0, error.start) for mark in (b"\n", b"\r")) + 1
        place = f"line {line}, byte {error.start}"
        fault = BadInput(f"{path}: not {encoding.removesuffix('-sig').upper()} text ({place}); {_SAVE}")
        if not encoding.startswith("utf-8"):
            raise fault from error
        text = data.decode(encoding, "surrogateescape")
    if "\0" in text:
        line = len(re.findall(r"\r\n|\r|\n", text[: text.index("\0")])) + 1
        raise BadInput(f"{path}: line {line} holds a NUL byte, so it is damaged or no text; write it anew")
    return text.rstrip("\x1a"), encoding, fault  # DOS ends files so


def _frame(path: Path, columns: Mapping[str, list[str | None]], asked: Mapping[str, str]) -> "pl.DataFrame":
    import polars as pl

    try:
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    except UnicodeEncodeError:
        for role, values in columns.items():
            for row, value in enumerate(values, 1):
                if half := _half_letters(value or ""):
                    broken = (
                        "is not UTF-8 text" if "\udc80" <= half[0] <= "\udcff" else "holds half a character"
                    )
                    place = f"row {row}: column {asked[role]!r} {broken}"
                    raise BadInput(f"{path}: {place}; mend it, or {_SAVE}") from None
        raise


def _half_letters(text: str) -> list[str]:
    return [letter for letter in text if "\ud800" <= letter <= "\udfff"]


def _find(path: Path, names: Sequence[str], column: str) -> int:
    """Where a column stands: by its exact name, else by the only one that differs in case or blanks alone."""
    for tidy in (str, str.strip, label_key):
        places = [place for place, name in enumerate(names) if tidy(name) == tidy(column)]
        if len(places) > 1:
            raise BadInput(f"{path}: column {column!r} is there {len(places)} times; rename all but one")
        if places:
            return places[0]
    shown = [f"{name[:40]}..." if len(name) > 40 else name for name in names if name]
    keys = {label_key(name): name for name in shown}
    close = difflib.get_close_matches(label_key(column), keys, 1)
    near = f"; did you mean {keys[close[0]]!r}?" if close else ""
    listed = ", ".join(shown[:_NAMES_SHOWN]) + (", ..." if len(shown) > _NAMES_SHOWN else "")
    raise BadInput(f"{path}: has no column {column!r}; it has {listed or 'none'}{near}")


def _parquet(path: Path, file: IO[bytes], asked: Mapping[str, str]) -> "pl.DataFrame":
    import polars as pl

    try:  # through the open file: a name is never taken as a pattern
        file.seek(0)
        schema = pl.read_parquet_schema(file)
        names = list(schema)
        columns = {role: names[_find(path, names, column)] for role, column in asked.items()}
        file.seek(0)
        n = pl.scan_parquet(file).select(pl.len()).collect().item()
        if n > LARGEST_ROWS:
            raise BadInput(f"{path}: says that it has {n:,} rows, more than {LARGEST_ROWS:,}; split it")
        file.seek(0)
        raw = pl.read_parquet(file, columns=list(dict.fromkeys(columns.values())))
        for role, column in columns.items():
            dtype = raw.schema[column]
            if dtype.is_nested() or dtype == pl.Object:
                raise BadInput(f"{path}: column {column!r} holds {dtype}, not one value a row")
            if role == "text" and dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Binary, pl.Null):
                raise BadInput(f"{path}: column {column!r} holds {dtype}, not text")
        return raw.select(pl.col(column).cast(pl.String).alias(role) for role, column in columns.items())
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise BadInput(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from error
