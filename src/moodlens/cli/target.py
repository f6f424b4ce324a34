"""What DATA on the command line means: a study folder, a study file, a table of texts, or embeddings."""

import os
from collections.abc import Iterable
from pathlib import Path

from moodlens.core import BadInput
from moodlens.prompts.cells import READABLE, refuse_parts, table_name
from moodlens.prompts.labels import in_order
from moodlens.prompts.tables import read_prompts
from moodlens.settings.base import apply_changes, validate
from moodlens.settings.imported import ImportSettings
from moodlens.settings.study import Settings, Table, is_hub_table, read_study


def study_for(
    data: Path,
    out: Path | None,
    changes: list[str],
    text_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
) -> tuple[Settings, Path]:
    """The study that DATA asks for, and the folder it lives in.

    Raises:
        BadInput: DATA is none of the things it may be, or ``--out`` or a column is missing.
    """
    columns = {"text_column": text_column, "emotion_column": label_column, "group_column": group_column}
    if (data / "study.yaml").is_file():
        if out is not None and os.path.realpath(out) != os.path.realpath(data):
            raise BadInput(f"{data}: is a study folder already; leave out --out")
        _refuse_columns(
            data, columns.values(), "a study folder; its tables and their columns stand in study.yaml"
        )
        return read_study(data / "study.yaml", changes), data
    if not data.exists() and not is_hub_table(str(data)):
        raise BadInput(f"{data}: no such file or folder")
    if out is None:
        raise BadInput(f"{data}: not a study folder; add --out DIR to make one from it")
    if data.is_dir():
        if not (data / "embeddings.npy").is_file():
            refuse_parts(data)
            raise BadInput(
                f"{data}: neither a study folder (study.yaml) nor embeddings (embeddings.npy, labels.npy)"
            )
        _refuse_columns(data, columns.values(), "a folder of embeddings")
        values: dict = precomputed_values(data)
    elif data.suffix in (".yaml", ".yml"):
        _refuse_columns(data, columns.values(), "a study file; name columns in its prompts.tables")
        return read_study(data, changes), out
    elif table_name(data)[1]:
        if text_column is None:
            raise BadInput(f"{data}: say which column holds the text with --text-column")
        # A study folder may be used from anywhere, so the paths it keeps are absolute.
        table = {"path": _kept(data)}
        table |= {key: column for key, column in columns.items() if column is not None}
        values = {"name": table_name(data)[0], "prompts": {"generate": 0, "tables": [table]}}
        if label_column is not None:
            texts, _ = read_prompts(validate(Table, table, str(data)))
            values["emotions"] = in_order(texts["emotion"].drop_nulls())
    else:
        raise BadInput(f"{data}: expected a folder, a study file (.yaml) or a table ({', '.join(READABLE)})")
    return validate(Settings, apply_changes(values, changes), str(data), changes), out


def imported_study(
    wanted: ImportSettings,
    out: Path,
    texts: Path | None,
    columns: tuple[str | None, str | None, str | None],
    encoder: str | None,
    changes: list[str],
) -> Settings:
    """The study that judges an imported SAE; its encoder gives rows of norm 1 if the SAE takes such.

    Args:
        wanted: the SAE, and others of its recipe.
        out: its folder.
        texts: what DATA may be elsewhere; None: the quickstart's prompts.
        columns: of the text, the label and the group, if ``texts`` is a table.
        encoder: whose rows the SAE takes; None: as in ``texts``, or the bundled one.
        changes: ``NAME=VALUE``.

    Raises:
        BadInput: the SAE cannot be read, or the texts cannot be used.
    """
    from moodlens.sae.foreign import read_foreign

    if texts is None:
        if any(columns):
            raise BadInput("the columns are those of --texts, which is missing")
        settings = read_study(None, changes)
    else:
        settings, _ = study_for(texts, out, changes, *columns)
    foreign = read_foreign(wanted.path, wanted.library, wanted.input)
    values = settings.model_dump(exclude_unset=True)
    values["imported"] = wanted.model_dump()
    values["encoder"] = values.get("encoder", {}) | ({} if encoder is None else {"id": encoder})
    if foreign.scale == "unit":
        values["encoder"].setdefault("unit", True)
    on = "generated prompts" if texts is None else settings.name
    values["name"] = f"{Path(wanted.path).name} ({foreign.library}) on {on}"
    return validate(Settings, values, wanted.path)


def _kept(table: Path) -> str:
    """A table's path as a study keeps it: absolute; an address of the hub with both its slashes."""
    text = str(table)
    return text.replace("hf:/datasets", "hf://datasets", 1) if is_hub_table(text) else os.path.abspath(table)


def _refuse_columns(data: Path, columns: Iterable[str | None], kind: str) -> None:
    if any(column is not None for column in columns):
        raise BadInput(f"{data}: is {kind}; leave out --text-column, --label-column and --group-column")


def embeddings_alone(
    data: Path, out: Path | None, changes: list[str], columns: tuple[str | None, str | None, str | None]
) -> Settings | None:
    """Settings for a folder in the roadmap's layout that is to be looked at and not made a study of; else None."""
    if out is not None or (data / "study.yaml").is_file() or not (data / "embeddings.npy").is_file():
        return None
    _refuse_columns(data, columns, "a folder of embeddings")
    return validate(Settings, apply_changes(precomputed_values(data), changes), str(data), changes)


def precomputed_values(data: Path) -> dict:
    """Study settings for a folder in the roadmap's layout; its own labels become the emotions."""
    from moodlens.embed import read_precomputed

    return {
        "name": data.name,
        "emotions": list(read_precomputed(data).emotions),
        "prompts": {"generate": 0, "precomputed": os.path.abspath(data)},
        "encoder": {"id": "precomputed"},
    }


def text_table(
    path: Path, text_column: str | None, label_column: str | None, group_column: str | None
) -> Table:
    """A table of texts named on the command line.

    Raises:
        BadInput: no such file, or no text column was named.
    """
    if path.is_dir():
        refuse_parts(path)
    if not path.is_file() and not is_hub_table(str(path)):
        raise BadInput(f"{path}: {'is a folder; give a file' if path.is_dir() else 'no such file'}")
    if text_column is None:
        raise BadInput(f"{path}: say which column holds the text with --text-column")
    columns = {"text_column": text_column, "emotion_column": label_column, "group_column": group_column}
    place = _kept(path) if is_hub_table(str(path)) else str(path)
    return validate(Table, {"path": place, **columns}, str(path))


def with_texts(
    study: Settings, path: Path, text_column: str | None, label_column: str | None, group_column: str | None
) -> Settings:
    """The study with one more set of texts to be judged on (in place of an earlier one of the same file)."""
    if label_column is None:
        raise BadInput(
            f"{path}: say which column holds the emotion with --label-column (or use: moodlens score)"
        )
    place = path if is_hub_table(str(path)) else Path(os.path.abspath(path))
    table = text_table(place, text_column, label_column, group_column)
    others = tuple(earlier for earlier in study.transfer if Path(earlier.path) != Path(table.path))
    return study.model_copy(update={"transfer": (*others, table)})
