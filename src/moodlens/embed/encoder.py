"""A text encoder that reads tokens, at work: texts in, one row each or one per token out, whatever the batch they ride in."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch

from moodlens.core import BadInput, Progress
from moodlens.core.cpu import has_fast_bfloat16
from moodlens.core.progress import silent
from moodlens.embed.base import Encoder, norms
from moodlens.embed.checkpoint import Checkpoint
from moodlens.embed.manifest import DType, LongTexts
from moodlens.embed.packed import Model, Weights, packed_sum
from moodlens.embed.reading import Part, Reader, Reading
from moodlens.embed.sources import pick_device

# Measured with MiniLM and T5-base shapes: products reach the processor's ceiling from about 512 rows on, and larger
# batches spread what Python costs over more tokens; past 1,024 nothing is gained.
CPU_TOKENS = 1024
# Few texts are cut finer, so that every core has some, but not finer than this.
CPU_TOKENS_LEAST = 128
# A GPU wants its batches large; 16,384 tokens of T5-base take about 1 GB of activations.
GPU_TOKENS = 16_384
# Beyond this many threads that feed batches, Python itself is the limit; each then gets several of torch's.
MAX_WORKERS = 8

CHECKED_TEXTS = 32
"""Texts on which ``auto`` compares bfloat16 with float32 before it believes it."""
LEAST_COSINE = 0.999
"""Between the two embeddings of each of them."""

Result = TypeVar("Result")


class TokenEncoder(Encoder):
    """An encoder whose model reads tokens and gives a state for each."""

    def __init__(
        self,
        spec: str,
        checkpoint: Checkpoint,
        *,
        max_length: int | None,
        long_texts: LongTexts,
        dtype: DType,
        device: str,
        unit: bool | None = None,
    ):
        self.id, self.revision, self.long_texts = spec, checkpoint.revision, long_texts
        self.max_length = checkpoint.max_length if max_length is None else max_length
        if self.max_length > (checkpoint.longest or self.max_length):
            raise BadInput(f"max_length {max_length}: {spec} has {checkpoint.longest} positions")
        self.pooling = checkpoint.pooling
        self.unit = checkpoint.unit if unit is None else unit
        self.device = pick_device(device)
        fast = dtype == "auto" and _has_fast_bfloat16(self.device)
        self.dtype = "bfloat16" if fast or dtype == "bfloat16" else "float32"
        self.dtype_note = ""
        self._model = self._build(checkpoint, self.dtype)
        self._unsettled = checkpoint if fast else None
        self._head = checkpoint.head
        self.d_in = self._finished(np.zeros((1, self._model.d_in), dtype=np.float32)).shape[1]
        self.by_token = self.pooling == "mean" and self._head is None
        n_words = len(self._model.words)
        label = f"encoder {spec}"
        self._reader = Reader(label, checkpoint.tokenizer, n_words, self.max_length, long_texts, self.pooling)

    def read(self, texts: Sequence[str], begin: int = 0) -> Reading:
        """The texts in tokens: what of them is read, known and the same. ``begin``: row of the first, for errors.

        Raises:
            BadInput: a text is not a string or is blank, or is too long (``long_texts`` is ``"error"``).
        """
        return self._reader.read(texts, begin)

    def settle(self, texts: Sequence[str]) -> None:
        """Hold the bfloat16 that ``auto`` took against float32 on the first of ``texts``, once; else go to float32.

        Real checkpoints have outliers that bfloat16 may lose; whether they do can only be seen on the user's texts.
        """
        if self._unsettled is None or not len(texts):
            return
        reading = self.read(texts[:CHECKED_TEXTS])
        checkpoint, self._unsettled = self._unsettled, None
        fast = self._encode(reading, silent)
        quick, self._model = self._model, self._build(checkpoint, "float32")
        exact = self._encode(reading, silent)
        norms = np.linalg.norm(fast, axis=1) * np.linalg.norm(exact, axis=1)
        least = float(((fast * exact).sum(axis=1) / norms).min())
        if least >= LEAST_COSINE:
            self._model = quick
        else:
            self.dtype = "float32"
            self.dtype_note = (
                f"bfloat16 would be faster here, but on the first {len(fast)} texts its embeddings agree with float32's "
                f"to a cosine of {least:.4f} only ({LEAST_COSINE} is asked for): float32 was taken"
            )

    def encode(self, texts: Sequence[str] | Reading, *, progress: Progress | None = None) -> np.ndarray:
        """Pooled states, (n, d_in) float32, of norm 1 if ``unit``; row i belongs to ``texts[i]``.

        Texts of the same tokens are encoded once. A row does not depend on the other texts: in float32 to 1e-6 of its
        norm, in bfloat16 to 1e-2 (only the order of sums differs).

        Raises:
            BadInput: a text is not a string or is blank, or its embedding is not finite.
        """
        if isinstance(texts, Reading):
            return self._encode(texts, progress or silent)
        reading = self.read(texts)
        self.settle(texts)
        return self._encode(reading, progress or silent)

    def encode_tokens(
        self, texts: Sequence[str], read: Callable[[np.ndarray], np.ndarray] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Last hidden states of every real token, special ones included; where rows are of norm 1, over the norm of the mean.

        A token of a long text that is in two of its parts has the mean of its two states. Texts of the same tokens are
        encoded once.

        Args:
            texts: any length; all their tokens are held at once (:func:`moodlens.embed.tokens.each_tokens` streams).
            read: ``(t, d_in)`` states -> ``(t, m)`` float32: what is kept of each token by itself; None: its state.

        Returns:
            values: (sum of tokens, d_in or m) float32, the texts one after another.
            offsets: (n + 1,) int64; text i has ``values[offsets[i]:offsets[i + 1]]``. The mean of its states is its
                embedding.

        Raises:
            BadInput: a text is not a string or is blank.
        """
        reading = self.read(texts)
        self.settle(texts)
        scale = 1 / norms(self._pooled(reading, silent)) if self.unit else None

        def token_rows(batch: list[int]) -> list[np.ndarray]:
            states, lengths = self._states([reading.parts[row] for row in batch])
            rows = states.float().cpu().numpy()
            if scale is not None:
                rows = rows * np.repeat(scale[reading.owner[batch]], lengths.tolist())[:, None]
            return np.split(rows if read is None else read(rows), np.cumsum(lengths.tolist())[:-1])

        width = self.d_in if read is None else read(np.zeros((0, self.d_in), dtype=np.float32)).shape[1]
        n_read = (reading.n_tokens - reading.n_cut)[np.unique(reading.distinct, return_index=True)[1]]
        by_text = [np.zeros((n, width), dtype=np.float32) for n in n_read]
        for rows, result in self._each_batch(token_rows, reading.parts):
            for row, values in zip(rows, result, strict=True):
                part, text = reading.parts[row], reading.owner[row]
                by_text[text][part.places] += values * (part.weights * n_read[text])[:, None]
        values = [by_text[text] for text in reading.distinct]
        offsets = np.cumsum([0, *map(len, values)], dtype=np.int64)
        return np.concatenate([*values, np.empty((0, width), dtype=np.float32)]), offsets

    def token_spans(self, texts: Sequence[str]) -> np.ndarray:
        """Where the tokens of :meth:`encode_tokens` stand in their texts.

        Returns:
            (sum of tokens, 2) int64, first character and the one behind the last, without blanks around them; equal for
            special tokens, and for others that stand for no character.
        """
        return self._reader.spans(texts)

    def _build(self, checkpoint: Checkpoint, dtype: str) -> Model:
        label = f"encoder {self.id}"
        return checkpoint.build(Weights(label, checkpoint.tensors, getattr(torch, dtype), self.device))

    def _encode(self, reading: Reading, report: Progress) -> np.ndarray:
        rows = self._finished(self._pooled(reading, report))
        finite = np.isfinite(np.abs(rows).max(axis=1, initial=0))[reading.distinct]
        if not finite.all():
            raise BadInput(
                f"encoder {self.id}: the embedding of text {reading.begin + np.argmin(finite)} is not finite: the weights are damaged, or "
                f"too large for {self.dtype}"
            )
        return rows[reading.distinct]

    def _pooled(self, reading: Reading, report: Progress) -> np.ndarray:
        """Weighted sums of the token states of every distinct text."""
        parts, owner = reading.parts, reading.owner

        def pooled_rows(batch: list[int]) -> np.ndarray:
            states, lengths = self._states([parts[row] for row in batch])
            weights = torch.from_numpy(np.concatenate([parts[row].weights for row in batch])).to(self.device)
            return packed_sum(states, weights, lengths).cpu().numpy()

        n_texts, n_distinct = len(reading.distinct), int(owner[-1]) + 1 if len(owner) else 0
        pooled = np.zeros((n_distinct, self._model.d_in), dtype=np.float32)
        copies = np.bincount(reading.distinct, minlength=n_distinct)
        parts_left = np.bincount(owner, minlength=n_distinct)
        report("embed", 0, n_texts)
        for rows, sums in self._each_batch(pooled_rows, parts):
            np.add.at(pooled, owner[rows], sums)
            np.subtract.at(parts_left, owner[rows], 1)
            report("embed", int(copies[parts_left == 0].sum()), n_texts)
        return pooled

    def _finished(self, pooled: np.ndarray) -> np.ndarray:
        """Rows of pooled states: through the head, and over their norm."""
        if self._head is not None:
            with torch.inference_mode():
                pooled = self._head(torch.from_numpy(pooled)).numpy()
        return pooled / norms(pooled)[:, None] if self.unit else pooled

    def _states(self, parts: list[Part]) -> tuple[torch.Tensor, torch.Tensor]:
        """Last hidden states of parts end to end, (sum of lengths, d_in), and the lengths, (n,)."""
        lengths = [len(part.ids) for part in parts]
        with torch.inference_mode():
            flat = torch.tensor([token for part in parts for token in part.ids], device=self.device)
            return self._model(flat, lengths), torch.tensor(lengths, device=self.device)

    def _each_batch(
        self, work: Callable[[list[int]], Result], parts: list[Part]
    ) -> Iterator[tuple[list[int], Result]]:
        """The numbers of the parts of every batch, with what ``work`` makes of them.

        On a CPU each of torch's threads works on a batch of its own. Sharing every product among the threads instead
        makes them wait for each other hundreds of times a batch, which costs a tenth on idle cores and far more on busy
        ones. The result of a batch does not depend on how many threads there are (up to ``MAX_WORKERS``).
        """
        on_gpu = torch.device(self.device).type != "cpu"
        lengths = [len(part.ids) for part in parts]
        batches = list(_batches(lengths, GPU_TOKENS if on_gpu else _cpu_tokens(sum(lengths))))
        threads = torch.get_num_threads()
        workers = 1 if on_gpu else min(threads, MAX_WORKERS, len(batches))
        # A product that is cut in two may differ in the last bit, so one batch alone is done by one thread, too.
        each = 1 if threads <= MAX_WORKERS and not on_gpu else threads // max(1, workers)
        if workers <= 1 and each == threads:
            yield from zip(batches, map(work, batches), strict=True)
            return
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(each,))
        try:
            yield from zip(batches, pool.map(work, batches), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)
            # The setting is each thread's own, but new threads inherit the last one made.
            torch.set_num_threads(threads)


def _has_fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 products are native here; emulated on AVX2 they are three times slower than float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return has_fast_bfloat16()


def _cpu_tokens(total: int) -> int:
    """Tokens a batch; follows the texts alone, so that their results do not depend on the number of threads."""
    return min(CPU_TOKENS, max(CPU_TOKENS_LEAST, total // 4))


def _batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Rows, longest first, in batches of at most ``max_tokens`` tokens (or of one text that is longer)."""
    batch: list[int] = []
    total = 0
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and total + lengths[row] > max_tokens:
            yield batch
            batch, total = [], 0
        batch.append(row)
        total += lengths[row]
    if batch:
        yield batch
