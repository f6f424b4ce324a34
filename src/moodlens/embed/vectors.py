"""Encoders that give one row for a text and say nothing of its tokens: functions, plug-ins, endpoints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from moodlens.core import BadInput, Progress
from moodlens.core.progress import silent
from moodlens.embed.base import Encoder, norms
from moodlens.embed.checkpoint import Functional
from moodlens.embed.manifest import LongTexts
from moodlens.embed.reading import Reading, check_texts

AT_ONCE = 256
"""Texts given to a function at once."""
ENDLESS = 2**31 - 1
"""Length of what has no limit."""
PROBE = "music"
"""Text whose row says how wide rows are."""


@dataclass(frozen=True)
class Pieces(Reading):
    """Texts as they are given to a function: whole, or long ones in pieces.

    Attributes:
        pieces: of all distinct texts, in order; :attr:`owner` says of which.
        sizes: (n_pieces,) float32, share of each in the row of its text.
    """

    pieces: tuple[str, ...]
    sizes: np.ndarray


class VectorEncoder(Encoder):
    """A function from texts to rows as an encoder.

    A text that is longer than what is read at once is given in pieces of whole words, and its row is their mean by length
    (``parts``); is ``cut``; or is an ``error``.
    """

    by_token = False

    def __init__(
        self, spec: str, made: Functional, *, long_texts: LongTexts, max_length: int | None, unit: bool | None
    ):
        self.id, self.revision, self.pooling, self.dtype = spec, made.revision, made.pooling, "float32"
        self.long_texts, self.max_length = long_texts, max_length or made.max_length or ENDLESS
        self.counts: Literal["tokens", "characters"] = "characters" if made.count is None else "tokens"
        self.unit = made.unit if unit is None else unit
        self._made = made
        self._d_in: int | None = None

    def settle(self, texts: Sequence[str]) -> None:
        """See :meth:`Encoder.settle`."""
        if self._made.settle is not None and len(texts):
            self._made.settle(self.read(texts).pieces)

    @property
    def told(self) -> str:
        """What there is to say of what was done."""
        return "" if self._made.told is None else self._made.told()

    @property
    def d_in(self) -> int:  # type: ignore[override]
        """Width of a row; found by the row of one word."""
        if self._d_in is None:
            self._rows([PROBE], 0, silent)
        assert self._d_in is not None
        return self._d_in

    def read(self, texts: Sequence[str], begin: int = 0) -> Pieces:
        """See :meth:`Encoder.read`."""
        check_texts(texts, begin)
        places: dict[str, int] = {}
        place = np.array([places.setdefault(text, len(places)) for text in texts], dtype=np.int64)
        whole = list(places)
        size = np.array(self._count(whole), dtype=np.int64)
        if size.shape != (len(whole),):
            raise BadInput(
                f"encoder {self.id}: count gave shape {size.shape} for {len(whole)} texts; expected one length each"
            )
        if self.long_texts == "error" and (size > self.max_length).any():
            first = int(np.argmax(size[place] > self.max_length))
            raise BadInput(
                f"texts: row {begin + first} has {size[place[first]]} {self.counts}, and encoder {self.id} reads "
                f"{self.max_length}; shorten it, or set encoder.long_texts to parts or cut"
            )
        fit = self._beginning if self.long_texts == "cut" else self._split
        pieces = [
            [text] if n <= self.max_length else fit(text, int(n)) for text, n in zip(whole, size, strict=True)
        ]
        flat = [piece for parts in pieces for piece in parts]
        lengths = np.array(self._count(flat), dtype=np.float32)
        owner = np.repeat(np.arange(len(pieces)), [len(parts) for parts in pieces])
        read = np.bincount(owner, weights=lengths, minlength=len(pieces))
        kept = np.array([hash(tuple(parts)) for parts in pieces], dtype=np.int64)
        cut = np.maximum(size - read.astype(np.int64), 0) if self.long_texts == "cut" else np.zeros_like(size)
        return Pieces(
            parts=[],
            owner=owner,
            distinct=place,
            n_tokens=size[place],
            n_cut=cut[place],
            known=np.ones(len(texts), dtype=bool),
            whole=np.array([hash(text) for text in whole], dtype=np.int64)[place],
            read=kept[place],
            begin=begin,
            pieces=tuple(flat),
            sizes=(lengths / np.maximum(read, 1)[owner]).astype(np.float32),
        )

    def encode(self, texts: Sequence[str] | Reading, *, progress: Progress | None = None) -> np.ndarray:
        """See :meth:`Encoder.encode`."""
        reading = texts if isinstance(texts, Pieces) else self.read(texts)  # type: ignore[arg-type]
        report, n = progress or silent, len(reading.distinct)
        rows = self._rows(list(reading.pieces), n, report)
        pooled = np.zeros((int(reading.distinct.max(initial=-1)) + 1, rows.shape[1]), dtype=np.float32)
        np.add.at(pooled, reading.owner, rows * reading.sizes[:, None])
        finite = np.isfinite(np.abs(pooled).max(axis=1, initial=0))[reading.distinct]
        if not finite.all():
            raise BadInput(
                f"encoder {self.id}: the row of text {reading.begin + int(np.argmin(finite))} is not finite"
            )
        pooled = pooled / norms(pooled)[:, None] if self.unit else pooled
        return pooled[reading.distinct]

    def _rows(self, texts: list[str], n: int, report: Progress) -> np.ndarray:
        """Rows of pieces, checked, AT_ONCE of them at a time; ``n`` texts are reported."""
        parts = [np.zeros((0, self._d_in or 0), dtype=np.float32)]
        report("embed", 0, n)
        for begin in range(0, len(texts), AT_ONCE):
            some = texts[begin : begin + AT_ONCE]
            parts.append(self._checked(self._call(self._made.function, some), len(some)))
            report("embed", min(n, (begin + len(some)) * n // len(texts)), n)
        rows = [part for part in parts if len(part)]
        return np.concatenate(rows) if rows else np.zeros((0, self.d_in), dtype=np.float32)

    def _count(self, texts: list[str]) -> list[int]:
        return self._call(self._made.count or _characters, texts)

    def _call(self, function: Callable[[list[str]], Any], texts: list[str]) -> Any:
        """What a function gives; where others wrote it, whatever it raises is one line, with its own error as the cause."""
        try:
            return function(texts)
        except BadInput:
            raise
        except Exception as error:  # whatever a user's function raises
            if not self._made.brought:
                raise
            told = " ".join(str(error).split())
            what = f"{type(error).__name__}: {told}" if told else type(error).__name__
            raise BadInput(f"encoder {self.id}: its function raised {what}") from error

    def _checked(self, rows: Any, n: int) -> np.ndarray:
        try:
            if np.iscomplexobj(rows):
                raise TypeError("they are complex")
            array = np.asarray(rows, dtype=np.float32)
        except (TypeError, ValueError, RuntimeError) as error:  # the last of a tensor that requires gradients
            raise BadInput(f"encoder {self.id}: gave no numbers for {n} texts: {error}") from error
        if array.ndim != 2 or len(array) != n or array.shape[1] == 0:
            raise BadInput(
                f"encoder {self.id}: gave shape {array.shape} for {n} texts; expected ({n}, width)"
            )
        if self._d_in not in (None, array.shape[1]):
            raise BadInput(f"encoder {self.id}: gave rows of width {array.shape[1]} after {self._d_in}")
        self._d_in = array.shape[1]
        return array

    def _beginning(self, text: str, size: int) -> list[str]:
        """The most whole words from its start that are read at once; of a longer word its first piece."""
        words = text.split()
        least, most = 0, len(words) - 1
        while least < most:
            n = (least + most + 1) // 2
            fits = self._count([" ".join(words[:n])])[0] <= self.max_length
            least, most = (n, most) if fits else (least, n - 1)
        return [" ".join(words[:least])] if least else self._split(text, size)[:1]

    def _split(self, text: str, size: int) -> list[str]:
        """The text in pieces of whole words that are no longer than is read at once; a longer word is cut."""
        words = text.split()
        n = -(-size // self.max_length)
        while n < len(words):
            ends = [len(words) * i // n for i in range(n + 1)]
            pieces = [" ".join(words[a:b]) for a, b in pairwise(ends)]
            if max(self._count(pieces)) <= self.max_length:
                return pieces
            n += 1
        if self.counts == "characters":
            return [text[at : at + self.max_length] for at in range(0, len(text), self.max_length)]
        return words


def _characters(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]
