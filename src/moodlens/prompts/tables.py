"""Users' own texts: CSV, JSONL or Parquet, labelled or not."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodlens.core import BadInput
from moodlens.prompts.splits import SPLITS

if TYPE_CHECKING:
    import polars as pl

MIN_EMOTIONS, MAX_EMOTIONS = 2, 50
READABLE = (".csv", ".jsonl", ".ndjson", ".parquet")


def read_prompts(
    path: Path | str,
    *,
    text_column: str,
    emotion_column: str | None = None,
    group_column: str | None = None,
    split_column: str | None = None,
    id_column: str | None = None,
) -> "pl.DataFrame":
    """Read a table of texts into the columns that generated prompts have.

    Rows are counted from 1 in messages, a header not included. A missing label makes a row unlabelled
    (kind ``unlabelled``); a missing split or group is left for :func:`assign_splits` to fill. Blanks at
    both ends of texts and labels are dropped. CSV values are read as text, never as numbers.

    Args:
        path: a .csv (UTF-8), .jsonl, .ndjson or .parquet file.
        text_column: the column that holds the text.
        emotion_column: the label; 2 to 50 different ones. None: the texts are unlabelled.
        group_column: what must not straddle a split, such as the annotator.
        split_column: train, val, test or held_out, or empty.
        id_column: a unique id; None: made from the file's name and the row.

    Raises:
        BadInput: the file, a column or a value cannot be used; the message names it.
    """
    import polars as pl

    path = Path(path)
    raw = _read(path)
    if raw.height == 0:
        raise BadInput(f"{path}: has no rows")
    named = {
        "text": text_column,
        "emotion": emotion_column,
        "group": group_column,
        "split": split_column,
        "id": id_column,
    }
    for column in named.values():
        if column is not None and column not in raw.columns:
            raise BadInput(f"{path}: has no column {column!r}; it has {', '.join(raw.columns)}")
    if raw.schema[text_column] != pl.String:
        raise BadInput(f"{path}: column {text_column!r} holds {raw.schema[text_column]}, not text")
    values = {name: _strings(path, raw, column) for name, column in named.items() if column is not None}

    text = values["text"]
    _refuse_blank(path, text_column, text)
    emotion = values.get("emotion", pl.Series([None] * raw.height, dtype=pl.String))
    if emotion_column is not None:
        _check_labels(path, emotion_column, emotion)
    split = values.get("split", pl.Series([""] * raw.height, dtype=pl.String)).fill_null("")
    if split_column is not None:
        _check_splits(path, split_column, split)
    own = pl.Series([f"{path.stem}-{row}" for row in range(1, raw.height + 1)], dtype=pl.String)
    ids = values.get("id", own)
    if id_column is not None:
        _refuse_blank(path, id_column, ids)
        _check_unique(path, id_column, ids)
    group = values.get("group", own).fill_null(own)
    return pl.DataFrame(
        {
            "id": ids,
            "text": text,
            "emotion": emotion,
            "kind": ["unlabelled" if label is None else "plain" for label in emotion],
            "about": None,
            "split": split,
            "group": group,
            "instrument": None,
            "genre": None,
            "intensity": None,
            "style": None,
            "twin": None,
            "source": path.name,
        },
        schema_overrides=dict.fromkeys(
            ("about", "instrument", "genre", "intensity", "style", "twin"), pl.String
        ),
    )


def _read(path: Path) -> "pl.DataFrame":
    import polars as pl

    if path.is_dir():
        raise BadInput(f"{path}: is a folder; give a file ({', '.join(READABLE)})")
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise BadInput(
            f"{path}: cannot tell its format; name it {', '.join(READABLE[:-1])} or {READABLE[-1]}"
        )
    if path.stat().st_size == 0:
        raise BadInput(f"{path}: is empty")
    try:
        if suffix == ".parquet":
            return pl.read_parquet(path, use_pyarrow=False)
        _check_utf8(path)
        if suffix == ".csv":
            return pl.read_csv(path, infer_schema=False)
        return _read_jsonl(path)
    except pl.exceptions.NoDataError as error:
        raise BadInput(f"{path}: is empty") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInput(
            f"{path}: not a readable {suffix[1:].upper()} file: {str(error).splitlines()[0]}"
        ) from error


def _check_utf8(path: Path) -> None:
    data = path.read_bytes()
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(
            f"{path}: not UTF-8 text (line {line}, byte {error.start}); save it as UTF-8"
        ) from error


class _Constant(ValueError):
    """NaN or Infinity, which Python's json reads though JSON has no such values."""


def _refuse_constant(name: str) -> None:
    raise _Constant(name)


def _read_jsonl(path: Path) -> "pl.DataFrame":
    """One object a line; read by hand so that a broken line can be named. Blank lines are skipped."""
    import polars as pl

    rows: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, parse_constant=_refuse_constant)
        except json.JSONDecodeError as error:
            raise BadInput(f"{path}: line {number} is not valid JSON (column {error.colno})") from error
        except _Constant as error:
            raise BadInput(
                f"{path}: line {number} holds {error}, which is no value in JSON; use null"
            ) from error
        if not isinstance(row, dict):
            raise BadInput(f"{path}: line {number} is not a JSON object")
        rows.append(row)
    if not rows:
        raise BadInput(f"{path}: is empty")
    try:
        return pl.DataFrame(rows, infer_schema_length=None)
    except (TypeError, pl.exceptions.PolarsError) as error:
        raise BadInput(f"{path}: a column mixes kinds of values: {str(error).splitlines()[0]}") from error


def _strings(path: Path, raw: "pl.DataFrame", column: str) -> "pl.Series":
    """A column as text without blanks at the ends; blank becomes null."""
    import polars as pl

    if raw.schema[column].is_nested():
        raise BadInput(f"{path}: column {column!r} holds {raw.schema[column]}, not one value a row")
    text = raw[column].cast(pl.String).str.strip_chars()
    # What programs write for a missing number. Taken as text it would be a label of its own.
    nan = (text.str.to_lowercase() == "nan").fill_null(False)
    if nan.any():
        row = int(nan.arg_max() or 0) + 1
        raise BadInput(
            f"{path}: row {row}: column {column!r} is NaN; write the value or leave the cell empty"
        )
    return text.set(text == "", None)


def _refuse_blank(path: Path, column: str, values: "pl.Series") -> None:
    if values.null_count():
        row = int(values.is_null().arg_max() or 0) + 1
        raise BadInput(f"{path}: row {row}: column {column!r} is empty; fill it in or leave the row out")


def _check_labels(path: Path, column: str, labels: "pl.Series") -> None:
    found = labels.drop_nulls().unique().sort().to_list()
    if not MIN_EMOTIONS <= len(found) <= MAX_EMOTIONS:
        some = f" ({', '.join(found[:5])}{', ...' if len(found) > 5 else ''})" if found else ""
        raise BadInput(
            f"{path}: column {column!r} holds {len(found)} different label{'' if len(found) == 1 else 's'}{some}; "
            f"{MIN_EMOTIONS} to {MAX_EMOTIONS} are needed"
        )


def _check_splits(path: Path, column: str, splits: "pl.Series") -> None:
    for row, word in enumerate(splits, 1):
        if word and word not in SPLITS:
            raise BadInput(
                f"{path}: row {row}: column {column!r}: unknown split {word!r}; use {', '.join(SPLITS)}"
            )


def _check_unique(path: Path, column: str, ids: "pl.Series") -> None:
    first: dict[str, int] = {}
    for row, value in enumerate(ids, 1):
        if value in first:
            raise BadInput(f"{path}: row {row}: column {column!r} repeats {value!r} of row {first[value]}")
        first[value] = row
