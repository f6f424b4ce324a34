"""Clips that go on from a given sound, and clips longer than MusicGen was trained on: window by window.

MusicGen was trained on 30 s. A longer clip is made as audiocraft makes it (``extend_stride`` 18 of 30 s): each window begins
with the last 12 s of what was said before it, as tokens, and says 18 s more. A given sound is what was said before the first:
its last 12 s, as the codec's tokens. All of it is decoded at once, so that no seam is heard, and what was given is cut off: it
is the same in all clips, and would only water down what differs between them.

Every row draws from its own generator through all windows, so it says what it says alone. A schedule counts from where the new
music begins, and a window's context is read under the text states of the window's start. In the decoder's layers every step of
the new music is steered as it was when it was made; a given sound is left alone.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from moodlens.core import BadInput
from moodlens.core.sound import resample
from moodlens.steer.batched import RowSampler, TextRows, processors, sound
from moodlens.steer.conditioning import Sampling, following, private_seed
from moodlens.steer.generator import Job, one_line
from moodlens.steer.residual import layered

if TYPE_CHECKING:
    from moodlens.steer.musicgen import MusicGen

WINDOW, CONTEXT = 30.0, 12.0
"""Seconds of a window, and of what it repeats of the one before it."""
LONGEST = 600.0
"""Seconds of a clip."""


def context_frames(window: int) -> int:
    """Frames that a window of so many repeats."""
    return round(window * CONTEXT / WINDOW)


@torch.no_grad()
def given_tokens(musicgen: "MusicGen", audio: np.ndarray, rate: int) -> Tensor:
    """The tokens that clips go on from, ``(n_codebooks, frames)``: the end of a sound, as long as a window repeats.

    Args:
        audio: ``(channels, samples)``; a mono model hears the mean of the channels, a stereo model a mono sound twice.

    Raises:
        BadInput: there is less than a frame of it.
    """
    channels = [audio.mean(axis=0)] if musicgen.channels == 1 else [audio[0], audio[-1]]
    model, codes = musicgen.model, []
    for channel in channels:
        samples = resample(np.asarray(channel, np.float32), rate, musicgen.sampling_rate)
        n = context_frames(musicgen.window) * musicgen.sampling_rate / musicgen.frame_rate
        samples = samples[-round(n) :]
        if len(samples) < musicgen.sampling_rate / musicgen.frame_rate:
            raise BadInput(
                f"a sound of {len(samples)} samples is too short for {musicgen.name} to go on from"
            )
        values = torch.as_tensor(samples.copy(), dtype=model.audio_encoder.dtype, device=model.device)
        tokens = model.audio_encoder.encode(values[None, None]).audio_codes[0, 0]
        codes.append(tokens[: musicgen.n_codebooks // musicgen.channels])
    return torch.stack(codes, dim=1).flatten(0, 1)  # left and right in turn, as the decoder has them


@torch.no_grad()
def generate_windows(
    musicgen: "MusicGen", jobs: Sequence[Job], *, seconds: float, sampling: Sampling
) -> list[np.ndarray]:
    """The clips of ``jobs``, ``(channels, samples)`` float32 each, without what was given.

    Raises:
        OutOfMemory: they are too many for this machine.
        BadInput: as :meth:`MusicGen.generate`.
    """
    from transformers.modeling_outputs import BaseModelOutput

    model, device, n = musicgen.model, musicgen.model.device, len(jobs)
    total, window = musicgen.frames(seconds), musicgen.window
    rows = TextRows(musicgen, jobs, sampling)
    states, mask = rows.halves(np.ones(n))
    factor = rows.factors(total)
    sampler = RowSampler([job.seed for job in jobs], musicgen.n_codebooks, device)
    given = musicgen.given
    drawn = torch.zeros(n, musicgen.n_codebooks, 0, dtype=torch.long, device=device)
    drawn = drawn if given is None else given[None].repeat(n, 1, 1)
    before = drawn.shape[2]
    while (start := drawn.shape[2] - before) < total:
        context = drawn[:, :, -context_frames(window) :]
        new = min(total - start, window - context.shape[2])
        how = contextlib.nullcontext()
        if factor is not None:
            now = factor[start : start + new]
            how = following(model, rows.halves, np.concatenate([now[:1].repeat(context.shape[2], 0), now]))
        heard = {"decoder_input_ids": context.flatten(0, 1)} if context.shape[2] else {}
        within = layered(model, [job.steering for job in jobs], first=start - context.shape[2])
        with one_line(musicgen.name), how, within, _tokens(model) as tokens, private_seed(0, device):
            model.generate(
                input_ids=torch.zeros(n, rows.length, dtype=torch.long, device=device),  # only counted
                encoder_outputs=BaseModelOutput(last_hidden_state=states),
                attention_mask=mask,
                **heard,
                max_new_tokens=musicgen.n_steps(new),
                do_sample=False,
                guidance_scale=sampling.guidance,
                logits_processor=processors(sampling, sampler),
            )
        whole = torch.stack(tokens, dim=2).flatten(1, 2)  # (B, n_codebooks, frames)
        drawn = torch.cat([drawn, whole[:, :, context.shape[2] :]], dim=2)
    cut = round(before * musicgen.sampling_rate / musicgen.frame_rate)
    with one_line(musicgen.name):
        clips = [_decoded(musicgen, row)[:, cut:].float().cpu().numpy() for row in drawn]
    return sound(musicgen, jobs, clips, sampler)


@contextlib.contextmanager
def _tokens(model: Any) -> Iterator[list[Tensor]]:
    """What ``generate`` hands to the codec, ``(B, codebooks, frames)`` for each channel, which then decodes nothing."""
    from transformers.models.encodec.modeling_encodec import EncodecDecoderOutput

    codec, tokens = model.audio_encoder, []

    def decode(audio_codes: Tensor, **more: Any) -> EncodecDecoderOutput:
        tokens.append(audio_codes[0])
        return EncodecDecoderOutput(audio_values=torch.zeros(audio_codes.shape[1], 1, 1))  # type: ignore[arg-type]

    codec.decode = decode
    try:
        yield tokens
    finally:
        del codec.decode  # the class's own is behind it


def _decoded(musicgen: "MusicGen", tokens: Tensor) -> Tensor:
    """``(channels, samples)`` of ``(n_codebooks, frames)``."""
    codec, channels = musicgen.model.audio_encoder, musicgen.channels
    parts = [tokens[side::channels][None, None] for side in range(channels)]
    return torch.cat([codec.decode(part, audio_scales=[None]).audio_values[0] for part in parts])
