"""A text word by word: the states that the encoder pools, what is read of each, and the words they stand for.

The embedding of a text is the mean of these states, so that whatever is linear in it is the mean of what each
token gives, and is shared out among the words exactly.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core.progress import Progress, silent

if TYPE_CHECKING:
    from moodlens.embed.base import Encoder

BLOCK_CHARACTERS = 100_000
"""Of texts that are read at once, at most, or one text: what bounds the memory."""

# "don't", "lo-fi" and "e.g." are words; a tempo, a number and a sign of another script are.
_WORD = re.compile(r"\w+(?:['’.\-/]\w+)*", re.UNICODE)


@dataclass(frozen=True)
class Tokens:
    """Tokens of neighbouring texts, end to end, special ones included.

    Attributes:
        values: (t, m) float32, what was read of each token: its state, unless something was asked of it.
        offsets: (n + 1,) int64; text i has the tokens ``offsets[i]:offsets[i + 1]``, never none.
        spans: (t, 2) int64, its characters in its text, without blanks around them; empty for special tokens.
        begin: row of the first text.
    """

    values: np.ndarray
    offsets: np.ndarray
    spans: np.ndarray
    begin: int = 0

    def __len__(self) -> int:
        """How many texts."""
        return len(self.offsets) - 1

    def of(self, text: int) -> slice:
        """The tokens of the text (counted within these)."""
        return slice(int(self.offsets[text]), int(self.offsets[text + 1]))

    @property
    def owner(self) -> np.ndarray:
        """(t,) int64, text of every token, counted within these."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def special(self) -> np.ndarray:
        """(t,) bool, tokens that stand for no character."""
        return self.spans[:, 0] == self.spans[:, 1]


def each_tokens(
    encoder: "Encoder",
    texts: Sequence[str],
    read: Callable[[np.ndarray], np.ndarray] | None = None,
    *,
    progress: Progress = silent,
) -> Iterator[Tokens]:
    """The tokens of all texts, in blocks that fit the memory.

    Of an encoder that gives rows and no tokens each text is one token, which stands for no character.

    Args:
        encoder: whose last hidden states they are, the same that it pools.
        texts: any number, of any length.
        read: ``(t, d_in)`` states -> ``(t, m)`` float32, of what is kept of each token alone; None: the states. Where a
            token of a long text is in two parts, it has the mean of what is read of it in both.
        progress: counts texts.

    Raises:
        BadInput: a text is not a string or is blank.
    """
    from moodlens.embed.reading import check_texts

    check_texts(texts)
    begin = 0
    encoder.settle(texts)
    while begin < len(texts):
        end, size = begin + 1, len(texts[begin])
        while end < len(texts) and size + len(texts[end]) <= BLOCK_CHARACTERS:
            size += len(texts[end])
            end += 1
        progress("embed", begin, len(texts))
        block = texts[begin:end]
        if encoder.by_token:
            values, offsets = encoder.encode_tokens(block, read)
            spans = encoder.token_spans(block)
        else:
            rows = encoder.encode(block)
            values, offsets = rows if read is None else read(rows), np.arange(len(block) + 1)
            spans = np.zeros((len(block), 2), dtype=np.int64)
        yield Tokens(values, offsets, spans, begin)
        begin = end
    progress("embed", len(texts), len(texts))


def words_of(text: str, spans: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Words of a text, and to which of them each of its tokens belongs.

    Args:
        text: as it was encoded.
        spans: ``(t, 2)`` characters of its tokens (:attr:`Tokens.spans`).

    Returns:
        words: begin and end of each in the text.
        owner: ``(t,)`` int64, place among the words of the one that a token shares most characters with; -1 for special
            tokens and punctuation.
    """
    words = [match.span() for match in _WORD.finditer(text)]
    owner = np.full(len(spans), -1, dtype=np.int64)
    if not words:
        return words, owner
    starts, ends = np.array(words).T
    # A token that reaches over two words ("▁of" never does, a merged piece may) is the first one's unless less is in it.
    first = np.searchsorted(ends, spans[:, 0], side="right").clip(max=len(words) - 1)
    best = np.zeros(len(spans), dtype=np.int64)
    for step in range(2):
        word = np.minimum(first + step, len(words) - 1)
        shared = np.minimum(ends[word], spans[:, 1]) - np.maximum(starts[word], spans[:, 0])
        better = shared > best
        owner[better], best[better] = word[better], shared[better]
    return words, owner


def word_sums(shares: np.ndarray, owner: np.ndarray, n_words: int) -> np.ndarray:
    """Sums of ``shares`` (t,) or (t, m) of the tokens of every word: (n_words,) or (n_words, m); others are left out."""
    out = np.zeros((n_words, *shares.shape[1:]))
    np.add.at(out, owner[owner >= 0], shares[owner >= 0])
    return out
