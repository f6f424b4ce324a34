"""Encoders: rows that depend on nothing but their text, honest special tokens, dtypes, refusals."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from moodlens.core import BadInput
from moodlens.embed import encode_segments, encoders, get_encoder
from moodlens.embed.encoders import Encoder, has_fast_bf16


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


@pytest.fixture(scope="module")
def tiny(tiny_t5) -> Encoder:
    return get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu")


@pytest.fixture(params=["minilm", "tiny"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    return request.getfixturevalue(request.param)


def test_a_row_does_not_depend_on_its_batch(encoder, texts):
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert together.shape == (len(texts), encoder.d_in)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5, rtol=0)


def test_rows_follow_their_texts(encoder, texts):
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = encoder.encode([texts[i] for i in order])
    np.testing.assert_allclose(shuffled, encoder.encode(texts)[order], atol=1e-5, rtol=0)


def test_identical_texts_are_encoded_once(encoder, monkeypatch):
    seen: list[str] = []
    tokenize = encoder._tokenize
    monkeypatch.setattr(encoder, "_tokenize", lambda texts: (seen.extend(texts), tokenize(texts))[1])
    x = encoder.encode(["sad song", "happy song", "sad song", "sad song"])
    assert seen == ["sad song", "happy song"]
    np.testing.assert_array_equal(x[0], x[2])
    np.testing.assert_array_equal(x[0], x[3])
    assert np.abs(x[0] - x[1]).max() > 1e-3


def test_token_states_average_to_the_embedding(encoder, texts):
    states, offsets = encoder.encode_tokens(texts)
    assert offsets[0] == 0
    assert offsets[-1] == len(states)
    means = np.stack([states[a:b].mean(0) for a, b in itertools.pairwise(offsets)])
    np.testing.assert_allclose(means, encoder.encode(texts), atol=2e-5, rtol=0)


def test_special_tokens_are_counted(minilm, tiny):
    _, offsets = minilm.encode_tokens(["sad", "sad piano"])
    assert np.diff(offsets).tolist() == [3, 4]  # [CLS] ... [SEP]
    _, offsets = tiny.encode_tokens(["sad", "sad piano"])
    assert np.diff(offsets).tolist() == [2, 3]  # ... </s>
    assert tiny._tokenize(["sad"])[0][-1] == 1


def test_attention_sees_order_and_neighbours(tiny):
    """A bag of words would pass many of the tests above."""
    a, b = tiny.encode(["sad piano happy drums", "happy piano sad drums"])
    assert np.abs(a - b).max() > 1e-2


def test_texts_are_cut_at_max_length_and_counted(tiny_t5):
    encoder = get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu", max_length=6)
    _, offsets = encoder.encode_tokens(["piano " * 30, "sad", "piano " * 40])
    assert np.diff(offsets).tolist() == [6, 2, 6]
    assert encoder.truncated == 2
    assert encoder._tokenize(["piano " * 30])[0][-1] == 1, "</s> stays when the text is cut"
    encoder.encode(["sad"])
    assert encoder.truncated == 0


def test_no_texts_give_no_rows(encoder):
    assert encoder.encode([]).shape == (0, encoder.d_in)
    states, offsets = encoder.encode_tokens([])
    assert states.shape == (0, encoder.d_in)
    assert offsets.tolist() == [0]


@pytest.mark.parametrize("kind", ["minilm", "t5"])
def test_bfloat16_stays_close_to_float32(kind, texts, request):
    spec = "minilm" if kind == "minilm" else f"t5:{request.getfixturevalue('tiny_t5')}"
    reference = request.getfixturevalue("minilm" if kind == "minilm" else "tiny").encode(texts)
    fast = get_encoder(spec, dtype="bfloat16", device="cpu")
    x = fast.encode(texts)
    assert x.dtype == np.float32
    assert cosine(x, reference).min() > 0.999
    assert np.abs(x - reference).max() > 0, "bfloat16 was not used"
    # Neighbours in the batch still do not matter: only the order of sums inside a product may.
    alone = np.concatenate([fast.encode([text]) for text in texts])
    assert cosine(x, alone).min() > 0.9999


def test_bfloat16_on_real_captions(minilm, shared):
    import polars as pl

    captions = pl.read_csv(shared / "captions" / "musiccaps_captions_dev.csv")["caption"].to_list()[::100]
    fast = get_encoder("minilm", dtype="bfloat16", device="cpu").encode(captions)
    assert cosine(fast, minilm.encode(captions)).min() > 0.9995


def test_threads_change_nothing_and_are_given_back(encoder, texts):
    reference = encoder.encode(texts)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x = encoder.encode(texts)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(x, reference, atol=1e-6, rtol=0)


def test_batches_cover_every_row_once_and_keep_to_their_size():
    lengths = np.random.default_rng(0).integers(1, 300, 500).tolist()
    batches = list(encoders._batches(lengths, 512))
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    assert max(sum(lengths[row] for row in batch) for batch in batches) <= 512
    assert list(encoders._batches([700, 3], 512)) == [[0], [1]]


def test_progress_counts_texts(encoder, texts):
    calls: list[tuple[str, int, int]] = []
    encoder.encode(texts, progress=lambda *call: calls.append(call))
    done = [call[1] for call in calls]
    assert done[0] == 0
    assert done[-1] == len(texts)
    assert done == sorted(done)
    assert {call[2] for call in calls} == {len(texts)}


def test_segments_know_their_text(minilm):
    long = "The piano is soft and slow and very far away. A woman sings about rain. Then the drums come in."
    x, owner = encode_segments(minilm, ["Sad song.", long])
    assert owner.tolist() == [0, 1, 1, 1]
    np.testing.assert_allclose(x[2], minilm.encode(["A woman sings about rain."])[0], atol=1e-5)


@pytest.mark.parametrize(("native", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_only_where_it_is_native(native, dtype, monkeypatch, tiny_t5):
    monkeypatch.setattr(encoders, "has_fast_bf16", lambda device: native)
    assert get_encoder(f"t5:{tiny_t5}", device="cpu").info()["dtype"] == dtype


def test_fast_bf16_follows_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert not has_fast_bf16("cpu")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert has_fast_bf16("cpu")


def test_info_names_the_weights(minilm, tiny, tiny_t5):
    assert minilm.info() == {
        "encoder": "minilm",
        "revision": "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "d_in": 384,
        "pooling": "mean",
        "max_length": 256,
        "dtype": "float32",
    }
    assert tiny.info()["encoder"] == f"t5:{tiny_t5}"
    assert tiny.info()["max_length"] == 512


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ("one string", "got one string"),
        (["fine", "  "], "row 1 is blank"),
        (["fine", "fine", None], "row 2 is None, not a string"),
    ],
)
def test_bad_texts_are_named(minilm, texts, says):
    with pytest.raises(BadInput, match=says):
        minilm.encode(texts)
    with pytest.raises(BadInput, match=says):
        encode_segments(minilm, texts)


@pytest.mark.parametrize(
    ("spec", "settings", "says"),
    [
        ("bert", {}, "expected minilm"),
        ("t5:", {}, "expected minilm"),
        ("precomputed", {}, "expected minilm"),
        ("minilm", {"dtype": "float16"}, "expected one of auto"),
        ("minilm", {"max_length": 2}, "at least 3"),
        ("minilm", {"max_length": 600}, "512 positions"),
        ("minilm", {"revision": "main"}, "no revision"),
    ],
)
def test_bad_settings_are_refused(spec, settings, says):
    with pytest.raises(BadInput, match=says):
        get_encoder(spec, **settings)


def test_minilm_needs_neither_transformers_nor_sentence_transformers():
    code = (
        "import sys, moodlens.embed\n"
        "assert 'torch' not in sys.modules\n"
        "moodlens.embed.get_encoder('minilm').encode(['sad piano'])\n"
        "assert not {'transformers', 'sentence_transformers', 'sklearn'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_same(texts, minilm):
    reference = minilm.encode(texts)
    np.testing.assert_allclose(
        get_encoder("minilm", dtype="float32", device="cuda").encode(texts), reference, atol=1e-4
    )
    assert cosine(get_encoder("minilm", device="cuda").encode(texts), reference).min() > 0.999


def test_few_texts_are_spread_and_many_fill_their_batches():
    assert [encoders._cpu_tokens(total) for total in (10, 800, 100_000)] == [128, 200, 1024]
