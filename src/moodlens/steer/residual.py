"""Where layer-wise steering enters MusicGen: behind decoder layers, at every step, in chosen rows.

Rows of a call are its clips, and behind them, where there is guidance, their null halves. In MusicGen-melody a prefix of text and
melody stands in front of the music; it is left alone.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

Halves = Literal["conditional", "both"]


@dataclass(frozen=True)
class LayerSteering:
    """What is added to the decoder's residual stream.

    Attributes:
        vectors: layer -> ``(d_decoder,)``, what an amount of 1 adds behind it.
        amount: factor of all vectors.
        decay: factor from one step to the next; 1 keeps the strength.
        halves: of guidance. Published work adds to ``both``, which guidance then does not multiply.
    """

    vectors: Mapping[int, np.ndarray]
    amount: float
    decay: float = 1.0
    halves: Halves = "conditional"

    @property
    def nothing(self) -> bool:
        """Whether this leaves the model alone."""
        return self.amount == 0


def blocks(model: Any) -> Any:
    """The decoder's layers, first to last."""
    return model.decoder.model.decoder.layers


class Steps:
    """Which steps of the music a call of the decoder is about.

    Attributes:
        cached: positions of earlier calls, a prefix among them.
        tokens: steps of the music in this call, which stand last.
    """

    def __init__(self, first: int = 0) -> None:
        self.cached = self.tokens = self._prefix = 0
        self._first = first

    def look(self, module: Any, args: Any, kwargs: Mapping[str, object]) -> None:
        """Hook in front of the decoder."""
        cache: Any = kwargs.get("cache", kwargs.get("past_key_values"))  # renamed in transformers 5.24
        ids: Any = kwargs["input_ids"]
        self.cached = 0 if cache is None else int(cache.get_seq_length())
        self.tokens = int(ids.shape[-1])

    def of(self, n_positions: int) -> torch.Tensor:
        """Number of each step of the music among ``n_positions`` positions of a layer, ``(tokens,)`` from ``first`` on."""
        if self.cached == 0:
            self._prefix = n_positions - self.tokens
        # On the processor: a few numbers.
        return torch.arange(self.tokens) + self._first + max(self.cached - self._prefix, 0)


@contextlib.contextmanager
def layered(model: Any, steerings: Sequence[object], *, first: int = 0) -> Iterator[None]:
    """Within, row i of every call is steered by ``steerings[i]``, if that is a :class:`LayerSteering`.

    Each layer's output becomes ``h + amount * decay ** step * vector`` at every step of the music.

    Args:
        steerings: one for each clip of a call; the rows behind them are the null halves.
        first: step at which a call without a cache begins. Below 0 lies a sound that the music goes on from, which is
            left alone.
    """
    n = len(steerings)
    steered = [(i, s) for i, s in enumerate(steerings) if isinstance(s, LayerSteering) and not s.nothing]
    if not steered:
        yield
        return
    steps = Steps(first)
    handles = [model.decoder.register_forward_pre_hook(steps.look, with_kwargs=True)]
    for layer in sorted({layer for _, s in steered for layer in s.vectors}):
        here = [(i, s) for i, s in steered if layer in s.vectors]
        handles.append(blocks(model)[layer].register_forward_hook(_adding(steps, layer, here, n)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _adding(steps: Steps, layer: int, steered: Sequence[tuple[int, LayerSteering]], n: int) -> Any:
    # A row of the null half stands n behind its clip's; without guidance there is none.
    where = [(i, s) for i, s in steered] + [(i + n, s) for i, s in steered if s.halves == "both"]
    vectors = torch.as_tensor(np.stack([s.amount * s.vectors[layer] for _, s in where]), dtype=torch.float32)
    decay = torch.tensor([s.decay for _, s in where])
    there: dict[torch.device, torch.Tensor] = {}

    def add(module: Any, args: Any, out: Any) -> Any:
        hidden = out[0] if isinstance(out, tuple) else out
        if hidden.device not in there:  # once, not at every step
            there[hidden.device] = vectors.to(hidden.device)
        step = steps.of(hidden.shape[1])
        strength = decay[:, None] ** step.clamp(min=0) * (step >= 0)  # (rows, tokens)
        strength = strength.to(hidden.device)
        change = (strength[..., None] * there[hidden.device][:, None]).to(hidden.dtype)
        moved = hidden.clone()
        for (row, _), added in zip(where, change, strict=True):
            if row < len(hidden):
                moved[row, -steps.tokens :] += added
        return (moved, *out[1:]) if isinstance(out, tuple) else moved

    return add
