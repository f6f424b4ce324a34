"""Steering in the decoder's residual stream, layer by layer: the baseline that published work is.

Differences in means of the residual stream under prompts of an emotion and of the others, added at every step behind chosen
layers, with a decay (Singh, arXiv:2505.18186, and Federici & Fornetti steer MusicGen so; SMITIN, MusicRFM and others
likewise). It needs clips to learn from, a vector for every layer and a hook at every step; a direction in the text states needs none of
these, which is what the comparison is about.

    layers = layer_differences(musicgen, {"happy": [...], "sad": [...]}, seconds=8)
    with layers.steer(musicgen, "happy", 1.0, decay=0.998):
        audio = musicgen.generate("instrumental music", seconds=8, seed=0)
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from moodlens.core import BadInput
from moodlens.steer.conditioning import Sampling
from moodlens.steer.generator import Job, make_clips

if TYPE_CHECKING:
    from moodlens.steer.musicgen import MusicGen

Halves = Literal["conditional", "both"]


@dataclass(frozen=True)
class Layers:
    """Differences in means of one decoder's residual stream.

    Attributes:
        emotions: names of the rows.
        means: ``(n_emotions, n_layers, d_decoder)`` float32, mean over clips and steps behind each layer.
        model: revision of the decoder that they are of.
    """

    emotions: tuple[str, ...]
    means: np.ndarray
    model: str

    def differences(self, emotion: str) -> np.ndarray:
        """``(n_layers, d_decoder)``: an emotion's means minus the mean of the others'.

        Raises:
            BadInput: an unknown emotion.
        """
        if emotion not in self.emotions:
            raise BadInput(f"layers: {emotion} is not among {', '.join(self.emotions)}")
        own = self.emotions.index(emotion)
        return self.means[own] - np.delete(self.means, own, axis=0).mean(axis=0)

    @contextlib.contextmanager
    def steer(
        self,
        musicgen: "MusicGen",
        emotion: str,
        coefficient: float,
        *,
        layers: Sequence[int] | None = None,
        decay: float = 1.0,
        halves: Halves = "conditional",
    ) -> Iterator[None]:
        """Within, every clip of ``musicgen`` is steered by ``coefficient`` differences in means.

        Args:
            layers: behind which to add; None: all.
            decay: factor from one step to the next; 1 keeps the strength.
            halves: of guidance. Published work adds to ``both``, which guidance then does not multiply.

        Raises:
            BadInput: another model's, or no such layer.
        """
        if musicgen.revision != self.model:
            raise BadInput(f"layers: were measured in another model than {musicgen.name}")
        vectors = coefficient * self.differences(emotion)
        chosen = range(len(vectors)) if layers is None else layers
        if not all(0 <= layer < len(vectors) for layer in chosen):
            raise BadInput(f"layers: {', '.join(map(str, chosen))} are not all of 0 to {len(vectors) - 1}")
        if not 0 <= decay <= 1:
            raise BadInput(f"decay: {decay:g} is outside 0 to 1")
        with layered(musicgen.model, {i: vectors[i] for i in chosen}, decay=decay, halves=halves):
            yield


def layer_differences(
    musicgen: "MusicGen",
    prompts: Mapping[str, Sequence[str]],
    *,
    seconds: float,
    seeds: Sequence[int] = (0,),
    sampling: Sampling | None = None,
    batch: int | Literal["auto"] = "auto",
) -> Layers:
    """Measure the residual stream while the model makes a clip of every prompt and seed.

    Args:
        prompts: emotion -> texts that name it. Take none that clips are judged on.

    Raises:
        BadInput: fewer than two emotions, or one without prompts.
    """
    if len(prompts) < 2 or not all(prompts.values()):
        raise BadInput("layers: give prompts of two emotions or more")
    sampling = sampling or Sampling()
    texts = [(emotion, text) for emotion, some in prompts.items() for text in some]
    jobs = [Job(text, seed) for _, text in texts for seed in seeds]
    owner = [emotion for emotion, _ in texts for _ in seeds]
    rows: list[np.ndarray] = []
    with _measured(musicgen.model) as measured:
        for now, _ in make_clips(musicgen, jobs, seconds=seconds, sampling=sampling, batch=batch):
            rows += list(measured.take(len(now)))
    means = np.stack(rows)
    emotions = tuple(prompts)
    each = [means[[o == emotion for o in owner]].mean(axis=0) for emotion in emotions]
    return Layers(emotions, np.stack(each).astype(np.float32), musicgen.revision)


@contextlib.contextmanager
def layered(
    model: Any, vectors: Mapping[int, np.ndarray], *, decay: float = 1.0, halves: Halves = "conditional"
) -> Iterator[None]:
    """Add ``vectors[layer] * decay ** step`` behind each layer at every step.

    Args:
        vectors: layer -> ``(d_decoder,)``.
        halves: which rows are steered. Rows are in halves where states of text come with rows that are masked throughout.
    """
    here: dict[str, Any] = {"step": 0, "rows": None}
    handles = [model.decoder.register_forward_pre_hook(_looking(here), with_kwargs=True)]
    for layer, vector in vectors.items():
        handles.append(_blocks(model)[layer].register_forward_hook(_adding(here, vector, decay, halves)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _blocks(model: Any) -> Any:
    return model.decoder.model.decoder.layers


def _looking(here: dict[str, Any]) -> Any:
    """Notes the step, and how many rows are of the conditional half."""

    def look(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        mask = kwargs.get("encoder_attention_mask")
        here["step"] = 0 if cache is None else int(cache.get_seq_length())
        here["rows"] = None if mask is None else int(mask.any(dim=1).sum())

    return look


def _adding(here: dict[str, Any], vector: np.ndarray, decay: float, halves: Halves) -> Any:
    given = torch.as_tensor(vector)

    def add(module: Any, args: Any, out: Any) -> Any:
        hidden = out[0] if isinstance(out, tuple) else out
        steps = here["step"] + torch.arange(hidden.shape[1], device=hidden.device)
        strength = torch.full_like(steps, decay, dtype=torch.float32) ** steps
        step = (strength[:, None] * given.to(hidden.device, torch.float32)).to(hidden.dtype)
        rows = len(hidden) if halves == "both" or here["rows"] is None else here["rows"]
        moved = torch.cat([hidden[:rows] + step, hidden[rows:]])
        return (moved, *out[1:]) if isinstance(out, tuple) else moved

    return add


class _Measured:
    """Sums of the residual stream behind every layer, over the steps of one call of ``generate``."""

    def __init__(self) -> None:
        self.sums: dict[int, torch.Tensor] = {}
        self.counts: dict[int, int] = {}

    def start(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Forget what was seen before a first step: transformers runs it twice, and a call may have run out of memory."""
        cache = kwargs.get("cache", kwargs.get("past_key_values"))
        if cache is None or int(cache.get_seq_length()) == 0:
            self.sums, self.counts = {}, {}

    def add(self, layer: int, hidden: torch.Tensor) -> None:
        """Count what a layer gives."""
        total = hidden.float().sum(dim=1)
        known = self.sums.get(layer)
        self.sums[layer] = total if known is None else known + total
        self.counts[layer] = self.counts.get(layer, 0) + hidden.shape[1]

    def take(self, n: int) -> np.ndarray:
        """``(n, n_layers, d_decoder)`` means of the conditional rows, and start anew."""
        order = sorted(self.sums)
        means = torch.stack([self.sums[layer][:n] / self.counts[layer] for layer in order], dim=1)
        self.sums, self.counts = {}, {}
        return means.cpu().numpy()


@contextlib.contextmanager
def _measured(model: Any) -> Iterator[_Measured]:
    measured = _Measured()

    def look(layer: int) -> Any:
        return lambda module, args, out: measured.add(layer, out[0] if isinstance(out, tuple) else out)

    handles = [model.decoder.register_forward_pre_hook(measured.start, with_kwargs=True)]
    handles += [block.register_forward_hook(look(i)) for i, block in enumerate(_blocks(model))]
    try:
        yield measured
    finally:
        for handle in handles:
            handle.remove()
