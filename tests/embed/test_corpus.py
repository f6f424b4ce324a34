"""A corpus embedded into a store: in order, resumed after a kill, what was not read counted."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import polars as pl
import pytest

from moodlens.core import BadInput
from moodlens.embed import EmbeddingStore, embed_to_store, get_encoder


def texts_of(n):
    return [f"song number {i} for a sad evening" for i in range(n)]


def test_a_corpus_is_embedded_in_order(minilm, tmp_path):
    texts, calls = texts_of(10), []
    index = pl.DataFrame({"text": texts})
    store, _ = embed_to_store(
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
    assert embed_to_store(minilm, texts_of(5), tmp_path / "s")[0].rows == 5
    with pytest.raises(BadInput, match="other texts or settings"):
        embed_to_store(minilm, texts_of(6), tmp_path / "s")
    with pytest.raises(BadInput, match="other texts or settings"):
        embed_to_store(minilm, texts_of(5), tmp_path / "s", dtype="float32")


def test_what_was_not_read_is_counted_and_named(tiny_t5, tmp_path):
    encoder = get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu", max_length=6, long_texts="cut")
    texts = [
        "sad piano",
        "a calm slow piano song with strings",
        "sad  piano",
        "\u60b2\u3057\u3044\u66f2",
        "a calm slow piano song with drums",
        "\u697d\u3057\u3044",
        "happy",
    ]
    _, report = embed_to_store(encoder, texts, tmp_path / "s", shard_rows=3)
    n_tokens = [len(encoder._reader._tokenizer.encode(text).ids) for text in texts]
    assert (report.max_length, report.long_texts) == (6, "cut")
    assert report.n_distinct == 4, "two of the same words, two cut to the same, two of unknown words, one"
    assert report.n_long == report.n_cut == 2
    assert report.tokens_cut == sum(n - 6 for n in n_tokens if n > 6)
    assert report.n_same_after_cutting == 1
    assert report.n_without_known_token == 2
    assert report.dtype == "float32"
    assert [(example.what, example.row) for example in report.examples] == [
        ("long", 1),
        ("long", 4),
        ("no known token", 3),
        ("no known token", 5),
        ("same after cutting", 4),
    ]
    assert report.examples[0].text == texts[1]

    parts = get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu", max_length=6)
    _, report = embed_to_store(parts, texts, tmp_path / "parts", shard_rows=3)
    assert (report.n_long, report.n_cut, report.tokens_cut, report.n_same_after_cutting) == (2, 0, 0, 0)
    assert report.n_distinct == 5


def test_errors_name_the_row_of_the_corpus(tiny_t5, tmp_path):
    settings = {"dtype": "float32", "device": "cpu", "max_length": 6, "long_texts": "error"}
    encoder = get_encoder(f"t5:{tiny_t5}", **settings)
    texts = ["sad", "sad", "happy", "calm", "piano " * 30]
    with pytest.raises(BadInput, match="row 4 has 31 tokens"):
        embed_to_store(encoder, texts, tmp_path / "s", shard_rows=2)


def test_embeddings_that_are_all_equal_are_refused(tiny_t5, tmp_path):
    encoder = get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu")
    with pytest.raises(BadInput, match=r"all 3 texts are equal to rounding.* knows no token of 3 of them"):
        embed_to_store(encoder, ["\u60b2\u3057\u3044", "\u697d", "\u5bc2\u3057\u3044"], tmp_path / "s")


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
    straight, report = embed_to_store(minilm, texts, tmp_path / "straight", shard_rows=8)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["source"] = (straight.source or pytest.fail("no source")).model_dump()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / ".00099.safetensors.1.tmp").write_bytes(b"half a shard")
    resumed, again = embed_to_store(minilm, texts, folder, shard_rows=8)
    resumed.verify()
    assert again == report, "the report is of all texts, also of those that were embedded before"
    assert not list(folder.glob(".*"))
    for number in range(-(-n // 8)):
        name = f"{number:05d}.safetensors"
        assert (folder / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()
