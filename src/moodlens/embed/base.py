"""What every text encoder can do, whether it reads tokens or only gives rows."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from moodlens.core import BadInput, Progress
from moodlens.embed.manifest import Computed, EncoderInfo, LongTexts
from moodlens.embed.reading import Reading


class Encoder(ABC):
    """A frozen text encoder; make one with :func:`moodlens.get_encoder`.

    Attributes:
        id: such as ``"minilm"`` or ``"t5:google-t5/t5-base"``; a folder stands as the operating system knows it.
        revision: the hub's commit, or a digest of the checkpoint's files.
        d_in: width of the embeddings.
        pooling: ``"mean"`` (of the last hidden states over real tokens), ``"cls"`` or ``"last"`` (the first or the last
            token's state; of a long text the mean over its parts), or ``"own"``: the encoder's affair.
        max_length: of what is read at once, in units of ``counts``; special tokens included.
        counts: ``"tokens"`` or ``"characters"``: what lengths are counted in.
        long_texts: what is done with more: ``"parts"``: read in parts, and the row is over all of them; ``"cut"``;
            ``"error"``.
        dtype: ``"float32"`` or ``"bfloat16"``, what the model computes in; results are always float32. Where ``auto``
            took bfloat16, the first texts may yet change it (:meth:`settle`).
        dtype_note: why ``auto`` gave up bfloat16; empty otherwise.
        unit: whether rows have norm 1.
        by_token: whether a row is the mean of what its tokens give, so that it can be shared out among them.
        asked: what else it was asked for, so that another process can make it again.
    """

    id: str
    revision: str
    d_in: int
    pooling: str
    max_length: int
    counts: Literal["tokens", "characters"] = "tokens"
    long_texts: LongTexts
    dtype: Computed
    dtype_note: str = ""
    unit: bool
    by_token: bool
    asked: Mapping[str, Any] = MappingProxyType({})

    def info(self) -> EncoderInfo:
        """What makes two embeddings comparable."""
        return EncoderInfo(
            encoder=self.id,
            revision=self.revision,
            d_in=self.d_in,
            pooling=self.pooling,
            max_length=self.max_length,
            long_texts=self.long_texts,
            dtype=self.dtype,
            unit=self.unit,
            by_token=self.by_token,
        )

    @abstractmethod
    def read(self, texts: Sequence[str], begin: int = 0) -> Reading:
        """The texts as they are read: what of them is cut, known and the same. ``begin``: row of the first, for errors.

        Raises:
            BadInput: a text is not a string or is blank, or is too long (``long_texts`` is ``"error"``).
        """

    def settle(self, texts: Sequence[str]) -> None:  # noqa: B027
        """Decide, on the first of ``texts``, what can only be decided on the user's own."""

    @property
    def told(self) -> str:
        """What there is to say of what was done, such as what was sent where; empty: nothing."""
        return ""

    @abstractmethod
    def encode(self, texts: Sequence[str] | Reading, *, progress: Progress | None = None) -> np.ndarray:
        """Rows, (n, d_in) float32, of norm 1 if ``unit``; row i belongs to ``texts[i]``.

        Raises:
            BadInput: a text is not a string or is blank, or its embedding is not finite.
        """

    def encode_tokens(
        self, texts: Sequence[str], read: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the tokens of every text give; only where ``by_token``.

        Raises:
            BadInput: the encoder gives no tokens.
        """
        raise BadInput(f"encoder {self.id}: gives one row for a text and none for its tokens")

    def token_spans(self, texts: Sequence[str]) -> np.ndarray:
        """Where the tokens stand in their texts; only where ``by_token``.

        Raises:
            BadInput: the encoder gives no tokens.
        """
        raise BadInput(f"encoder {self.id}: gives one row for a text and none for its tokens")


def norms(rows: np.ndarray) -> np.ndarray:
    """Lengths of rows, (n,), never 0."""
    return np.maximum(np.linalg.norm(rows, axis=1), np.finfo(np.float32).tiny)
