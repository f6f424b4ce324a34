"""Embedding a corpus into a store, shard by shard, so that a killed run goes on where it stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from moodlens.core import BadInput, Progress, digest
from moodlens.core.progress import silent
from moodlens.embed.encoders import Encoder, check_texts
from moodlens.embed.store import EmbeddingStore, StoreDType

if TYPE_CHECKING:
    import polars as pl


def embed_to_store(
    encoder: Encoder,
    texts: Sequence[str],
    folder: Path | str,
    *,
    shard_rows: int = 8192,
    dtype: StoreDType = "float16",
    index: "pl.DataFrame | None" = None,
    progress: Progress | None = None,
) -> EmbeddingStore:
    """Embed ``texts`` into a store in ``folder``, or finish what an earlier, killed run began there.

    Shard k holds ``texts[k * shard_rows : (k + 1) * shard_rows]`` and depends on nothing else, so a resumed store has the
    same bytes as one written without interruption (on the same machine and number of threads). A finished store is
    returned without loading anything.

    Args:
        encoder: what embeds them; its ``info()`` goes into the manifest.
        texts: n texts; row i of the store is ``texts[i]``.
        folder: created if needed.
        shard_rows: rows a shard; a killed run repeats at most this many.
        dtype: as stored.
        index: n rows of ids, texts and labels, written as ``index.parquet`` at the end.
        progress: called with the number of texts done.

    Raises:
        BadInput: a text is blank, or the folder holds embeddings of other texts, another encoder or other settings.
    """
    check_texts(texts)
    if shard_rows < 1:
        raise BadInput(f"shard_rows {shard_rows}: expected at least 1")
    if index is not None and index.height != len(texts):
        raise BadInput(f"{folder}: an index of {index.height} rows for {len(texts)} texts")
    folder, report = Path(folder), progress or silent
    source = {"texts": digest(list(texts)), "n": len(texts), "shard_rows": shard_rows}
    if (folder / "manifest.json").exists():
        store = EmbeddingStore.open(folder)
        store.require(encoder.info())
        if store.source != source or store.dtype != dtype:
            raise BadInput(
                f"{folder}: holds embeddings of other texts or settings; name another folder, or delete this one"
            )
        for left in folder.glob(".*.tmp"):  # a killed writer's half file
            left.unlink()
    else:
        store = EmbeddingStore.create(folder, encoder.info(), dtype, source=source)
    report("embed", store.rows, len(texts))
    while store.rows < len(texts):
        begin = store.rows
        shifted = _shifted(report, begin, len(texts))
        store.append(encoder.encode(texts[begin : begin + shard_rows], progress=shifted))
    if index is not None:
        store.write_index(index)
    return store


def _shifted(report: Progress, begin: int, total: int) -> Progress:
    return lambda what, done, _: report(what, begin + done, total)
