"""Texts word by word: states that average to the embedding, and the characters that they stand for."""

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.embed import each_tokens, get_encoder, tokens, words_of
from moodlens.embed.tokens import word_sums


@pytest.fixture(params=["minilm", "tiny"])
def either(request, tiny_t5):
    if request.param == "minilm":
        return request.getfixturevalue("minilm")
    return get_encoder(f"t5:{tiny_t5}", dtype="float32", device="cpu")


def test_blocks_hold_every_text_once_in_order(either, texts, monkeypatch):
    whole = list(each_tokens(either, texts))
    assert len(whole) == 1
    assert len(whole[0]) == len(texts)
    monkeypatch.setattr(tokens, "BLOCK_CHARACTERS", 60)
    blocks = list(each_tokens(either, texts))
    assert len(blocks) > 1
    assert [block.begin for block in blocks] == np.cumsum([0, *map(len, blocks[:-1])]).tolist()
    assert sum(map(len, blocks)) == len(texts)
    np.testing.assert_allclose(
        np.concatenate([block.values for block in blocks]), whole[0].values, atol=2e-5, rtol=0
    )
    np.testing.assert_array_equal(np.concatenate([block.spans for block in blocks]), whole[0].spans)


def test_what_is_linear_in_the_embedding_is_the_mean_over_tokens(either, texts):
    direction = np.random.default_rng(0).standard_normal((either.d_in, 3)).astype(np.float32)
    (block,) = each_tokens(either, texts, lambda states: states @ direction)
    assert block.values.shape == (block.offsets[-1], 3)
    pooled = np.stack([block.values[block.of(i)].mean(axis=0) for i in range(len(block))])
    np.testing.assert_allclose(pooled, either.encode(texts) @ direction, atol=1e-4, rtol=0)
    assert np.bincount(block.owner).tolist() == np.diff(block.offsets).tolist()


def test_tokens_stand_for_their_characters(either):
    text = "A sad, slow piano; don't play happy drums"
    (block,) = each_tokens(either, [text, "sad"])
    spans = block.spans[block.of(0)]
    words, owner = words_of(text, spans)
    assert [text[a:b] for a, b in words] == ["A", "sad", "slow", "piano", "don't", "play", "happy", "drums"]
    assert block.special.sum() >= 2
    said = [text[a:b] for a, b in spans[~block.special[block.of(0)]]]
    assert not any(piece != piece.strip() for piece in said)
    assert set(owner[owner >= 0].tolist()) <= set(range(len(words)))
    for (a, b), word in zip(spans[owner >= 0], owner[owner >= 0], strict=True):
        assert words[word][0] < b
        assert a < words[word][1]


def test_every_word_of_a_known_text_has_its_tokens(minilm):
    text = "Melancholic reverberating guitars, 120 BPM"
    (block,) = each_tokens(minilm, [text])
    words, owner = words_of(text, block.spans)
    shares = word_sums(np.ones(len(owner)), owner, len(words))
    assert shares.min() >= 1
    assert shares.sum() == (owner >= 0).sum()
    assert (owner < 0).sum() == 3, "two special tokens and a comma"


def test_texts_of_no_word_have_none():
    words, owner = words_of("?! ...", np.array([[0, 0], [0, 1], [1, 2]]))
    assert words == []
    assert owner.tolist() == [-1, -1, -1]


def test_long_texts_have_a_span_for_every_token(tiny_t5):
    for long_texts in ("parts", "cut"):
        encoder = get_encoder(
            f"t5:{tiny_t5}", dtype="float32", device="cpu", max_length=6, long_texts=long_texts
        )
        (block,) = each_tokens(encoder, ["piano sad drums calm waltz " * 4, "sad"])
        assert len(block.spans) == len(block.values)
        starts = block.spans[block.of(0)][~block.special[block.of(0)], 0]
        assert (np.diff(starts) >= 0).all(), "a lone word boundary begins where its word does"


def test_a_blank_text_is_named(either):
    with pytest.raises(BadInput, match="row 1 is blank"):
        list(each_tokens(either, ["sad", " "]))
    assert list(each_tokens(either, [])) == []
