"""What a stage leaves on disk: typed records (JSON) and tables (Parquet), each with its file, its stage and its meaning."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moodlens.core.errors import BadInput
from moodlens.core.files import read_json, read_table, write_json, write_table

if TYPE_CHECKING:
    import polars as pl


class Part(BaseModel):
    """A piece of a record: frozen, and nothing in it that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=False)

    def __getitem__(self, name: str) -> Any:
        raise TypeError(f"{type(self).__name__} is a record: write .{name}")


class Record(Part):
    """A JSON file of a study. Subclasses say which file, and which stage writes it.

    A float that may be missing is declared ``float | None``: NaN is written as null.
    """

    file: ClassVar[str]
    """Path in the study folder."""
    stage: ClassVar[str]
    """The stage, and so the verb, that writes it."""

    version: int = Field(default=1, description="of this file's layout")

    @classmethod
    def read(cls, folder: Path | str) -> Self:
        """Read the record of the study in ``folder``.

        Raises:
            BadInput: the file is missing, damaged or of another version; the line names the verb that makes it anew.
        """
        folder = Path(folder)
        path = folder / cls.file
        if not path.is_file():
            raise BadInput(f"{path}: not there yet; run: moodlens {cls.stage} {folder}")
        try:
            value = read_json(path)
        except BadInput as error:
            raise BadInput(f"{error}; {make_anew(cls.stage, folder)}") from error
        current = cls.model_fields["version"].default
        if not isinstance(value, dict) or value.get("version") != current:
            raise BadInput(
                f"{path}: not a {cls.__name__} of version {current}; {make_anew(cls.stage, folder)}"
            )
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise BadInput(f"{path}: {place}: {first['msg']}; {make_anew(cls.stage, folder)}") from error

    def write(self, folder: Path | str) -> str:
        """Write the record into ``folder``, whole or not at all; returns its path in there."""
        write_json(Path(folder) / self.file, self.model_dump(mode="python"))
        return self.file


def make_anew(stage: str, folder: Path | str) -> str:
    """What to do about a file of ``stage`` that cannot be read."""
    return f"make it anew: moodlens {stage} {folder}"


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    dtype: str
    """Name of a polars type: Int64, Float64, String, Boolean ..."""
    unit: str
    """share, count, log-odds, embedding units ...; empty where the values are names or numbers of things."""
    meaning: str


@dataclass(frozen=True)
class TableSchema:
    """A Parquet file of a study."""

    file: str
    stage: str
    columns: Mapping[str, Column]
    """By name. A name that ends in ``*`` stands for every column that begins so."""

    def dtypes(self) -> "dict[str, type[pl.DataType]]":
        """Column -> polars type, of the columns that have a name of their own."""
        import polars as pl

        return {
            name: getattr(pl, column.dtype) for name, column in self.columns.items() if not name.endswith("*")
        }

    def empty(self) -> "pl.DataFrame":
        """The table without a row."""
        import polars as pl

        return pl.DataFrame(schema=self.dtypes())

    def read(self, folder: Path | str) -> "pl.DataFrame":
        """Read the table of the study in ``folder``.

        Raises:
            BadInput: it is missing, damaged, or its columns are not these; the line names the verb that makes it anew.
        """
        folder = Path(folder)
        path = folder / self.file
        if not path.is_file():
            raise BadInput(f"{path}: not there yet; run: moodlens {self.stage} {folder}")
        try:
            frame = read_table(path)
        except BadInput as error:
            raise BadInput(f"{error}; {make_anew(self.stage, folder)}") from error
        fault = self._fault(frame)
        if fault:
            raise BadInput(f"{path}: {fault}; {make_anew(self.stage, folder)}")
        return frame

    def write(self, folder: Path | str, frame: "pl.DataFrame") -> str:
        """Write the table into ``folder``; returns its path in there.

        Raises:
            AssertionError: its columns are not the declared ones: a defect of the stage.
        """
        import polars as pl

        # A column without a single value has no type of its own.
        untyped = [name for name, dtype in frame.schema.items() if dtype == pl.Null and name in self.columns]
        types = self.dtypes()
        frame = frame.with_columns(pl.col(name).cast(types[name]) for name in untyped)
        fault = self._fault(frame)
        if fault:
            raise AssertionError(f"{self.file}: {fault}")
        write_table(Path(folder) / self.file, frame)
        return self.file

    def _fault(self, frame: "pl.DataFrame") -> str:
        """What is wrong with the columns of ``frame``; empty if nothing."""
        families = {name[:-1]: column for name, column in self.columns.items() if name.endswith("*")}
        for name in self.columns:
            if name.endswith("*"):
                continue
            if name not in frame.columns:
                return f"no column {name!r}"
        for name, dtype in frame.schema.items():
            declared = self.columns.get(name)
            if declared is None:
                declared = next((c for start, c in families.items() if name.startswith(start)), None)
            if declared is None:
                return f"unknown column {name!r}"
            if str(dtype) != declared.dtype:
                return f"column {name!r} is {dtype}, not {declared.dtype}"
        return ""
