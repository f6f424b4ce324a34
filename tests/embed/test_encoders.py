"""Encoders: rows that depend on nothing but their text, honest special tokens, dtypes, refusals."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers.tiny_t5 import TINY, t5_weights, write_checkpoint
from moodlens.core import BadInput, cpu
from moodlens.embed import EncoderInfo, encoder, get_encoder, packed
from moodlens.embed.encoder import Encoder


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


@pytest.fixture(scope="module")
def tiny(tiny_t5) -> Encoder:
    return get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu")


@pytest.fixture(params=["minilm", "tiny"])
def either(request: pytest.FixtureRequest) -> Encoder:
    return request.getfixturevalue(request.param)


def test_a_row_does_not_depend_on_its_batch(either, texts):
    together = either.encode(texts)
    alone = np.concatenate([either.encode([text]) for text in texts])
    assert together.shape == (len(texts), either.d_in)
    assert together.dtype == np.float32
    apart = np.linalg.norm(together - alone, axis=1) / np.linalg.norm(alone, axis=1)
    assert apart.max() < 1e-6, "the tolerance that the docs state"


def test_rows_follow_their_texts(either, texts):
    order = np.random.default_rng(0).permutation(len(texts))
    shuffled = either.encode([texts[i] for i in order])
    np.testing.assert_allclose(shuffled, either.encode(texts)[order], atol=1e-5, rtol=0)


def test_texts_of_the_same_tokens_are_encoded_once(either, monkeypatch):
    seen: list[list[int]] = []
    states = either._states
    monkeypatch.setattr(either, "_states", lambda parts: (seen.extend(parts), states(parts))[1])
    x = either.encode(["sad song", "happy song", "sad song", "sad  song"])
    assert len(seen) == 2
    np.testing.assert_array_equal(x[0], x[2])
    np.testing.assert_array_equal(x[0], x[3])
    assert np.abs(x[0] - x[1]).max() > 1e-3


def test_token_states_average_to_the_embedding(either, texts):
    states, offsets = either.encode_tokens(texts)
    assert offsets[0] == 0
    assert offsets[-1] == len(states)
    means = np.stack([states[a:b].mean(0) for a, b in itertools.pairwise(offsets)])
    np.testing.assert_allclose(means, either.encode(texts), atol=2e-5, rtol=0)


def test_special_tokens_are_counted(minilm, tiny):
    _, offsets = minilm.encode_tokens(["sad", "sad piano"])
    assert np.diff(offsets).tolist() == [3, 4]  # [CLS] ... [SEP]
    _, offsets = tiny.encode_tokens(["sad", "sad piano"])
    assert np.diff(offsets).tolist() == [2, 3]  # ... </s>
    assert tiny.read(["sad"]).parts[0].ids[-1] == 1


def test_attention_sees_order_and_neighbours(tiny):
    """A bag of words would pass many of the tests above."""
    a, b = tiny.encode(["sad piano happy drums", "happy piano sad drums"])
    assert np.abs(a - b).max() > 1e-2


def short(tiny_t5, long_texts, **settings):
    """An encoder that reads six tokens."""
    return get_encoder(
        f"t5:{tiny_t5}", dtype="float32", device="cpu", max_length=6, long_texts=long_texts, **settings
    )


def test_long_texts_can_be_cut(tiny_t5):
    encoder = short(tiny_t5, "cut")
    texts = ["piano " * 30, "sad", "piano " * 40]
    _, offsets = encoder.encode_tokens(texts)
    assert np.diff(offsets).tolist() == [6, 2, 6]
    reading = encoder.read(texts)
    assert reading.n_tokens.tolist() == [31, 2, 41]
    assert reading.n_cut.tolist() == [25, 0, 35]
    assert reading.parts[0].ids[-1] == 1, "</s> stays when the text is cut"
    assert reading.distinct.tolist() == [0, 1, 0]
    x = encoder.encode(texts)
    np.testing.assert_array_equal(x[0], x[2])


def test_long_texts_can_be_refused(tiny_t5):
    with pytest.raises(BadInput, match=r"row 1 has 31 tokens, and encoder t5:.* reads 6; shorten it, or set"):
        short(tiny_t5, "error").encode(["sad", "piano " * 30])
    assert short(tiny_t5, "error").encode(["sad", "piano " * 5]).shape == (2, 32)


@pytest.mark.parametrize("words", [5, 6, 10, 11, 13])
def test_long_texts_are_read_in_parts(words, tiny_t5, tiny):
    """The mean is that over the tokens of all parts, whatever else is embedded."""
    encoder = short(tiny_t5, "parts")
    text = " ".join(["piano", "sad", "drums", "calm", "waltz"] * 3)[: 5 * words]
    (whole,) = tiny.read([text]).parts
    *content, end = whole.ids
    n_parts = -(-len(content) // 5)
    starts = [(len(content) - 5) * i // max(1, n_parts - 1) for i in range(n_parts)]
    states, times = np.zeros((len(whole.ids), 32)), np.zeros((len(whole.ids), 1))
    for start in starts:
        part = content[start : start + 5]
        places = [*range(start, start + len(part)), len(content)]
        states[places] += tiny._states([whole._replace(ids=[*part, end])])[0].numpy()
        times[places] += 1
    assert times.min() == 1
    expected = (states / times).mean(axis=0)
    x = encoder.encode(["happy", text, "sad", text])
    np.testing.assert_allclose(x[1], expected, atol=5e-6)
    np.testing.assert_array_equal(x[1], x[3])
    np.testing.assert_allclose(x[2], tiny.encode(["sad"])[0], atol=5e-6)
    found, offsets = encoder.encode_tokens(["happy", text])
    np.testing.assert_allclose(found[offsets[1] :], states / times, atol=5e-6)


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_mood_is_read_wherever_it_stands(place, minilm):
    rng = np.random.default_rng(0)
    words = [
        "a",
        "track",
        "recorded",
        "in",
        "the",
        "studio",
        "with",
        "two",
        "microphones",
        "and",
        "mixed",
        "on",
        "an",
        "old",
        "desk",
        "by",
        "an",
        "engineer",
    ]
    filler = [" ".join(rng.choice(words, 300)) for _ in range(24)]
    moods = ["a sad, gloomy, tearful song", "a happy, joyful, bright song"]
    texts = [
        f"{moods[i % 2]} {text}" if place == "first" else f"{text} {moods[i % 2]}"
        for i, text in enumerate(filler)
    ]
    x = minilm.encode(texts)
    gap = x[0::2].mean(axis=0) - x[1::2].mean(axis=0)
    own = np.concatenate([x[0::2] @ gap, -(x[1::2] @ gap)])
    middle = (x.mean(axis=0) @ gap) * np.repeat([1, -1], 12)
    assert (own > middle).mean() > 0.9


def test_no_texts_give_no_rows(either):
    assert either.encode([]).shape == (0, either.d_in)
    states, offsets = either.encode_tokens([])
    assert states.shape == (0, either.d_in)
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


def test_threads_change_nothing_and_are_given_back(either, texts):
    reference = either.encode(texts)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        x = either.encode(texts)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(x, reference, atol=1e-6, rtol=0)


def test_batches_cover_every_row_once_and_keep_to_their_size():
    lengths = np.random.default_rng(0).integers(1, 300, 500).tolist()
    batches = list(encoder._batches(lengths, 512))
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    assert max(sum(lengths[row] for row in batch) for batch in batches) <= 512
    assert list(encoder._batches([700, 3], 512)) == [[0], [1]]


def test_progress_counts_texts(either, texts):
    calls: list[tuple[str, int, int]] = []
    either.encode(texts, progress=lambda *call: calls.append(call))
    done = [call[1] for call in calls]
    assert done[0] == 0
    assert done[-1] == len(texts)
    assert done == sorted(done)
    assert {call[2] for call in calls} == {len(texts)}


@pytest.mark.parametrize(("native", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_bfloat16_only_where_it_is_native(native, dtype, monkeypatch, tiny_t5):
    monkeypatch.setattr(encoder, "has_fast_bfloat16", lambda: native)
    assert get_encoder(f"t5:{tiny_t5}", device="cpu").info().dtype == dtype


def test_auto_believes_bfloat16_when_the_first_texts_agree(monkeypatch, tiny_t5, tiny, texts):
    monkeypatch.setattr(encoder, "has_fast_bfloat16", lambda: True)
    auto = get_encoder(f"t5:{tiny_t5}", device="cpu")
    x = auto.encode(texts)
    assert (auto.dtype, auto.dtype_note) == ("bfloat16", "")
    np.testing.assert_array_equal(
        x, get_encoder(f"t5:{tiny_t5}", dtype="bfloat16", device="cpu").encode(texts)
    )


def test_auto_gives_bfloat16_up_when_they_do_not(monkeypatch, tmp_path, tokenizer_file, texts):
    """Outliers of one sign in every row, as real T5 has them, whose differences bfloat16 loses."""
    monkeypatch.setattr(encoder, "has_fast_bfloat16", lambda: True)
    weights = t5_weights(TINY)
    for name in ("q", "k"):
        weights[f"encoder.block.0.layer.0.SelfAttention.{name}.weight"] *= 40
    folder = write_checkpoint(tmp_path / "t5", TINY, weights, tokenizer_file)
    auto = get_encoder(f"t5:{folder}", device="cpu")
    assert auto.dtype == "bfloat16"
    x = auto.encode(texts)
    assert auto.info().dtype == "float32"
    assert "float32 was taken" in auto.dtype_note
    reference = get_encoder(f"t5:{folder}", dtype="float32", device="cpu").encode(texts)
    np.testing.assert_array_equal(x, reference)


def test_bfloat16_that_cannot_be_packed_takes_the_plain_path(monkeypatch, minilm):
    """As on a processor without AVX-512; ``.ci/run`` runs all of these tests as such a one, too."""
    texts = ["sad piano", "a happy song with loud drums"]
    monkeypatch.setattr(packed, "packs_bfloat16", lambda: False)
    plain = get_encoder("minilm", dtype="bfloat16", device="cpu")
    assert not plain._model._layers[0].intermediate._packed
    assert cosine(plain.encode(texts), minilm.encode(texts)).min() > 0.999


def test_auto_follows_the_processor(minilm):
    fast = cpu.has_fast_bfloat16()
    assert get_encoder("minilm", device="cpu").dtype == ("bfloat16" if fast else "float32")


def test_info_names_the_weights(minilm, tiny, tiny_t5):
    assert minilm.info() == EncoderInfo(
        encoder="minilm",
        revision="sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        d_in=384,
        pooling="mean",
        max_length=256,
        long_texts="parts",
        dtype="float32",
    )
    assert tiny.info().encoder == f"t5:{tiny_t5}"
    assert tiny.info().max_length == 512


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ("one string", "got one string"),
        (["fine", "  "], "row 1 is blank"),
        (["fine", "fine", None], "row 2 is None, not a string"),
        (["fine", "half \ud83d"], "row 1 holds half a character"),
    ],
)
def test_bad_texts_are_named(minilm, texts, says):
    with pytest.raises(BadInput, match=says):
        minilm.encode(texts)


@pytest.mark.parametrize(
    ("spec", "settings", "says"),
    [
        ("bert", {}, "expected minilm"),
        ("t5:", {}, "expected minilm"),
        ("precomputed", {}, "expected minilm"),
        ("minilm:x", {}, "expected minilm"),
        ("t5: ", {}, "expected minilm"),
        ("t5:no/such\nname", {}, r"no/such.nname': no such folder"),
        ("t5:./no/such", {}, "no such folder, and not a name of the hub"),
        ("t5:/etc/passwd", {}, "is a file; name a folder"),
        ("t5:no/such", {}, "HF_HUB_OFFLINE is set"),
        ("minilm", {"dtype": "float16"}, "expected one of auto"),
        ("minilm", {"long_texts": "drop"}, "expected one of parts, cut, error"),
        ("minilm", {"device": "abacus"}, "device abacus: cannot be used here"),
        ("minilm", {"max_length": -5}, "expected at least 3"),
        ("minilm", {"max_length": 2}, "at least 3"),
        ("minilm", {"max_length": 600}, "512 positions"),
        ("minilm", {"revision": "main"}, "no revision"),
    ],
)
def test_bad_settings_are_refused(spec, settings, says):
    with pytest.raises(BadInput, match=says) as caught:
        get_encoder(spec, **settings)
    assert "\n" not in str(caught.value)


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
    assert [encoder._cpu_tokens(total) for total in (10, 800, 100_000)] == [128, 200, 1024]
