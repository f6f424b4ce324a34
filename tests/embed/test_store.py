"""The store: rows come back as written, damage is found, memory stays flat, killed runs go on."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.core import BadInput
from moodlens.embed import EmbeddingStore, embed_to_store

INFO = {
    "encoder": "minilm",
    "revision": "r",
    "d_in": 8,
    "pooling": "mean",
    "max_length": 256,
    "dtype": "float32",
}


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)


@pytest.fixture
def store(tmp_path, rows):
    store = EmbeddingStore.create(tmp_path / "embeddings", INFO, "float32")
    for part in np.split(rows, [20, 21]):
        store.append(part)
    return store


def test_rows_come_back_as_written(store, rows):
    again = EmbeddingStore.open(store.folder)
    again.verify()
    assert len(again) == again.rows == 50
    assert (again.d_in, again.dtype, again.info) == (8, "float32", INFO)
    np.testing.assert_array_equal(again.array(), rows)


@given(st.lists(st.integers(0, 49), max_size=80))
def test_any_batch_is_those_rows_in_that_order(tmp_path_factory, order):
    folder = tmp_path_factory.getbasetemp() / "batches"
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    if not folder.exists():
        store = EmbeddingStore.create(folder, INFO, "float32")
        for part in np.split(rows, [1, 30]):
            store.append(part)
    batch = EmbeddingStore.open(folder).batch(np.array(order, dtype=np.int64))
    np.testing.assert_array_equal(batch, rows[np.array(order, dtype=np.int64)])


def test_float16_rounds_and_says_so(tmp_path, rows):
    store = EmbeddingStore.create(tmp_path / "half", INFO)
    store.append(rows)
    assert EmbeddingStore.open(store.folder).dtype == "float16"
    np.testing.assert_array_equal(store.array(), rows.astype(np.float16).astype(np.float32))
    with pytest.raises(BadInput, match="row 0, column 3 is 70000, too large for float16"):
        store.append(np.where(np.arange(8) == 3, 70000.0, 0.0)[None])
    assert store.rows == 50


def test_the_shards_are_plain_safetensors(store, rows):
    from safetensors.numpy import load_file

    assert sorted(path.name for path in store.folder.iterdir()) == [
        *(f"{i:05d}.safetensors" for i in range(3)),
        "manifest.json",
    ]
    np.testing.assert_array_equal(load_file(store.folder / "00000.safetensors")["embeddings"], rows[:20])


def test_another_encoder_is_an_error(store, rows):
    with pytest.raises(BadInput, match="have encoder 'minilm', not 't5:x'"):
        store.append(rows, info=INFO | {"encoder": "t5:x"})
    with pytest.raises(BadInput, match="have dtype 'float32', not 'bfloat16'"):
        store.require(INFO | {"dtype": "bfloat16"})


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.ones((2, 7), np.float32), r"expected floats \(n, 8\)"),
        (np.ones((2, 8), int), "cannot append int64"),
        (np.ones((0, 8)), "shape"),
        (np.full((2, 8), np.nan), "row 0, column 0 is nan; an embedding must be finite"),
    ],
)
def test_bad_rows_are_refused(store, bad, says):
    with pytest.raises(BadInput, match=says):
        store.append(bad)
    assert EmbeddingStore.open(store.folder).rows == 50


def test_bad_indices_are_refused(store):
    for indices, says in (([50], "row 50 is out of range"), ([-1], "row -1"), ([0.5], "integers")):
        with pytest.raises(BadInput, match=says):
            store.batch(np.array(indices))


def _cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_truncated_or_missing_shard_is_found_on_opening(store):
    _cut(store.folder / "00002.safetensors")
    with pytest.raises(BadInput, match=r"00002\.safetensors: truncated"):
        EmbeddingStore.open(store.folder)
    (store.folder / "00002.safetensors").unlink()
    with pytest.raises(BadInput, match=r"00002\.safetensors: the shard is missing"):
        EmbeddingStore.open(store.folder)
    (store.folder / "00002.safetensors").write_bytes(b"tiny")
    with pytest.raises(BadInput, match="not a readable safetensors shard"):
        EmbeddingStore.open(store.folder)


def test_a_changed_shard_is_found_on_reading(store, rows):
    _flip(store.folder / "00000.safetensors")
    opened = EmbeddingStore.open(store.folder)
    np.testing.assert_array_equal(opened.batch(np.array([30])), rows[[30]])
    with pytest.raises(BadInput, match=r"00000\.safetensors: its SHA-256"):
        opened.batch(np.array([3]))
    with pytest.raises(BadInput, match="SHA-256"):
        opened.verify()
    assert EmbeddingStore.open(store.folder, verify=False).batch(np.array([3])).shape == (1, 8)


def test_an_unlisted_shard_is_not_data(store, rows):
    (store.folder / "00003.safetensors").write_bytes((store.folder / "00000.safetensors").read_bytes())
    again = EmbeddingStore.open(store.folder)
    assert again.rows == 50
    with pytest.raises(BadInput, match="not listed"):
        again.verify()
    again.append(rows[:4])
    np.testing.assert_array_equal(EmbeddingStore.open(store.folder).array(), np.concatenate([rows, rows[:4]]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "other"}, "not the manifest"),
        ({"version": 9}, "version 9"),
        ({"rows": 51}, "rows is 51 but its shards add up to 50"),
        ({"dtype": "int4"}, "incomplete manifest"),
        ({"shards": [{"file": "../evil", "rows": 50, "sha256": "x"}]}, "shard 0 is listed wrongly"),
    ],
)
def test_a_broken_manifest_is_named(store, change, says):
    path = store.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInput, match=says):
        EmbeddingStore.open(store.folder)


def test_folders_are_not_mixed_up(store, tmp_path):
    with pytest.raises(BadInput, match="already holds"):
        EmbeddingStore.create(store.folder, INFO)
    with pytest.raises(BadInput, match="no embedding store here"):
        EmbeddingStore.open(tmp_path)


def test_a_full_disk_leaves_the_store_as_it_was(store, rows):
    """The operating system itself refuses to write more than 4 kB to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        with pytest.raises(BadInput, match=r"00003\.safetensors: cannot write"):
            store.append(np.ones((5000, 8), np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(store.folder.glob(".*"))
    np.testing.assert_array_equal(EmbeddingStore.open(store.folder).array(), rows)
    store.append(rows)
    assert EmbeddingStore.open(store.folder).rows == 100


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc")
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Random batches over 96 MB of rows: what the process itself holds stays under 8 MB more."""

    def own_memory() -> float:
        with open("/proc/self/status") as status:
            return int(next(line for line in status if line.startswith("RssAnon")).split()[1]) / 1024

    store = EmbeddingStore.create(tmp_path / "big", INFO | {"d_in": 512}, "float16")
    rng = np.random.default_rng(0)
    shard = rng.normal(size=(8192, 512)).astype(np.float32)
    for _ in range(12):
        store.append(shard)
    del shard
    opened = EmbeddingStore.open(store.folder)
    opened.batch(np.arange(64))
    before = own_memory()
    for _ in range(100):
        opened.batch(rng.integers(0, opened.rows, 512))
    assert own_memory() - before < 8


def texts_of(n):
    return [f"song number {i} for a sad evening" for i in range(n)]


def test_a_corpus_is_embedded_in_order(minilm, tmp_path):
    texts, calls = texts_of(10), []
    index = pl.DataFrame({"text": texts})
    store = embed_to_store(
        minilm,
        texts,
        tmp_path / "s",
        shard_rows=4,
        dtype="float32",
        index=index,
        progress=lambda *c: calls.append(c),
    )
    np.testing.assert_allclose(store.array(), minilm.encode(texts), atol=1e-5)
    assert calls[0] == ("embed", 0, 10)
    assert calls[-1] == ("embed", 10, 10)
    assert pl.read_parquet(tmp_path / "s" / "index.parquet").equals(index)


def test_a_finished_store_is_not_embedded_again(minilm, tmp_path, monkeypatch):
    embed_to_store(minilm, texts_of(5), tmp_path / "s")
    monkeypatch.setattr(minilm, "encode", lambda *_, **__: pytest.fail("embedded again"))
    assert embed_to_store(minilm, texts_of(5), tmp_path / "s").rows == 5
    with pytest.raises(BadInput, match="other texts or settings"):
        embed_to_store(minilm, texts_of(6), tmp_path / "s")
    with pytest.raises(BadInput, match="other texts or settings"):
        embed_to_store(minilm, texts_of(5), tmp_path / "s", dtype="float32")


WRITER = """
import sys, torch
from moodlens.embed import embed_to_store, get_encoder
torch.set_num_threads(1)
encoder = get_encoder("minilm", dtype="float32", device="cpu")
texts = [f"song number {i} for a sad evening" for i in range(4000)]
def progress(what, done, total):
    print(done, flush=True)
embed_to_store(encoder, texts, sys.argv[1], shard_rows=8, progress=progress)
"""


def test_a_killed_run_goes_on_to_the_same_bytes(minilm, tmp_path):
    folder = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
    watchdog = threading.Timer(120, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:  # kill it in the middle of the fourth shard or soon after
            if int(line) > 24:
                break
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    finally:
        watchdog.cancel()
        if process.stdout is not None:
            process.stdout.close()
    left = EmbeddingStore.open(folder).rows
    assert 24 <= left < 4000
    assert left % 8 == 0
    # Go on with fewer texts than the writer had by telling the manifest so; embedding all 4,000 would only take time.
    n = left + 12
    texts = texts_of(n)
    straight = embed_to_store(minilm, texts, tmp_path / "straight", shard_rows=8)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["source"] = straight.source
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / ".00099.safetensors.1.tmp").write_bytes(b"half a shard")
    resumed = embed_to_store(minilm, texts, folder, shard_rows=8)
    resumed.verify()
    assert not list(folder.glob(".*"))
    for number in range(-(-n // 8)):
        name = f"{number:05d}.safetensors"
        assert (folder / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
