"""Texts as an encoder reads them: tokens, long texts in parts, and what of them it does not see."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from moodlens.core import BadInput

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PROBES = ("a", "music", "1")


class Part(NamedTuple):
    """What the encoder reads at once: most often a whole text.

    Attributes:
        ids: tokens, special ones included.
        places: (len(ids),) int64, of these tokens in the text; special ones stand around the whole of it.
        weights: (len(ids),) float32, share of each in the row of the text.
    """

    ids: list[int]
    places: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Reading:
    """Texts in tokens. Texts of which the same tokens are read share their parts, so that they are embedded once.

    Attributes:
        parts: of all distinct texts, in order.
        owner: (n_parts,) int64, never decreasing; which of the distinct texts a part belongs to.
        distinct: (n_texts,) int64, which of the distinct texts each text is.
        n_tokens: (n_texts,) int64, tokens of the whole text, special ones included.
        n_cut: (n_texts,) int64, those of them that are not read.
        known: (n_texts,) bool, whether the encoder knows a token of the text besides the special ones.
        whole: (n_texts,) int64, hash of all tokens of the text; differs where anything differs.
        read: (n_texts,) int64, hash of those that are read.
        begin: row of the first text in the corpus that it is from.
    """

    parts: list[Part]
    owner: np.ndarray
    distinct: np.ndarray
    n_tokens: np.ndarray
    n_cut: np.ndarray
    known: np.ndarray
    whole: np.ndarray
    read: np.ndarray
    begin: int


class Reader:
    """A tokenizer, and what is done with texts of more than ``max_length`` tokens: ``parts``, ``cut`` or ``error``.

    ``pooling`` says which of a text's tokens make its row: all alike (``mean``), the first (``cls``) or the ``last``.
    """

    def __init__(
        self,
        label: str,
        tokenizer: "Tokenizer",
        n_words: int,
        max_length: int,
        long_texts: str,
        pooling: str = "mean",
    ):
        self._pooling = pooling
        self._label, self._tokenizer, self._n_words = label, tokenizer, n_words
        self._max_length, self._long_texts = max_length, long_texts
        self._begin, self._end = _special_tokens(label, tokenizer)
        self._room = max_length - len(self._begin) - len(self._end)
        if self._room < 1:
            raise BadInput(f"max_length {max_length}: expected at least {max_length - self._room + 1} tokens")
        self._says = _known_words(tokenizer)

    def read(self, texts: Sequence[str], begin: int = 0) -> Reading:
        """The texts in tokens; ``begin`` is added to the rows that errors name.

        A long text is read in as few parts as hold it. All are of full length, so that its words have the context that a
        shorter text gives them; where parts overlap, a token's state is the mean of what they give, so that each token
        counts once.

        Raises:
            BadInput: a text is not a string or is blank, or is too long (``error``).
        """
        check_texts(texts, begin)
        places: dict[str, int] = {}
        place = np.array([places.setdefault(text, len(places)) for text in texts], dtype=np.int64)
        rows = np.unique(place, return_index=True)[1] + begin
        whole = self._contents(list(places), rows)
        read = [tuple(ids[: self._room] if self._long_texts == "cut" else ids) for ids in whole]
        numbers: dict[tuple[int, ...], int] = {}
        distinct = [numbers.setdefault(ids, len(numbers)) for ids in read]
        parts = [self._parts(ids) for ids in numbers]
        special = len(self._begin) + len(self._end)

        def per_text(values: Iterable[int]) -> np.ndarray:
            return np.fromiter(values, dtype=np.int64, count=len(whole))[place]

        return Reading(
            parts=[part for pieces in parts for part in pieces],
            owner=np.repeat(np.arange(len(parts)), [len(pieces) for pieces in parts]),
            distinct=per_text(distinct),
            n_tokens=per_text(len(ids) + special for ids in whole),
            n_cut=per_text(len(ids) - len(kept) for ids, kept in zip(whole, read, strict=True)),
            known=per_text(any(map(self._says.__getitem__, ids)) for ids in read) > 0,
            whole=per_text(hash(tuple(ids)) for ids in whole),
            read=per_text(map(hash, read)),
            begin=begin,
        )

    def spans(self, texts: Sequence[str]) -> np.ndarray:
        """Characters of every token that is read, (sum of tokens, 2) int64: see :meth:`Encoder.token_spans`."""
        n_begin, n_end = len(self._begin), len(self._end)
        out = []
        for text, item in zip(texts, self._tokenizer.encode_batch(list(texts)), strict=True):
            inside = item.offsets[n_begin : len(item.offsets) - n_end]
            inside = inside[: self._room] if self._long_texts == "cut" else inside
            out += [(0, 0)] * n_begin
            out += [_without_blanks(text, begin, end) for begin, end in inside]
            out += [(len(text), len(text))] * n_end
        return np.array(out, dtype=np.int64).reshape(-1, 2)

    def _parts(self, ids: tuple[int, ...]) -> list[Part]:
        n_begin, n_end = len(self._begin), len(self._end)
        total = n_begin + len(ids) + n_end
        if len(ids) <= self._room:
            whole, place = [*self._begin, *ids, *self._end], np.arange(total)
            return [Part(whole, place, self._weights(place, np.ones(total)))]
        n_steps = -(-len(ids) // self._room) - 1
        starts = [(len(ids) - self._room) * step // n_steps for step in range(n_steps + 1)]
        before, behind = np.arange(n_begin), np.arange(total - n_end, total)
        inside = n_begin + np.arange(self._room)
        places = [np.concatenate([before, start + inside, behind]) for start in starts]
        times = np.bincount(np.concatenate(places), minlength=total)
        return [
            Part(
                [*self._begin, *ids[start : start + self._room], *self._end],
                place,
                self._weights(place, times),
            )
            for start, place in zip(starts, places, strict=True)
        ]

    def _weights(self, place: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Share in the row of the tokens at ``place``, of a text whose tokens are in ``times (total,)`` parts."""
        if self._pooling == "mean":
            return (1 / (len(times) * times[place])).astype(np.float32)
        chosen = place == (0 if self._pooling == "cls" else len(times) - 1)
        return (chosen / times[place]).astype(np.float32)

    def _contents(self, texts: list[str], rows: np.ndarray) -> list[list[int]]:
        """Token ids of each text without the special ones around it; ``rows`` say where the texts stand."""
        try:
            encoded = self._tokenizer.encode_batch_fast(texts)  # in parallel, in Rust
        except (UnicodeError, TypeError) as error:
            bad = next((r for r, text in zip(rows, texts, strict=True) if not _is_unicode(text)), rows[0])
            raise BadInput(f"texts: row {bad} holds half a character (a lone surrogate)") from error
        contents = []
        for row, item in zip(rows, encoded, strict=True):
            ids = item.ids
            if not ids:
                raise BadInput(f"texts: row {row} has no token that {self._label} can read")
            if max(ids) >= self._n_words:
                raise BadInput(
                    f"{self._label}: its tokenizer knows a token {max(ids)}, its weights only {self._n_words}: "
                    "the tokenizer.json is another checkpoint's"
                )
            if len(ids) > self._max_length and self._long_texts == "error":
                raise BadInput(
                    f"texts: row {row} has {len(ids)} tokens, and {self._label} reads {self._max_length}; "
                    "shorten it, or set encoder.long_texts to parts or cut"
                )
            contents.append(ids[len(self._begin) : len(ids) - len(self._end)])
        return contents


def check_texts(texts: Sequence[str], begin: int = 0) -> None:
    """Refuse what cannot be embedded; rows are counted from ``begin``.

    Raises:
        BadInput: naming the row that is not a string or is blank.
    """
    if isinstance(texts, str):
        raise BadInput("texts: expected a list of texts, got one string; put it in a list")
    for row, text in enumerate(texts, begin):
        if not isinstance(text, str) or not text.strip():
            what = "blank" if isinstance(text, str) else f"{text!r}, not a string"
            raise BadInput(f"texts: row {row} is {what}; every row needs a text")


def _special_tokens(label: str, tokenizer: "Tokenizer") -> tuple[list[int], list[int]]:
    """What the tokenizer puts before and behind every text."""
    for probe in _PROBES:
        encoding = tokenizer.encode(probe)
        content = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        if content:
            return encoding.ids[: content[0]], encoding.ids[content[-1] + 1 :]
    raise BadInput(f"{label}: its tokenizer.json makes no token of {_PROBES[0]!r}: it is no text's tokenizer")


def _known_words(tokenizer: "Tokenizer") -> list[bool]:
    """For each token id, whether it stands for something: not for a blank, an unknown word or a place in the input."""
    size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
    pieces = (tokenizer.id_to_token(number) or "" for number in range(size))
    known = [bool(piece.removeprefix("##").strip("▁Ġ ")) for piece in pieces]
    unknown = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "")
    special = [number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    for number in [*special, *([] if unknown is None else [unknown])]:
        known[number] = False
    return known


def _without_blanks(text: str, begin: int, end: int) -> tuple[int, int]:
    """T5's pieces hold the blank before a word."""
    while begin < end and text[begin].isspace():
        begin += 1
    while begin < end and text[end - 1].isspace():
        end -= 1
    return begin, end


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
