"""Embedding a corpus into a store, shard by shard, so that a killed run goes on where it stopped."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from moodlens.core import BadInput, Progress, digest
from moodlens.core.progress import shifted, silent
from moodlens.embed.manifest import FILE, Corpus, StoreDType
from moodlens.embed.reading import check_texts
from moodlens.embed.shard import embed_shard, recipe_of
from moodlens.embed.store import EmbeddingStore
from moodlens.engine import Done, Executor, Here, Unit
from moodlens.engine.units import result_path
from moodlens.stats.equal import nearly_constant

if TYPE_CHECKING:
    import polars as pl

    from moodlens.embed.base import Encoder
    from moodlens.embed.reading import Reading

EXAMPLES = 3
"""Rows that a report names of each kind."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Example(_Frozen):
    """A text of which the encoder read less than there is."""

    row: int = Field(description="of the texts, from 0")
    what: str = Field(description="long, same after cutting, or no known token")
    text: str = Field(description="its first 80 characters")


class EmbedReport(_Frozen):
    """What an encoder read of its texts."""

    max_length: int = Field(
        description="tokens that the encoder reads at once, special ones included (count)"
    )
    counts: Literal["tokens", "characters"] = Field(
        default="tokens", description="what this encoder counts in, wherever tokens are said here"
    )
    long_texts: str = Field(description="what is done with more: read in parts, cut, or an error")
    dtype: str = Field(description="what the encoder computed in")
    dtype_note: str = Field(description="why `auto` gave up bfloat16; empty otherwise")
    told: str = Field(
        default="", description="what was sent to an endpoint; empty: nothing was sent anywhere"
    )
    n_distinct: int = Field(description="texts that differ in the tokens that are read (count)")
    n_long: int = Field(description="texts of more tokens than the encoder reads at once (count)")
    n_cut: int = Field(description="texts of which something is not read (count)")
    tokens_cut: int = Field(description="tokens that are not read (count)")
    n_same_after_cutting: int = Field(
        description="texts that differ from an earlier one only in what is not read (count)"
    )
    n_without_known_token: int = Field(
        description="texts of which the encoder knows no token, so that their rows say nothing (count)"
    )
    examples: tuple[Example, ...] = Field(description="the first few texts of each kind")


def embed_to_store(
    encoder: "Encoder",
    texts: Sequence[str],
    folder: Path | str,
    *,
    shard_rows: int = 8192,
    dtype: StoreDType = "float16",
    index: "pl.DataFrame | None" = None,
    executor: Executor | None = None,
    units: Path | None = None,
    progress: Progress | None = None,
) -> tuple[EmbeddingStore, EmbedReport]:
    """Embed ``texts`` into a store in ``folder``, or finish what an earlier, killed run began there.

    Shard k holds ``texts[k * shard_rows : (k + 1) * shard_rows]`` and depends on nothing else, so a resumed store has the
    same bytes as one written without interruption (on the same machine and number of threads). Of a finished store the
    texts are only read again, for the report.

    Args:
        encoder: what embeds them; its ``info()`` goes into the manifest.
        texts: n texts; row i of the store is ``texts[i]``.
        folder: created if needed.
        shard_rows: rows a shard; a killed run repeats at most this many.
        dtype: as stored.
        index: n rows of ids, texts and labels, written as ``index.parquet`` at the end.
        executor: who embeds the shards; None: this process. Of no influence on the result.
        units: where finished shards lie until they are taken into the store, on the same disk; None: ``folder/.units``.
        progress: called with the number of texts done.

    Raises:
        BadInput: a text is blank, the folder holds embeddings of other texts, another encoder or other settings, or all
            rows are equal to rounding.
    """
    check_texts(texts)
    if shard_rows < 1:
        raise BadInput(f"shard_rows {shard_rows}: expected at least 1")
    if index is not None and index.height != len(texts):
        raise BadInput(f"{folder}: an index of {index.height} rows for {len(texts)} texts")
    encoder.settle(texts)
    folder, report = Path(folder), progress or silent
    source = corpus_of(texts, shard_rows)
    if (folder / FILE).exists():
        store = EmbeddingStore.open(folder)
        store.require(encoder.info())
        if store.source != source or store.dtype != dtype:
            raise BadInput(
                f"{folder}: holds embeddings of other texts or settings; name another folder, or delete this one"
            )
        store.clean()
    else:
        store = EmbeddingStore.create(folder, encoder.info(), dtype, source=source)
    report("embed", store.rows, len(texts))
    counts, executor, units = _Counts(), executor or Here(), units or folder / ".units"
    work = _Shards(encoder, texts, shard_rows, dtype, report)
    made = work.each(executor, -(-store.rows // shard_rows), units)

    def take_next() -> None:
        unit, done = next(made)
        store.adopt(result_path(unit, units), (int(done.facts["rows"]), int(done.facts["d_in"])), done.sha256)
        result_path(unit, units).with_suffix(".json").unlink(missing_ok=True)
        report("embed", store.rows, len(texts))

    for begin in range(0, len(texts), shard_rows):
        shard, missing = texts[begin : begin + shard_rows], begin >= store.rows
        if missing and not executor.here:
            take_next()  # others are at work on the next while this process reads
        work.reading = encoder.read(shard, begin)
        counts.add(shard, work.reading, encoder.max_length)
        if missing and executor.here:
            take_next()
    for _ in made:  # lets go of what it holds
        pass
    shutil.rmtree(units, ignore_errors=True)
    if nearly_constant(store):
        raise BadInput(
            f"{folder}: the embeddings of all {len(texts)} texts are equal to rounding, so nothing can be read from them: "
            f"encoder {encoder.id} knows no token of {counts.n_unknown} of them; use one that knows their language"
        )
    if index is not None:
        store.write_index(index)
    return store, counts.report(encoder)


def corpus_of(texts: Sequence[str], shard_rows: int) -> Corpus:
    """What a store of ``texts`` says that it is made of."""
    return Corpus(texts=digest(list(texts)), n=len(texts), shard_rows=shard_rows)


def embed_units(
    encoder: "Encoder",
    texts: Sequence[str],
    folder: Path,
    executor: Executor,
    *,
    shard_rows: int,
    dtype: StoreDType,
) -> None:
    """Have shards embedded and leave them in ``folder``, from where :func:`embed_to_store` takes them."""
    encoder.settle(texts)
    for _ in _Shards(encoder, texts, shard_rows, dtype, silent).each(executor, 0, folder):
        pass


class _Shards:
    """The shards of a corpus as units of work."""

    def __init__(
        self, encoder: "Encoder", texts: Sequence[str], shard_rows: int, dtype: StoreDType, report: Progress
    ) -> None:
        self._encoder, self._texts, self._shard_rows, self._dtype = encoder, texts, shard_rows, dtype
        self._report, self._info = report, encoder.info().model_dump()
        self.reading: Reading | None = None
        """What was read of the shard that comes next: this process need not read it twice."""

    def each(self, executor: Executor, first: int, folder: Path) -> Iterator[tuple[Unit, Done]]:
        """The units from the ``first`` on and their records, in order."""
        units = [self._unit(begin, executor.here) for begin in self._begins()[first:]]
        ready: dict[int, Done] = {}
        awaited = 0
        for i, done in executor.each(units, folder):
            ready[i] = done
            while awaited in ready:
                yield units[awaited], ready.pop(awaited)
                awaited += 1

    def _begins(self) -> range:
        return range(0, len(self._texts), self._shard_rows)

    def _unit(self, begin: int, here: bool) -> Unit:
        texts = list(self._texts[begin : begin + self._shard_rows])
        key = digest("embed 1", self._info, self._dtype, begin, texts)
        own: dict[str, Any] = {"begin": begin, "dtype": self._dtype}
        name = f"shard {begin // self._shard_rows}"
        if here:
            own |= {"shards": self, "progress": shifted(self._report, begin, len(self._texts))}
            return Unit(name, key, _embed_here, own)
        return Unit(name, key, embed_shard, own | {"encoder": recipe_of(self._encoder), "texts": texts})


def _embed_here(path: Path, *, shards: _Shards, **own: Any) -> Mapping[str, float]:
    assert shards.reading is not None
    return embed_shard(path, encoder=shards._encoder, texts=shards.reading, **own)


class _Counts:
    """What is counted of the texts, shard by shard."""

    def __init__(self) -> None:
        self.n_unknown = self._n_long = self._n_cut = self._tokens_cut = self._n_same = 0
        self._whole: set[int] = set()
        self._read: set[int] = set()
        self._examples: list[Example] = []

    def add(self, texts: Sequence[str], reading: "Reading", max_length: int) -> None:
        long, same = reading.n_tokens > max_length, np.zeros(len(texts), dtype=bool)
        for row, (whole, read) in enumerate(zip(reading.whole.tolist(), reading.read.tolist(), strict=True)):
            if whole not in self._whole:
                self._whole.add(whole)
                same[row] = read in self._read
                self._read.add(read)
        self._n_long += int(long.sum())
        self._n_cut += int((reading.n_cut > 0).sum())
        self._tokens_cut += int(reading.n_cut.sum())
        self._n_same += int(same.sum())
        self.n_unknown += int((~reading.known).sum())
        for what, rows in (("long", long), ("same after cutting", same), ("no known token", ~reading.known)):
            room = EXAMPLES - sum(example.what == what for example in self._examples)
            for row in map(int, np.flatnonzero(rows)[:room]):
                self._examples.append(Example(row=reading.begin + row, what=what, text=texts[row][:80]))

    def report(self, encoder: "Encoder") -> EmbedReport:
        return EmbedReport(
            max_length=encoder.max_length,
            counts=encoder.counts,
            told=encoder.told,
            long_texts=encoder.long_texts,
            dtype=encoder.dtype,
            dtype_note=encoder.dtype_note,
            n_distinct=len(self._read),
            n_long=self._n_long,
            n_cut=self._n_cut,
            tokens_cut=self._tokens_cut,
            n_same_after_cutting=self._n_same,
            n_without_known_token=self.n_unknown,
            examples=tuple(sorted(self._examples, key=lambda example: (example.what, example.row))),
        )
