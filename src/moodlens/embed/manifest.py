"""What a store's ``manifest.json`` holds: what made its rows, what they are rows of, and its shards."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from moodlens.core import BadInput, read_json, write_json

FORMAT, VERSION = "moodlens-embeddings", 1
FILE = "manifest.json"

StoreDType = Literal["float16", "float32"]
Computed = Literal["float32", "bfloat16"]
DType = Literal["auto", "float32", "bfloat16"]
LongTexts = Literal["parts", "cut", "error"]

# Bounded, so that no product of rows and columns overflows; ``True`` is no number.
Count = Annotated[int, Field(strict=True, ge=0, lt=2**40)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderInfo(_Frozen):
    """What makes two embeddings comparable: stored with every array and SAE, and compared before use."""

    encoder: str = Field(description="such as `minilm` or `t5:google-t5/t5-base`")
    revision: str | None = Field(
        default=None, description="the hub's commit or a digest of the checkpoint; null: made elsewhere"
    )
    d_in: Annotated[int, Field(strict=True, gt=0, lt=2**40)] | None = Field(
        default=None, description="width of a row; null: as wide as the first rows that come (count)"
    )
    pooling: str | None = Field(default=None, description="how tokens became a row; null: not known")
    max_length: int | None = Field(default=None, description="what is read at once; null: not known (count)")
    long_texts: LongTexts | None = Field(default=None, description="what is done with more; null: not known")
    dtype: Computed | None = Field(default=None, description="what the model computed in; null: not known")
    unit: bool = Field(default=False, description="whether rows have norm 1")
    by_token: bool = Field(default=True, description="whether a row is the mean of what its tokens give")

    def differs(self, other: "EncoderInfo", *but: str) -> str | None:
        """The first field, of those not in ``but``, in which two are not the same; None where there is none."""
        fields = (name for name in sorted(type(self).model_fields) if name not in but)
        return next((name for name in fields if getattr(self, name) != getattr(other, name)), None)


class Corpus(_Frozen):
    """What is being embedded, so that a resumed run knows its own texts."""

    texts: str = Field(description="digest of the texts in order")
    n: Count = Field(description="texts (count)")
    shard_rows: Count = Field(description="rows a shard (count)")


class ShardEntry(_Frozen):
    """One file of rows that is whole and in its place."""

    file: str = Field(description="its name, fixed by its place in the list")
    rows: Annotated[Count, Field(gt=0)] = Field(description="rows in it (count)")
    sha256: str = Field(description="of its bytes")


class Manifest(_Frozen):
    """``manifest.json`` of an embedding store; readers trust it alone."""

    format: Literal["moodlens-embeddings"] = FORMAT
    version: Literal[1] = VERSION
    info: EncoderInfo = Field(description="what made the rows")
    dtype: StoreDType = Field(description="as stored; rows are read as float32")
    d_in: Annotated[Count, Field(gt=0)] | None = Field(description="width of a row (count)")
    rows: Count = Field(default=0, description="rows listed (count)")
    source: Corpus | None = Field(default=None, description="what is being embedded; null: not recorded")
    shards: tuple[ShardEntry, ...] = ()

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.shards and self.d_in is None:
            raise ValueError("d_in is missing")
        for number, shard in enumerate(self.shards):
            # The name is fixed by the place, so a manifest cannot point outside its folder.
            if shard.file != shard_file(number):
                raise ValueError(f"shard {number} is {shard.file!r}, not {shard_file(number)!r}")
        listed = sum(shard.rows for shard in self.shards)
        if listed != self.rows:
            raise ValueError(f"rows is {self.rows} but its shards add up to {listed}")
        return self

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of the store in ``folder``.

        Raises:
            BadInput: there is none, or it is broken or of another version.
        """
        path = folder / FILE
        if not path.is_file():
            raise BadInput(f"{folder}: no embedding store here ({FILE} is missing)")
        value = read_json(path)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise BadInput(f"{path}: not the manifest of an embedding store")
        if value.get("version") != VERSION:
            raise BadInput(f"{path}: version {value.get('version')}; this moodlens reads version {VERSION}")
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "shards"
            raise BadInput(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}") from error

    def write(self, folder: Path) -> None:
        """Write it into ``folder``, whole or not at all."""
        write_json(folder / FILE, self.model_dump())

    def listing(self, rows: int, d_in: int, sha256: str) -> Self:
        """The manifest with one further shard, of ``rows`` rows of ``d_in`` numbers."""
        entry = ShardEntry(file=shard_file(len(self.shards)), rows=rows, sha256=sha256)
        return self.model_copy(
            update={"d_in": d_in, "rows": self.rows + rows, "shards": (*self.shards, entry)}
        )


def shard_file(number: int) -> str:
    """Name of the shard at a place in the list."""
    return f"{number:05d}.safetensors"
