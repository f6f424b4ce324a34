"""Text encoders: texts in, one vector or one row per token out, whatever the batch they ride in."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch

from moodlens.embed.checkpoints import Checkpoint, load_minilm, load_musicgen, load_t5
from moodlens.embed.pooling import masked_mean
from moodlens.engine import BadInput, Progress
from moodlens.engine.progress import silent

DType = Literal["auto", "float32", "bfloat16"]

TOKENS_PER_BATCH = 2048


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
        self.d_in = int(checkpoint.module.config.hidden_size)  # type: ignore[union-attr]
        self._model = checkpoint.module.to(device=device, dtype=getattr(torch, dtype)).requires_grad_(False)
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
        pooled = np.empty((len(unique), self.d_in), dtype=np.float32)
        copies = np.bincount(inverse, minlength=len(unique))
        done, report = 0, progress or silent
        report("embed", 0, len(texts))
        for rows in _batches([len(ids) for ids in tokens]):
            states, mask = self._states([tokens[row] for row in rows])
            pooled[rows] = masked_mean(states, mask).cpu().numpy()
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
        found: list[np.ndarray] = [np.empty(0)] * len(unique)
        for rows in _batches([len(ids) for ids in tokens]):
            states, mask = self._states([tokens[row] for row in rows])
            for row, state, real in zip(rows, states.float().cpu(), mask.cpu(), strict=True):
                found[row] = state[real].numpy()
        parts = [found[i] for i in inverse]
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)]).astype(
            np.int64
        )
        return np.concatenate([*parts, np.empty((0, self.d_in), dtype=np.float32)]), offsets

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        encoded = self._tokenizer.encode_batch_fast(texts)
        self.truncated = sum(bool(item.overflowing) for item in encoded)
        return [item.ids for item in encoded]

    def _states(self, tokens: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([len(ids) for ids in tokens])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]  # (batch, tokens)
        ids = torch.zeros(mask.shape, dtype=torch.int64)
        ids[mask] = torch.tensor([i for row in tokens for i in row])
        mask = mask.to(self.device)
        with torch.inference_mode():
            out = self._model(input_ids=ids.to(self.device), attention_mask=mask.long())
        return out.last_hidden_state, mask


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


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows in batches of at most ``TOKENS_PER_BATCH`` padded tokens, longest first (memory peaks at once, not at the end)."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        size = max(1, TOKENS_PER_BATCH // lengths[order[start]])
        yield order[start : start + size]
        start += size


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
