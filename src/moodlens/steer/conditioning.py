"""Where a direction enters MusicGen: the tensor that is moved, and the three ways to move it.

Site: ``text_encoder(...).last_hidden_state`` ``(B, T, d_in)``, after T5's last norm and before ``enc_to_dec_proj``, at
every real token, ``</s>`` included. The mean of ``h + a v`` over tokens is ``mean(h) + a v``, so a direction found in
pooled embeddings is a direction here. In classifier-free guidance the null half is zeros with mask 0, and zeroed again
after the projection: what is added to it never arrives. Steering here is of the conditional half by construction, and
the guidance scale multiplies it.

A coefficient that changes while the music plays: the text encoder runs once per clip and the decoder caches the keys and
values it makes of it, so a schedule cannot be had by hooking the encoder, nor the projection behind it (a hook there is
still called at every step, and after the first one its output is thrown away). :func:`scheduled` hands the decoder other
states and empties that cache whenever the factor changes.
"""

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np
import torch
from torch import Tensor

from moodlens.settings.steer import check_schedule

if TYPE_CHECKING:
    from transformers.modeling_outputs import BaseModelOutput

Null = Literal["zeros", "opposite"]
STEP = 0.1
"""Seconds between two looks at a schedule: each change costs one projection of the prompt per decoder layer."""


@dataclass(frozen=True)
class Sampling:
    """How clips are drawn; the defaults are audiocraft's.

    Attributes:
        guidance: classifier-free guidance scale; 1 turns it off.
        temperature: of the softmax.
        top_k: tokens kept at each draw; 0 keeps all.
        steps: of denoising, for a diffusion model; None is its own number. Such a model has no tokens, so temperature
            and top_k are nothing to it.
        negative: text that guidance leads away from, in the null half; None leaves the null half as it is.
    """

    guidance: float = 3.0
    temperature: float = 1.0
    top_k: int = 250
    steps: int | None = None
    negative: str | None = None


@dataclass(frozen=True)
class Steering:
    """What is added to the conditioning.

    Attributes:
        vector: ``(d_in,)`` unit direction.
        amount: length added along it, in the embedding's units (coefficient times the set's unit).
        renorm: scale every token back to the norm it had (TADA, arXiv:2602.11910): stays on the shell of T5's last
            norm, at the price of a smaller step.
        null: ``zeros`` is MusicGen's own null half. ``opposite`` puts the prompt steered by ``-amount`` there, as a
            negative prompt: guidance then amplifies the direction alone, not the prompt.
        schedule: (seconds, factor) points that multiply ``amount`` over time; None is constant.
    """

    vector: np.ndarray
    amount: float
    renorm: bool = False
    null: Null = "zeros"
    schedule: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if self.schedule is not None:
            check_schedule(self.schedule)

    @property
    def nothing(self) -> bool:
        """Whether this leaves the model alone."""
        return self.amount == 0


def added(hidden: Tensor, mask: Tensor, vector: Tensor, amount: float | Tensor, renorm: bool) -> Tensor:
    """Steered states: ``hidden`` (B, T, d) with ``amount * vector`` added where ``mask`` (B, T) is 1.

    ``vector`` is ``(d,)`` or ``(B, d)``. Keeps the dtype of ``hidden``: a bfloat16 projection takes no float32.
    """
    step = (amount * vector).to(hidden)
    step = step.reshape(-1, 1, step.shape[-1]) * mask[..., None].to(hidden.dtype)
    moved = hidden + step
    if renorm:
        before = hidden.float().norm(dim=-1, keepdim=True)
        after = moved.float().norm(dim=-1, keepdim=True).clamp_min(1e-12)
        moved = torch.where(
            mask[..., None].bool(), (moved.float() * (before / after)).to(hidden.dtype), hidden
        )
    return moved


def halves(
    hidden: Tensor, mask: Tensor, vector: Tensor, steering: Steering, *, amount: float, guided: bool
) -> tuple[Tensor, Tensor]:
    """States and mask of both halves, as ``generate`` expects them from a caller who brings its own states.

    transformers builds the null half only where it runs the text encoder itself. A null half of zeros needs mask 0:
    with mask 1 the zeros become the projection's bias and are attended to.

    Args:
        hidden: ``(B, T, d_in)`` unsteered states.
        mask: ``(B, T)``.
        amount: added to the conditional half.
        guided: whether there is a null half at all (guidance above 1).

    Returns:
        ``(2B, T, d_in)`` and ``(2B, T)``, conditional rows first; ``(B, ...)`` without guidance.
    """
    steered = added(hidden, mask, vector, amount, steering.renorm)
    if not guided:
        return steered, mask
    if steering.null == "opposite":
        opposite = added(hidden, mask, vector, -amount, steering.renorm)
        return torch.cat([steered, opposite]), torch.cat([mask, mask])
    return torch.cat([steered, torch.zeros_like(hidden)]), torch.cat([mask, torch.zeros_like(mask)])


def project(model: Any, states: Tensor, mask: Tensor) -> Tensor:
    """As MusicGen's ``forward`` does: ``enc_to_dec_proj`` where the widths differ, then zero what is masked."""
    decoder = model.decoder.config
    if model.text_encoder.config.hidden_size != decoder.hidden_size and (
        decoder.cross_attention_hidden_size is None
    ):
        states = model.enc_to_dec_proj(states)
    return states * mask[..., None]


@contextlib.contextmanager
def hooked(model: Any, vector: Tensor, steering: Steering) -> Iterator[None]:
    """Hook form: the text encoder, which ``generate`` runs once a clip, gives steered states."""

    def hook(module: Any, args: Any, kwargs: dict[str, Any], out: Any) -> Any:
        hidden, mask = out.last_hidden_state, kwargs.get("attention_mask")
        mask = hidden.new_ones(hidden.shape[:2]) if mask is None else mask
        out.last_hidden_state = added(hidden, mask, vector, steering.amount, steering.renorm)
        return out

    handle = model.text_encoder.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


class Explicit(TypedDict):
    """Arguments of ``generate`` that bring the text's states, each clip's and its null half."""

    input_ids: Tensor
    encoder_outputs: "BaseModelOutput"
    attention_mask: Tensor


@torch.no_grad()
def explicit(
    model: Any, ids: Tensor, mask: Tensor, vector: Tensor, steering: Steering, *, amount: float, guided: bool
) -> Explicit:
    """Explicit form: arguments of ``generate`` that bring steered ``encoder_outputs`` and their null half."""
    from transformers.modeling_outputs import BaseModelOutput

    hidden = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    states, states_mask = halves(hidden, mask, vector, steering, amount=amount, guided=guided)
    # input_ids only tell generate() how many clips there are, not two per clip; they are not encoded again.
    return {
        "input_ids": ids,
        "encoder_outputs": BaseModelOutput(last_hidden_state=states),
        "attention_mask": states_mask,
    }


def factors(points: Sequence[tuple[float, float]], n_frames: int, frame_rate: float) -> np.ndarray:
    """Factor of the coefficient at every frame, ``(n_frames,)``: linear between points, constant outside them.

    Two points at the same time make a jump; the later one holds from that time on. Sampled every ``STEP`` seconds.
    """
    check_schedule(points)
    hold = max(1, round(STEP * frame_rate))
    times = (np.arange(n_frames) // hold) * hold / frame_rate
    at = np.array([t for t, _ in points], dtype=float)
    value = np.array([v for _, v in points], dtype=float)
    right = np.searchsorted(at, times + 1e-9, side="right")
    low, high = np.clip(right - 1, 0, len(at) - 1), np.clip(right, 0, len(at) - 1)
    width = at[high] - at[low]
    share = np.divide(times - at[low], width, out=np.zeros_like(times), where=width > 0)
    return value[low] + np.clip(share, 0, 1) * (value[high] - value[low])


@contextlib.contextmanager
def scheduled(
    model: Any,
    hidden: Tensor,
    mask: Tensor,
    vector: Tensor,
    steering: Steering,
    factor: np.ndarray,
    guided: bool,
) -> Iterator[None]:
    """Hand the decoder the states of the moment, and empty its cross-attention cache when they change.

    Args:
        hidden: ``(B, T, d_in)`` unsteered states.
        factor: ``(frames,)`` of ``steering.amount``; the last one holds on.
    """

    def states_at(now: np.ndarray) -> tuple[Tensor, Tensor]:
        return halves(hidden, mask, vector, steering, amount=float(now[0]) * steering.amount, guided=guided)

    with following(model, states_at, np.asarray(factor)[:, None]):
        yield


@contextlib.contextmanager
def following(
    model: Any, states_at: Callable[[np.ndarray], tuple[Tensor, Tensor]], factor: np.ndarray
) -> Iterator[None]:
    """:func:`scheduled` for any number of rows.

    Args:
        states_at: states and mask, as :func:`halves` gives them, under the factors ``(B,)`` of a moment.
        factor: ``(frames, B)``; the last one holds on.
    """
    from transformers.cache_utils import DynamicCache

    current: dict[str, Any] = {"factor": None, "states": None}

    def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        cache = kwargs.get("cache", kwargs.get("past_key_values"))  # renamed in transformers 5.24
        position = 0 if cache is None else int(cache.get_seq_length())
        now = factor[min(position, len(factor) - 1)]
        if current["factor"] is None or not np.array_equal(now, current["factor"]):
            current["states"] = project(model, *states_at(now))
            if cache is not None and position > 0:
                cache.cross_attention_cache = DynamicCache()
                cache.is_updated = dict.fromkeys(cache.is_updated, False)
            current["factor"] = now
        return args, {**kwargs, "encoder_hidden_states": current["states"]}

    handle = model.decoder.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def private_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the draws inside, and leave every global random state as it was."""
    devices = [device] if device.type == "cuda" else []
    # The decoder draws from Python's generator for LayerDrop, also when it drops nothing.
    before = random.getstate()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
