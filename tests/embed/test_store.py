"""The store: rows come back as written, damage is found, memory stays flat, killed runs go on."""

import json
import os
import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.core import BadInput
from moodlens.embed import EmbeddingStore, EncoderInfo

INFO = EncoderInfo(encoder="minilm", revision="r", d_in=8, pooling="mean", max_length=256, dtype="float32")


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
    with pytest.raises(BadInput, match="row 1 is too small for float16"):
        store.append(np.stack([rows[0], rows[0] * 1e-6]))
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
        store.append(rows, info=INFO.model_copy(update={"encoder": "t5:x"}))
    with pytest.raises(BadInput, match="have dtype 'float32', not 'bfloat16'"):
        store.require(INFO.model_copy(update={"dtype": "bfloat16"}))


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


HOSTILE = [
    ({"format": "other"}, "not the manifest"),
    ({"version": 9}, "version 9"),
    ({"rows": 51}, "rows is 51 but its shards add up to 50"),
    ({"dtype": "int4"}, r"manifest\.json: "),
    ({"dtype": ["float32"]}, r"manifest\.json: "),
    ({"info": []}, r"manifest\.json: info: "),
    ({"source": 3}, r"manifest\.json: "),
    ({"shards": {}}, r"manifest\.json: "),
    ({"shards": [], "rows": True}, r"manifest\.json: "),
    ({"d_in": None}, r"manifest\.json: "),
    ({"d_in": -8}, r"manifest\.json: "),
    ({"d_in": 10**30}, r"manifest\.json: "),
    ({"d_in": 9}, "truncated or not the shard"),
    ({"rows": 10**400}, r"manifest\.json: "),
    ({"shards": [7]}, r"manifest\.json: shard"),
    ({"shards": [{"file": "../evil", "rows": 50, "sha256": "x"}]}, r"manifest\.json: shard"),
    ({"shards": [{"file": "/etc/passwd", "rows": 50, "sha256": "x"}]}, r"manifest\.json: shard"),
    ({"shards": [{"file": "00000.safetensors", "rows": -50, "sha256": "x"}]}, r"manifest\.json: shard"),
    ({"shards": [{"file": "00000.safetensors", "rows": 10**18, "sha256": "x"}]}, r"manifest\.json: shard"),
    ({"shards": [{"file": "00000.safetensors", "rows": 50, "sha256": "x"}]}, "truncated or not the shard"),
    ({"shards": [{"file": "00000.safetensors", "rows": 50, "sha256": None}]}, r"manifest\.json: shard"),
]


@pytest.mark.parametrize(("change", "says"), HOSTILE)
def test_a_broken_manifest_is_named(store, change, says):
    path = store.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(BadInput, match=says):
        EmbeddingStore.open(store.folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", "[" * 100_000, '{"rows": ' + "9" * 5000 + "}", "\ud800"]
)
def test_what_is_no_manifest_is_named(store, text):
    (store.folder / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadInput, match=r"manifest\.json"):
        EmbeddingStore.open(store.folder)


@pytest.mark.parametrize("header", [b"", b"{}", b"[]", b"[" * 60_000, b'{"embeddings": 3}', b"\xff" * 9])
@pytest.mark.parametrize("length", [0, 1, 2**63, None])
def test_a_hostile_shard_is_named(store, header, length):
    path = store.folder / "00001.safetensors"
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header)
    with pytest.raises(BadInput, match=r"00001\.safetensors"):
        EmbeddingStore.open(store.folder)


def test_swapped_shards_are_noticed_by_any_reader(tmp_path, rows):
    store = EmbeddingStore.create(tmp_path / "s", INFO, "float32")
    for part in np.split(rows, 2):
        store.append(part)
    names = [store.folder / f"0000{i}.safetensors" for i in range(2)]
    first, second = (path.read_bytes() for path in names)
    names[0].write_bytes(second)
    names[1].write_bytes(first)
    opened = EmbeddingStore.open(store.folder)
    for read in (lambda: opened.batch(np.array([3])), opened.array, opened.verify, lambda: opened[:4]):
        with pytest.raises(BadInput, match=r"00000\.safetensors: its SHA-256"):
            read()


def test_a_second_writer_is_told(store, rows):
    """Both opened the same store; what the first adds stays, and the second is told before it writes."""
    second = EmbeddingStore.open(store.folder)
    store.append(rows[:5])
    with pytest.raises(BadInput, match="another process is writing there"):
        second.append(rows[5:9])
    with pytest.raises(BadInput, match="another process is writing there"):
        second.clean()
    again = EmbeddingStore.open(store.folder)
    again.verify()
    np.testing.assert_array_equal(again.array(), np.concatenate([rows, rows[:5]]))


TWO = """
import sys, numpy as np
from moodlens.core import BadInput
from moodlens.embed import EmbeddingStore
store = EmbeddingStore.open(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
try:
    for _ in range(50):
        store.append(np.full((3, 8), float(sys.argv[2]), np.float32))
except BadInput as error:
    assert "another process is writing there" in str(error), error
"""


def test_two_writers_at_once_leave_a_whole_store(store):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", TWO, str(store.folder), str(k)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for k in (1, 2)
    ]
    for writer in writers:  # a second one that opens late finds what the first has written, and may add to it
        assert writer.stdout is not None
        assert writer.stdout.readline() == "open\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    again = EmbeddingStore.open(store.folder)
    again.verify()
    added = np.unique(again.array()[50:])
    assert again.rows == 200
    assert len(added) == 1, "one of the two wrote all of its shards"


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

    store = EmbeddingStore.create(tmp_path / "big", INFO.model_copy(update={"d_in": 512}), "float16")
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


def test_pages_of_a_store_are_given_back_and_its_rows_stay_what_they_are(tmp_path, monkeypatch):
    from moodlens.core import maps

    rows = np.random.default_rng(0).standard_normal((4000, 256)).astype(np.float32)
    store = EmbeddingStore.create(tmp_path, EncoderInfo(encoder="none"), "float32")
    store.append(rows[:2500])
    store.append(rows[2500:])
    monkeypatch.setattr(maps, "HELD", 0)
    monkeypatch.setattr(maps, "_LOOK", 2**18)
    draw = np.random.default_rng(1)
    np.testing.assert_array_equal(store.array(), rows)
    for _ in range(20):
        some = draw.integers(0, 4000, 100)
        np.testing.assert_array_equal(store.batch(some), rows[some])
