"""Embeddings on disk: safetensors shards listed in a manifest, read through memory maps.

Layout of a store folder (version 1):

- ``manifest.json``: ``format``, ``version``, ``info`` (encoder, revision, pooling, max_length ...), ``dtype``, ``d_in``,
  ``rows``, ``source`` (what is being embedded, for resuming) and ``shards``, a list of ``{file, rows, sha256}``.
- ``00000.safetensors`` ...: one tensor ``embeddings`` (rows, d_in) each.
- ``index.parquet``: optional, ids, texts and labels, row i of which is row i of the store.

A shard is written under a temporary name, synced, renamed and only then listed, so a killed writer loses at most one
shard. Readers trust the manifest alone: an unlisted file is not data. One writer at a time: a second one is told so.
"""

import contextlib
import json
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from moodlens.core import BadInput, atomic_write, file_sha256, write_table
from moodlens.core.maps import Pages, room
from moodlens.embed.manifest import FILE, Corpus, EncoderInfo, Manifest, ShardEntry, StoreDType, shard_file
from moodlens.embed.shard import write_shard

if TYPE_CHECKING:
    import polars as pl

_SAFETENSORS = {"float16": "F16", "float32": "F32"}
_LARGEST_HEADER = 2**16  # bytes; a shard's own takes about 100


class EmbeddingStore:
    """A folder of embedding shards; make one with :meth:`create` or :meth:`open`.

    Attributes:
        folder: where it lies.
        info: what made the rows (``Encoder.info()`` or the like).
        dtype: ``"float16"`` or ``"float32"``, as stored; rows are always returned as float32.
        d_in: width of a row, None until the first shard is written if ``info`` did not say.
        rows: rows listed.
        source: what is being embedded, as the writer recorded it; None where it recorded nothing.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, verify: bool = True):
        self.folder = folder
        self._manifest = manifest
        self._verify = verify
        self._maps: dict[int, np.memmap] = {}
        self._pages = Pages()
        self._count()

    @classmethod
    def create(
        cls,
        folder: Path | str,
        info: EncoderInfo,
        dtype: StoreDType = "float16",
        *,
        source: Corpus | None = None,
    ) -> "EmbeddingStore":
        """Start an empty store.

        Raises:
            BadInput: the folder already holds one, or the dtype is unknown.
        """
        folder = Path(folder)
        if (folder / FILE).exists():
            raise BadInput(f"{folder}: already holds an embedding store; open it, or name an empty folder")
        if dtype not in get_args(StoreDType):
            raise BadInput(f"{folder}: dtype {dtype!r}; expected {' or '.join(get_args(StoreDType))}")
        manifest = Manifest(info=info, dtype=dtype, d_in=info.d_in, source=source)
        manifest.write(folder)
        return cls(folder, manifest)

    @classmethod
    def open(cls, folder: Path | str, *, verify: bool = True) -> "EmbeddingStore":
        """Open a store. With ``verify``, the SHA-256 of each shard is checked when it is first read.

        Raises:
            BadInput: there is no store, its manifest is broken, or a listed shard is missing or has the wrong size.
        """
        folder = Path(folder)
        store = cls(folder, Manifest.read(folder), verify=verify)
        for number in range(len(store._shards)):
            store._data_offset(number)
        return store

    @property
    def info(self) -> EncoderInfo:
        return self._manifest.info

    @property
    def dtype(self) -> StoreDType:
        return self._manifest.dtype

    @property
    def d_in(self) -> int | None:
        return self._manifest.d_in

    @property
    def source(self) -> Corpus | None:
        return self._manifest.source

    @property
    def files(self) -> list[str]:
        """Names of the manifest and of the shards that it lists."""
        return [FILE, *(shard.file for shard in self._shards)]

    @property
    def _shards(self) -> tuple[ShardEntry, ...]:
        return self._manifest.shards

    def clean(self) -> None:
        """Remove what a killed writer left half written."""
        with self._writing():
            for left in self.folder.glob(".*.tmp"):
                left.unlink(missing_ok=True)

    @property
    def rows(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows, self.d_in or 0

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Rows as float32, by number or by slice; see :meth:`batch`."""
        return self.batch(np.arange(self.rows)[rows] if isinstance(rows, slice) else rows)

    def require(self, info: EncoderInfo) -> None:
        """Check that rows made by ``info`` may stand beside these.

        Raises:
            BadInput: naming the first key that differs.
        """
        key = self.info.differs(info)
        if key is not None:
            raise BadInput(
                f"{self.folder}: its embeddings have {key} {getattr(self.info, key)!r}, not {getattr(info, key)!r}; "
                "embeddings of different encoders do not mix: name another folder"
            )

    def append(self, rows: np.ndarray, *, info: EncoderInfo | None = None) -> None:
        """Write ``rows`` (n, d_in) as one further shard; it counts only once it is whole and listed.

        Args:
            rows: finite floats; rounded to the store's dtype.
            info: what made them; checked with :meth:`require` if given.

        Raises:
            BadInput: wrong shape, wrong encoder, or a value that is NaN, infinite or too large for float16.
        """
        if info is not None:
            self.require(info)
        with self._writing():
            path = self._path(len(self._shards))
            with atomic_write(path) as tmp:
                shape = write_shard(tmp, rows, self.dtype, where=str(self.folder), d_in=self.d_in)
                sha256 = file_sha256(tmp)
            self._list(shape, sha256)

    def adopt(self, path: Path, shape: tuple[int, int], sha256: str) -> None:
        """Take in a file of :func:`moodlens.embed.shard.write_shard`, which lies on the same disk, as one further shard.

        Args:
            path: the file; it is moved.
            shape: rows and width.
            sha256: of its bytes.

        Raises:
            BadInput: another width, or the folder cannot be written.
        """
        if shape[1] != (self.d_in or shape[1]):
            raise BadInput(f"{path}: rows of {shape[1]} numbers, expected {self.d_in}")
        with self._writing():
            try:
                os.replace(path, self._path(len(self._shards)))
            except OSError as error:
                raise BadInput(f"{self.folder}: cannot write: {error.strerror}") from error
            self._list(shape, sha256)

    def _list(self, shape: tuple[int, int], sha256: str) -> None:
        """Enter a shard that is in its place into the manifest, and so make it count."""
        manifest = self._manifest.listing(*shape, sha256)
        manifest.write(self.folder)
        self._manifest = manifest
        self._count()

    def batch(self, rows: np.ndarray) -> np.ndarray:
        """The given rows in the given order, (len(rows), d_in) float32; only the pages they lie on are read.

        Raises:
            BadInput: a row is out of range, or its shard is not what the manifest lists.
        """
        rows = np.asarray(rows)
        if rows.ndim != 1 or (rows.dtype.kind not in "iu" and len(rows)):
            raise BadInput(
                f"{self.folder}: row indices of dtype {rows.dtype}, shape {rows.shape}; expected (n,) integers"
            )
        out = np.empty((len(rows), self.d_in or 0), dtype=np.float32)
        if not len(rows):
            return out
        if rows.min() < 0 or rows.max() >= self.rows:
            wrong = rows.min() if rows.min() < 0 else rows.max()
            raise BadInput(f"{self.folder}: row {wrong} is out of range; the store has {self.rows} rows")
        order = np.argsort(rows, kind="stable")  # neighbours on disk are read together
        ordered = rows[order].astype(np.int64)
        starts = np.searchsorted(ordered, np.concatenate([[0], self._ends]))
        for number in np.flatnonzero(np.diff(starts)):
            part = slice(starts[number], starts[number + 1])
            first = self._ends[number] - self._shards[number].rows
            out[order[part]] = self._map(int(number))[ordered[part] - first]
        self._read(len(rows), apart=True)
        return out

    def array(self, *, memory: float = math.inf) -> np.ndarray:
        """All rows, (rows, d_in) float32: in memory, or in a file without a name where they take more GiB than that."""
        out, pages = room(self.rows, self.d_in or 0, memory * 2**30), Pages()
        for number, end in enumerate(self._ends):
            n = self._shards[number].rows
            out[end - n : end] = self._map(number)
            self._read(n, apart=False)
            pages.count(n, out[:1].nbytes, [out], apart=False)
        return out

    def verify(self) -> None:
        """Check every shard against the manifest, and that there is no other.

        Raises:
            BadInput: naming the shard that is missing, truncated, changed or not listed.
        """
        for number in range(len(self._shards)):
            self._data_offset(number)
            self._check_hash(number)
        listed = {shard.file for shard in self._shards}
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name not in listed:
                raise BadInput(
                    f"{path}: not listed in manifest.json (left by a killed run?); run the embedding again or delete it"
                )

    def write_index(self, frame: "pl.DataFrame") -> None:
        """Write ``index.parquet``: ids, texts and labels, one row for each row of the finished store.

        Raises:
            BadInput: the frame has another number of rows.
        """
        if frame.height != self.rows:
            raise BadInput(f"{self.folder}: an index of {frame.height} rows for {self.rows} embeddings")
        write_table(self.folder / "index.parquet", frame)

    def _path(self, number: int) -> Path:
        return self.folder / shard_file(number)

    def _count(self) -> None:
        self._ends = np.cumsum([shard.rows for shard in self._shards], dtype=np.int64)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Keep other writers out, and see that none has written since this one looked."""
        import fcntl

        try:
            handle = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise BadInput(f"{self.folder}: cannot write: {error.strerror}") from error
        try:
            with contextlib.suppress(OSError):  # some network file systems have no locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            if Manifest.read(self.folder) != self._manifest:
                raise BadInput(
                    f"{self.folder}: another process is writing there; wait for it and run again, or name another folder"
                )
            yield
        finally:
            os.close(handle)

    def _data_offset(self, number: int) -> int:
        """Where the numbers of a shard begin, after checking its header and size."""
        path, shard = self.folder / self._shards[number].file, self._shards[number]
        try:
            size = path.stat().st_size
            with open(path, "rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(min(length, _LARGEST_HEADER)))
        except FileNotFoundError as error:
            raise BadInput(
                f"{path}: the shard is missing; restore it or embed into an empty folder"
            ) from error
        except (OSError, struct.error, ValueError, RecursionError) as error:
            raise BadInput(
                f"{path}: not a readable safetensors shard; restore it or embed into an empty folder"
            ) from error
        tensor = header.get("embeddings") if isinstance(header, dict) else None
        n_bytes = shard.rows * (self.d_in or 0) * np.dtype(self.dtype).itemsize
        expected = {
            "dtype": _SAFETENSORS[self.dtype],
            "shape": [shard.rows, self.d_in],
            "data_offsets": [0, n_bytes],
        }
        if tensor != expected or size != 8 + length + n_bytes:
            raise BadInput(
                f"{path}: truncated or not the shard that manifest.json lists "
                f"({shard.rows} x {self.d_in} {self.dtype}); restore it or embed into an empty folder"
            )
        return 8 + length

    def _check_hash(self, number: int) -> None:
        path = self.folder / self._shards[number].file
        if file_sha256(path) != self._shards[number].sha256:
            raise BadInput(
                f"{path}: its SHA-256 is not the manifest's: it was changed after writing; embed again"
            )

    def _read(self, rows: int, *, apart: bool) -> None:
        row_bytes = (self.d_in or 0) * np.dtype(self.dtype).itemsize
        self._pages.count(rows, row_bytes, self._maps.values(), apart=apart)

    def _map(self, number: int) -> np.memmap:
        if number not in self._maps:
            offset, shard = self._data_offset(number), self._shards[number]
            if self._verify:
                self._check_hash(number)
            path, shape = self.folder / shard.file, (shard.rows, self.d_in or 0)
            self._maps[number] = np.memmap(path, dtype=self.dtype, mode="r", offset=offset, shape=shape)
        return self._maps[number]
