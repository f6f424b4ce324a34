"""What a MusicGen predicts at every place of given tokens, steered in any way and without a draw (teacher forcing).

The conditioning of a job is the one that its clip is made with: the direction, the edited or negative text, the null half and
guidance. Temperature and top-k come after the predictions and are left out: a token that top-k forbids has no finite
divergence.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from moodlens.steer.conditioning import Sampling
from moodlens.steer.generator import Job, make_clips
from moodlens.steer.places import place_logits
from moodlens.steer.residual import layered

if TYPE_CHECKING:
    from moodlens.steer.musicgen import MusicGen


def own_tokens(
    musicgen: "MusicGen",
    jobs: Sequence[Job],
    *,
    seconds: float,
    sampling: Sampling,
    batch: int | Literal["auto"] = "auto",
) -> list[np.ndarray]:
    """The tokens of the clips of ``jobs``, as they were drawn, ``(n_codebooks, frames)`` int64 each.

    A codec's own reading of a clip gives other tokens than those the clip was decoded from, so the clips are drawn again. A
    shorter clip of a seed begins as a longer one does.
    """
    out: list[np.ndarray] = []
    with _overheard(musicgen.model) as heard:
        for now, _ in make_clips(musicgen, jobs, seconds=seconds, sampling=sampling, batch=batch):
            # Stereo is decoded as left, then right, which take turns among the codebooks.
            sides = [heard[i * len(now) : (i + 1) * len(now)] for i in range(musicgen.channels)]
            out += [
                np.stack(parts, axis=1).reshape(-1, parts[0].shape[1]) for parts in zip(*sides, strict=True)
            ]
            heard.clear()
    return out


@torch.no_grad()
def answer(musicgen: "MusicGen", job: Job, codes: np.ndarray, sampling: Sampling) -> Tensor:
    """Log-probabilities of every token at every place of ``codes``, ``(n_codebooks, frames, vocab)`` float64.

    Args:
        codes: ``(n_codebooks, frames)``; of any clip.
        sampling: its guidance and its negative text count.
    """
    states, mask = musicgen.conditioned(job, sampling)
    given = torch.as_tensor(codes, dtype=torch.long, device=states.device)
    with layered(musicgen.model, [job.steering]):
        logits = place_logits(musicgen.model, states, mask, given).double()
    if sampling.guidance > 1:
        steered, null = logits
        return (null + sampling.guidance * (steered - null)).log_softmax(dim=-1)
    return logits[0].log_softmax(dim=-1)


@contextlib.contextmanager
def _overheard(model: Any) -> Iterator[list[np.ndarray]]:
    """Tokens ``(n_codebooks, frames)`` of every row that the codec decodes meanwhile, in order."""
    quantizer = model.audio_encoder.quantizer
    heard: list[np.ndarray] = []
    decode = quantizer.decode

    def overhear(codes: Tensor) -> Any:
        heard.extend(codes.transpose(0, 1).cpu().numpy())
        return decode(codes)

    quantizer.decode = overhear
    try:
        yield heard
    finally:
        del quantizer.decode  # the class's own is behind it
