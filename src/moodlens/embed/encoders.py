"""Text encoders: texts in, one vector or one row per token out, whatever the batch they ride in."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch

from moodlens.core import BadInput, Progress
from moodlens.core.progress import silent
from moodlens.embed.checkpoints import Checkpoint, load_minilm, load_musicgen, load_t5
from moodlens.embed.pooling import packed_mean

DType = Literal["auto", "float32", "bfloat16"]

# Measured with MiniLM and T5-base shapes: products reach the processor's ceiling from about 512 rows on, and larger
# batches spread what Python costs over more tokens; past 1,024 nothing is gained.
CPU_TOKENS = 1024
# Few texts are cut finer, so that every core has some, but not finer than this.
CPU_TOKENS_LEAST = 128
# A GPU wants its batches large; 16,384 tokens of T5-base take about 1 GB of activations.
GPU_TOKENS = 16_384
# Beyond this many threads that feed batches, Python itself is the limit; each then gets several of torch's.
MAX_WORKERS = 8

Result = TypeVar("Result")


class Encoder:
    """A frozen text encoder with masked mean pooling; make one with :func:`get_encoder`.

    Attributes:
        id: the spec it was asked for, such as ``"minilm"`` or ``"t5:google-t5/t5-base"``.
        revision: the hub's commit, or a digest of the weights.
        d_in: width of the embeddings.
        pooling: always ``"mean"``: the mean of the last hidden states over real tokens, not normalised.
        max_length: tokens, special ones included; longer texts are cut.
        dtype: ``"float32"`` or ``"bfloat16"``, what the model computes in; results are always float32.
        truncated: how many of the distinct texts of the last call were cut at ``max_length``.
    """

    pooling = "mean"

    def __init__(self, spec: str, checkpoint: Checkpoint, *, max_length: int | None, dtype: str, device: str):
        self.id = spec
        self.revision = checkpoint.revision
        self.max_length = checkpoint.max_length if max_length is None else max_length
        self.dtype = dtype
        self.device = device
        self.truncated = 0
        target = {"device": device, "dtype": getattr(torch, dtype)}
        try:
            self._model = checkpoint.build(
                {name: weight.to(**target) for name, weight in checkpoint.weights.items()}
            )
        except KeyError as error:
            raise BadInput(f"encoder {spec}: the checkpoint lacks the weight {error.args[0]}") from error
        self.d_in = self._model.d_in
        self._tokenizer = checkpoint.tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_length)

    def info(self) -> dict[str, Any]:
        """What makes two embeddings comparable: stored with every array and SAE, and compared before use."""
        return {
            "encoder": self.id,
            "revision": self.revision,
            "d_in": self.d_in,
            "pooling": self.pooling,
            "max_length": self.max_length,
            "dtype": self.dtype,
        }

    def encode(self, texts: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Masked token means, (n, d_in) float32, not normalised; row i belongs to ``texts[i]``.

        Identical texts are encoded once. A row does not depend on the other texts (to about 1e-6 of its norm).

        Raises:
            BadInput: a text is not a string or is blank.
        """
        unique, inverse = _distinct(texts)
        tokens = self._tokenize(unique)

        def pooled_rows(rows: list[int]) -> np.ndarray:
            states, lengths = self._states([tokens[row] for row in rows])
            return packed_mean(states, lengths).cpu().numpy()

        pooled = np.empty((len(unique), self.d_in), dtype=np.float32)
        copies = np.bincount(inverse, minlength=len(unique))
        done, report = 0, progress or silent
        report("embed", 0, len(texts))
        for rows, result in self._each_batch(pooled_rows, tokens):
            pooled[rows] = result
            done += int(copies[rows].sum())
            report("embed", done, len(texts))
        return pooled[inverse]

    def encode_tokens(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Last hidden states of every real token, special ones included.

        Returns:
            states: (sum of tokens, d_in) float32, the texts one after another.
            offsets: (n + 1,) int64; text i has ``states[offsets[i]:offsets[i + 1]]``, whose mean is its embedding.

        Raises:
            BadInput: a text is not a string or is blank.
        """
        unique, inverse = _distinct(texts)
        tokens = self._tokenize(unique)

        def token_rows(rows: list[int]) -> list[np.ndarray]:
            states, lengths = self._states([tokens[row] for row in rows])
            return [part.numpy() for part in states.float().cpu().split(lengths.tolist())]

        found: list[np.ndarray] = [np.empty(0)] * len(unique)
        for rows, result in self._each_batch(token_rows, tokens):
            for row, states in zip(rows, result, strict=True):
                found[row] = states
        parts = [found[i] for i in inverse]
        offsets = np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)
        return np.concatenate([*parts, np.empty((0, self.d_in), dtype=np.float32)]), offsets

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        encoded = self._tokenizer.encode_batch_fast(texts)  # in parallel, in Rust: a few percent of the whole
        self.truncated = sum(bool(item.overflowing) for item in encoded)
        return [item.ids for item in encoded]

    def _states(self, tokens: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Last hidden states of texts end to end, (sum of lengths, d_in), and the lengths, (n,)."""
        lengths = [len(ids) for ids in tokens]
        with torch.inference_mode():
            flat = torch.tensor([token for ids in tokens for token in ids], device=self.device)
            return self._model(flat, lengths), torch.tensor(lengths, device=self.device)

    def _each_batch(
        self, work: Callable[[list[int]], Result], tokens: list[list[int]]
    ) -> Iterator[tuple[list[int], Result]]:
        """Every batch of rows with what ``work`` makes of it.

        On a CPU each of torch's threads works on a batch of its own. Sharing every product among the threads instead
        makes them wait for each other hundreds of times a batch, which costs a tenth on idle cores and far more on busy
        ones. The result of a batch does not depend on how many threads there are (up to ``MAX_WORKERS``).
        """
        on_gpu = torch.device(self.device).type != "cpu"
        lengths = [len(ids) for ids in tokens]
        batches = list(_batches(lengths, GPU_TOKENS if on_gpu else _cpu_tokens(sum(lengths))))
        threads = torch.get_num_threads()
        workers = 1 if on_gpu else min(threads, MAX_WORKERS, len(batches))
        if workers <= 1:
            yield from ((rows, work(rows)) for rows in batches)
            return
        pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads // workers,))
        try:
            yield from zip(batches, pool.map(work, batches), strict=True)
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(
                threads
            )  # the setting is each thread's own, but new threads inherit the last one made


def get_encoder(
    spec: str,
    *,
    dtype: DType = "auto",
    max_length: int | None = None,
    revision: str | None = None,
    device: str = "auto",
) -> Encoder:
    """Load a text encoder.

    Args:
        spec: ``"minilm"`` (bundled, 384-d), ``"t5:NAME_OR_PATH"`` or ``"musicgen:NAME_OR_PATH"`` (a hub name or a folder
            with ``config.json``, the weights and ``tokenizer.json``).
        dtype: ``"float32"`` is the reference; ``"bfloat16"`` halves the traffic; ``"auto"`` takes bfloat16 where the
            processor multiplies it natively (AMX, AVX512-BF16, CUDA) and float32 elsewhere.
        max_length: tokens; None for the model's own (256 for minilm, 512 for T5).
        revision: hub commit, tag or branch.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"`` ...

    Raises:
        BadInput: the spec is unknown, or the model cannot be loaded.
    """
    kind, _, name = spec.partition(":")
    if dtype not in get_args(DType):
        raise BadInput(f"dtype {dtype!r}: expected one of {', '.join(get_args(DType))}")
    if max_length is not None and max_length < 3:
        raise BadInput(f"max_length {max_length}: expected at least 3 tokens")
    if spec == "minilm":
        if revision is not None:
            raise BadInput(f"encoder minilm is bundled and has no revision {revision!r}; leave revision out")
        if max_length is not None and max_length > 512:
            raise BadInput(f"max_length {max_length}: minilm has 512 positions")
        checkpoint = load_minilm()
    elif kind == "t5" and name:
        checkpoint = load_t5(name, revision)
    elif kind == "musicgen" and name:
        checkpoint = load_musicgen(name, revision)
    else:
        raise BadInput(f"encoder {spec!r}: expected minilm, t5:NAME_OR_PATH or musicgen:NAME_OR_PATH")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = ("bfloat16" if has_fast_bf16(device) else "float32") if dtype == "auto" else dtype
    return Encoder(spec, checkpoint, max_length=max_length, dtype=chosen, device=device)


def has_fast_bf16(device: str) -> bool:
    """Whether bfloat16 products are native here; emulated on AVX2 they are three times slower than float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what cannot be embedded.

    Raises:
        BadInput: naming the row that is not a string or is blank.
    """
    if isinstance(texts, str):
        raise BadInput("texts: expected a list of texts, got one string; put it in a list")
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            what = "blank" if isinstance(text, str) else f"{text!r}, not a string"
            raise BadInput(f"texts: row {row} is {what}; every row needs a text")


def _distinct(texts: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The distinct texts in order of appearance and, for every text, which of them it is."""
    check_texts(texts)
    place: dict[str, int] = {}
    inverse = np.array([place.setdefault(text, len(place)) for text in texts], dtype=np.int64)
    return list(place), inverse


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


def encode_segments(
    encoder: Encoder, texts: Sequence[str], *, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Embed long texts sentence by sentence.

    Returns:
        x: (n_segments, d_in) float32.
        owner: (n_segments,) int64, the row of ``texts`` each segment is from; never decreasing, every row at least once.

    Raises:
        BadInput: a text is not a string or is blank.
    """
    from moodlens.embed.segments import segments

    check_texts(texts)  # names the row of the text, which a segment could not
    parts = [segments(text) for text in texts]
    owner = np.repeat(np.arange(len(texts)), [len(part) for part in parts])
    return encoder.encode([piece for part in parts for piece in part], progress=progress), owner
