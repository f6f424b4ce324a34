"""The sparse autoencoder as it is used: raw embeddings in, codes out; and how it comes of weights in training."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor, nn

from moodlens.core import BadInput
from moodlens.core.cpu import linear
from moodlens.core.maps import Pages, room
from moodlens.sae.plain import jump_relu, top_k
from moodlens.sae.rows import Rows, Standard, chunks
from moodlens.settings.sae import SAESettings

Activation = Literal["relu", "topk", "jumprelu"]

MANY = 2**24
"""Active features of all rows together from which on :func:`calibrated_threshold` counts them instead of keeping them."""


class SAE(nn.Module):
    """``codes = act((x - b_dec) @ W_enc + b_enc)``, ``x_hat = codes @ W_dec + b_dec``.

    Takes raw embeddings: the centring and scaling of training are folded into the weights. A code is in the units of
    the embedding: the length of what its unit decoder row adds.

    Args:
        W_enc: ``(d_in, d_sae)``.
        W_dec: ``(d_sae, d_in)``, unit rows if trained with ``decoder_norm``.
        b_enc: ``(d_sae,)``.
        b_dec: ``(d_in,)``.
        activation: ``relu``, ``topk`` (then ``k``) or ``jumprelu`` (then ``threshold``).
        threshold: ``(d_sae,)``; a feature is on where its pre-activation exceeds it.
        k: active features a row, for ``topk``.
        settings: how it was trained, if moodlens trained it.
        metadata: free-form facts that travel with the weights (encoder id, pooling, data hash).

    Attributes:
        core_size: features ``[0, core_size)`` may be claimed to mean something, the others only rebuild what those
            leave; ``d_sae`` unless it is set.

    Raises:
        BadInput: the parts do not fit together.
    """

    def __init__(
        self,
        W_enc: Tensor,
        W_dec: Tensor,
        b_enc: Tensor,
        b_dec: Tensor,
        *,
        activation: Activation,
        threshold: Tensor | None = None,
        k: int | None = None,
        settings: SAESettings | None = None,
        metadata: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__()
        d_in, d_sae = W_enc.shape
        if W_dec.shape != (d_sae, d_in) or b_enc.shape != (d_sae,) or b_dec.shape != (d_in,):
            raise BadInput(
                f"sae weights do not fit together: W_enc {tuple(W_enc.shape)}, W_dec {tuple(W_dec.shape)}, "
                f"b_enc {tuple(b_enc.shape)}, b_dec {tuple(b_dec.shape)}"
            )
        if (activation == "jumprelu") != (threshold is not None) or (activation == "topk") != (k is not None):
            raise BadInput(
                f"activation {activation}: jumprelu takes a threshold, topk takes k, and no other does"
            )
        if threshold is not None and threshold.shape != (d_sae,):
            raise BadInput(f"threshold has shape {tuple(threshold.shape)}, expected ({d_sae},)")
        if k is not None and not 1 <= k <= d_sae:
            raise BadInput(f"k = {k} must lie between 1 and d_sae = {d_sae}")
        self.W_enc = nn.Parameter(W_enc)
        self.W_dec = nn.Parameter(W_dec)
        self.b_enc = nn.Parameter(b_enc)
        self.b_dec = nn.Parameter(b_dec)
        self.threshold: Tensor | None
        self.register_buffer("threshold", threshold)
        self.activation: Activation = activation
        self.k = k
        self.settings = settings
        self.metadata: dict[str, JsonValue] = dict(metadata or {})
        self.core_size = d_sae

    @property
    def d_in(self) -> int:
        """Width of an embedding."""
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.W_enc.shape[1]

    def pre_activations(self, x: Tensor) -> Tensor:
        """``(n, d_in)`` raw embeddings to ``(n, d_sae)`` before the activation function."""
        if x.shape[-1] != self.d_in:
            raise BadInput(f"embeddings have {x.shape[-1]} columns, this SAE was trained on {self.d_in}")
        if x.is_cpu and x.ndim == 2 and not torch.is_grad_enabled():
            return linear(x - self.b_dec, self.W_enc.T, self.b_enc)
        return (x - self.b_dec) @ self.W_enc + self.b_enc

    def encode(self, x: Tensor) -> Tensor:
        """``(n, d_in)`` raw embeddings to ``(n, d_sae)`` codes, all at least 0."""
        pre = self.pre_activations(x)
        if self.activation == "topk":
            assert self.k is not None
            return top_k(pre, self.k)
        if self.activation == "jumprelu":
            assert self.threshold is not None
            return jump_relu(pre, self.threshold)
        return torch.relu(pre)

    def decode(self, codes: Tensor) -> Tensor:
        """``(n, d_sae)`` codes to ``(n, d_in)`` raw embeddings."""
        return codes @ self.W_dec + self.b_dec

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct raw embeddings ``(n, d_in)``."""
        return self.decode(self.encode(x))


@torch.no_grad()
def encode_rows(
    sae: SAE,
    x: np.ndarray,
    *,
    features: np.ndarray | None = None,
    chunk: int = 512,
    memory: float = math.inf,
) -> np.ndarray:
    """Codes ``(n, d_sae)`` float32 of raw embeddings ``(n, d_in)``.

    Args:
        sae: whose.
        x: the embeddings.
        features: ``(m,)`` int, the only ones that are asked for; then the result is ``(n, m)``.
        chunk: rows at a time.
        memory: GiB that the codes may take; more of them lie in a file without a name.

    Raises:
        BadInput: the width is wrong or a row is not finite.
    """
    if features is None:
        return _by_chunks(sae, sae.encode, x, chunk, memory=memory)
    if sae.activation == "topk":  # which features are on depends on all of them
        few = torch.tensor(np.asarray(features).tolist(), dtype=torch.int64, device=sae.W_enc.device)
        return _by_chunks(sae, lambda rows: sae.encode(rows)[:, few], x, chunk, len(few))
    part = _part(sae, features)
    return _by_chunks(part, part.encode, x, chunk)


@torch.no_grad()
def _part(sae: SAE, features: np.ndarray) -> SAE:
    """The SAE with these features alone; they are on where they were, unless their number is limited (``topk``)."""
    few = torch.tensor(np.asarray(features).tolist(), dtype=torch.int64, device=sae.W_enc.device)
    threshold = None if sae.threshold is None else sae.threshold[few]
    activation = "relu" if threshold is None else "jumprelu"
    return SAE(
        sae.W_enc[:, few],
        sae.W_dec[few],
        sae.b_enc[few],
        sae.b_dec,
        activation=activation,
        threshold=threshold,
    )


def _by_chunks(
    sae: SAE,
    apply: Callable[[Tensor], Tensor],
    x: np.ndarray,
    chunk: int,
    width: int | None = None,
    memory: float = math.inf,
) -> np.ndarray:
    if x.ndim != 2:
        raise BadInput(f"embeddings must have shape (n, d_in), got {x.shape}")
    out, pages = room(len(x), sae.d_sae if width is None else width, memory * 2**30), Pages()
    for start in range(0, len(x), chunk):
        block = _float32(x[start : start + chunk])
        bad = np.flatnonzero(~np.isfinite(block).all(1))
        if len(bad):
            raise BadInput(f"embedding row {start + bad[0]} holds NaN or infinity")
        tensor = torch.tensor(block, device=sae.W_enc.device)
        out[start : start + chunk] = apply(tensor).float().cpu().numpy()
        pages.count(len(block), out[:1].nbytes + block[:1].nbytes, [out, x], apart=False)
    return out


def _float32(x: np.ndarray) -> np.ndarray:
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity
            return np.ascontiguousarray(x, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BadInput(f"embeddings must be numbers, got {x.dtype}") from error


@torch.no_grad()
def decode_rows(sae: SAE, codes: np.ndarray, *, chunk: int = 512) -> np.ndarray:
    """Reconstructions ``(n, d_in)`` float32, in raw units, of ``codes`` ``(n, d_sae)``."""
    if codes.ndim != 2 or codes.shape[1] != sae.d_sae:
        raise BadInput(f"codes must have shape (n, {sae.d_sae}), got {codes.shape}")
    x_hat = np.empty((len(codes), sae.d_in), dtype=np.float32)
    for start in range(0, len(codes), chunk):
        block = np.ascontiguousarray(codes[start : start + chunk], dtype=np.float32)
        x_hat[start : start + chunk] = sae.decode(torch.tensor(block, device=sae.W_dec.device)).cpu().numpy()
    return x_hat


@torch.no_grad()
def fold(
    parameters: dict[str, Tensor], standard: Standard, settings: SAESettings, threshold: float | None
) -> SAE:
    """Fold ``z = (x - mean) / scale`` into the weights.

    ReLU, top-k and JumpReLU commute with multiplication by ``scale``, so it goes into the biases and the threshold:
    decoder rows stay unit vectors and codes are lengths in the embedding's own units. ``W_enc`` is exact either way.
    """
    scale = standard.scale
    W_enc = parameters["W_enc"].T.contiguous()
    b_dec = parameters["b_dec"]
    # On disk, as in SAELens, b_dec is subtracted before encoding; in training it is not.
    b_enc = parameters["b_enc"].double() + b_dec.double() @ W_enc.double()
    activation = {"l1": "relu", "topk": "topk"}.get(settings.architecture, "jumprelu")
    return SAE(
        W_enc.clone(),
        parameters["W_dec"].clone(),
        (b_enc * scale).float(),
        (b_dec.double() * scale + torch.from_numpy(standard.mean).double()).float(),
        activation=activation,  # type: ignore[arg-type]
        threshold=None if threshold is None else torch.full((W_enc.shape[1],), threshold),
        k=settings.k if activation == "topk" else None,
        settings=settings,
    )


@torch.no_grad()
def calibrated_threshold(sae: SAE, data: Rows, k: float) -> float:
    """The threshold at which the mean number of active features over all rows of ``data`` is ``k``.

    Batch top-k learns with a threshold that moves from batch to batch; a saved SAE needs one number. It lies halfway
    between the ``n k``-th largest positive pre-activation and the next, and is 0 if there are no more than ``n k``.
    """
    count = round(data.rows * k)
    if count > MANY:
        return _calibrated_by_counting(sae, data, count)
    some = data.batch(np.linspace(0, data.rows - 1, min(data.rows, 256)).astype(np.int64))
    likely = _largest(_pre(sae, some), 2 * round(len(some) * k))
    kept = np.empty(0, dtype=np.float32)
    for floor in (max(np.float32(0), likely[0]), np.float32(0)):  # the second only if those rows misled
        kept = kept[:0]
        for _, block in chunks(data):
            pre = _pre(sae, block)
            kept = np.concatenate([kept, pre[pre > floor]])
            if len(kept) > 3 * count:
                kept = _largest(kept, count + 1)
                floor = np.nextafter(kept[0], np.float32(0))
        if len(kept) > count:
            break
    if len(kept) <= count:
        return 0.0
    kept = _largest(kept, count + 1)
    below, above = float(kept[0]), float(kept[1:].min())
    middle = np.float32((below + above) / 2)
    return float(middle if middle < above else below)


def _calibrated_by_counting(sae: SAE, data: Rows, count: int) -> float:
    """The same number in memory that does not grow with the rows: ranks are counted, and no value is kept.

    Positive float32 numbers are in the order of their bits, so the upper half of the bits is counted first, and then the
    lower half of those that share their upper half with one of the two numbers that are looked for.
    """
    upper = np.zeros(2**16, dtype=np.int64)
    for bits in _positive_bits(sae, data):
        upper += np.bincount(bits >> 16, minlength=2**16)
    if upper.sum() <= count:
        return 0.0
    from_above = np.cumsum(upper[::-1])
    bins = [2**16 - 1 - int(np.searchsorted(from_above, rank)) for rank in (count, count + 1)]
    lower = {high_bits: np.zeros(2**16, dtype=np.int64) for high_bits in bins}
    for bits in _positive_bits(sae, data):
        for high_bits, counts in lower.items():
            counts += np.bincount(bits[bits >> 16 == high_bits] & 0xFFFF, minlength=2**16)
    thresholds = []
    for rank, high_bits in zip((count, count + 1), bins, strict=True):
        inside = rank - int(upper[high_bits + 1 :].sum())
        low = 2**16 - 1 - int(np.searchsorted(np.cumsum(lower[high_bits][::-1]), inside))
        thresholds.append(float(np.array((high_bits << 16) | low, dtype=np.uint32).view(np.float32)))
    above, below = thresholds
    middle = np.float32((below + above) / 2)
    return float(middle if middle < above else below)


def _positive_bits(sae: SAE, data: Rows) -> Iterator[np.ndarray]:
    """The bits, as int64, of every positive pre-activation of the rows."""
    for _, block in chunks(data):
        pre = _pre(sae, block)
        yield pre[pre > 0].view(np.uint32).astype(np.int64)


def _pre(sae: SAE, x: np.ndarray) -> np.ndarray:
    return sae.pre_activations(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))).numpy().ravel()


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` largest, or all, the least of them first."""
    start = max(0, len(values) - count)
    return np.partition(values, start)[start:]
