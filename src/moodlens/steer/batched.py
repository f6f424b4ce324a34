"""Many clips in one call of MusicGen's ``generate``: each with its own prompt, direction, amount and seed.

Of a decoder's step nearly all the time is spent on reading its weights, so sixteen clips take little longer than one.
What a clip says must not depend on its neighbours. So every row has its own text states, padded and masked; its own null
half; and its own generator, from which its tokens are drawn as ``torch.multinomial`` draws them: by an exponential race.
A row then gets the tokens that it gets alone, but where two tokens of a race are as close as the last bits of a matrix
product, which depend on the number of rows: not seen in float32, common in half precision.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from moodlens.steer.conditioning import Sampling, Steering, factors, following, halves, private_seed
from moodlens.steer.generator import Job, NoNumbers, one_line
from moodlens.steer.residual import layered

if TYPE_CHECKING:
    from transformers import LogitsProcessorList

    from moodlens.steer.musicgen import MusicGen

MOST = {"cpu": 16, "cuda": 64}
"""Rows in one call where memory allows more: beyond these a step takes longer about as fast as rows are added."""
SHARE = {"cpu": 0.25, "cuda": 0.5}
"""Of the free memory that a batch may fill. On a processor others take from it meanwhile, and Linux then ends the process
where a GPU raises an error that halves the batch."""


class RowSampler:
    """Leaves one token a row, drawn from the row's own generator; the last of the processors of logits.

    Attributes:
        broken: ``(rows,)``, whether a row's predictions stopped being numbers.
    """

    def __init__(self, seeds: Sequence[int], streams: int, device: torch.device) -> None:
        self.generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        self.streams = streams
        self.broken = torch.zeros(len(seeds), dtype=torch.bool, device=device)

    def __call__(self, ids: Tensor, scores: Tensor) -> Tensor:
        chance = scores.float().softmax(dim=-1)
        self.broken |= ~chance.isfinite().flatten(1).all(dim=1).view(-1, self.streams).all(dim=1)
        race = torch.empty_like(chance)
        for row, generator in enumerate(self.generators):
            race[row * self.streams : (row + 1) * self.streams].exponential_(1, generator=generator)
        first = (chance / race).argmax(dim=-1, keepdim=True)
        return torch.full_like(scores, -torch.inf).scatter_(1, first, 0.0)


def processors(sampling: Sampling, sampler: RowSampler) -> "LogitsProcessorList":
    """Guidance, temperature, top-k, draw. transformers appends guidance to the caller's list; it belongs first."""
    from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper

    class GuidanceFirst(LogitsProcessorList):
        def append(self, item: Any) -> None:
            self.insert(0, item)

    chosen: list[Any] = []
    if sampling.temperature != 1:
        chosen.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        chosen.append(TopKLogitsWarper(sampling.top_k))
    return GuidanceFirst([*chosen, sampler])


class TextRows:
    """Text states of all jobs of a batch, padded to one length."""

    def __init__(self, musicgen: "MusicGen", jobs: Sequence[Job], sampling: Sampling) -> None:
        self.jobs, self.guided = jobs, sampling.guidance > 1
        self.frame_rate = musicgen.frame_rate
        known = {text: musicgen.states(text) for text in dict.fromkeys(job.text for job in jobs)}
        self.states = [known[job.text] for job in jobs]
        self.vectors = [
            None if steering is None else musicgen.vector(steering.vector) for steering in map(_in_text, jobs)
        ]
        self.negative = None
        if sampling.negative is not None and self.guided:
            self.negative = musicgen.states(sampling.negative)
        told = [*self.states, *([] if self.negative is None else [self.negative])]
        self.length = max(hidden.shape[1] for hidden, _ in told)

    def halves(self, factor: np.ndarray) -> tuple[Tensor, Tensor]:
        """``(2B, T, d_in)`` and ``(2B, T)`` with ``factor`` (B,) of each amount added; ``(B, ...)`` without guidance."""
        parts = []
        for job, (hidden, mask), vector, now in zip(
            self.jobs, self.states, self.vectors, factor, strict=True
        ):
            steering = _in_text(job) or Steering(np.zeros(0), 0.0)
            vector = hidden.new_zeros(hidden.shape[-1]) if vector is None else vector
            states, full = halves(
                hidden, mask, vector, steering, amount=float(now) * steering.amount, guided=self.guided
            )
            states, full = self._padded(states, full)
            if self.negative is not None:
                away, known = self._padded(*self.negative)
                states, full = torch.cat([states[:1], away]), torch.cat([full[:1], known])
            parts.append((states, full))
        # (2, B, T, ...): all conditional rows, then all null rows.
        states = torch.stack([states for states, _ in parts], dim=1).flatten(0, 1)
        return states, torch.stack([mask for _, mask in parts], dim=1).flatten(0, 1)

    def factors(self, n_frames: int) -> np.ndarray | None:
        """``(n_frames, B)`` factor of each amount at every frame; None where no amount changes."""
        schedules = [None if steering is None else steering.schedule for steering in map(_in_text, self.jobs)]
        if all(points is None for points in schedules):
            return None
        factor = np.ones((n_frames, len(self.jobs)))
        for row, points in enumerate(schedules):
            if points is not None:
                factor[:, row] = factors(points, n_frames, self.frame_rate)
        return factor

    def _padded(self, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        pad = self.length - states.shape[1]
        return torch.nn.functional.pad(states, (0, 0, 0, pad)), torch.nn.functional.pad(mask, (0, pad))


def _in_text(job: Job) -> Steering | None:
    """What moves a job's text; None where nothing does."""
    return job.steering if isinstance(job.steering, Steering) and not job.plain else None


@torch.no_grad()
def generate_rows(
    musicgen: "MusicGen", jobs: Sequence[Job], *, seconds: float, sampling: Sampling
) -> list[np.ndarray]:
    """The clips of ``jobs``, ``(channels, samples)`` float32 each, from one call of ``generate``.

    Raises:
        OutOfMemory: they are too many for this machine.
        BadInput: as :meth:`MusicGen.generate`; it says which row where one row is at fault.
    """
    from transformers.modeling_outputs import BaseModelOutput

    model, device = musicgen.model, musicgen.model.device
    n_frames = musicgen.frames(seconds)
    rows = TextRows(musicgen, jobs, sampling)
    states, mask = rows.halves(np.ones(len(jobs)))
    factor = rows.factors(n_frames)
    how = contextlib.nullcontext() if factor is None else following(model, rows.halves, factor)
    sampler = RowSampler([job.seed for job in jobs], musicgen.n_codebooks, device)
    within = layered(model, [job.steering for job in jobs])
    with one_line(musicgen.name), how, within, _decoded_singly(model), private_seed(0, device):
        audio = model.generate(
            input_ids=torch.zeros(len(jobs), rows.length, dtype=torch.long, device=device),  # only counted
            encoder_outputs=BaseModelOutput(last_hidden_state=states),
            attention_mask=mask,
            max_new_tokens=musicgen.n_steps(n_frames),
            do_sample=False,
            guidance_scale=sampling.guidance,
            logits_processor=processors(sampling, sampler),
        )
        clips = [clip.float().cpu().numpy() for clip in audio]
    return sound(musicgen, jobs, clips, sampler)


def sound(
    musicgen: "MusicGen", jobs: Sequence[Job], clips: list[np.ndarray], sampler: RowSampler
) -> list[np.ndarray]:
    """``clips``, unless the predictions of one stopped being numbers."""
    for row, broken in enumerate(sampler.broken.tolist()):
        if broken or not np.isfinite(clips[row]).all():
            raise NoNumbers(musicgen.name, jobs[row], clips[:row])
    return clips


@contextlib.contextmanager
def _decoded_singly(model: Any) -> Iterator[None]:
    """Let the codec decode row by row: the same tokens then become the same bytes, and memory stays small."""
    codec = model.audio_encoder
    together = codec.decode

    def decode(audio_codes: Tensor, *, audio_scales: Sequence[Any], **more: Any) -> Any:
        rows = [
            together(audio_codes[:, row : row + 1], audio_scales=[scale], **more)
            for row, scale in enumerate(audio_scales)
        ]
        whole = rows[0]
        whole.audio_values = torch.cat([row.audio_values for row in rows])
        return whole

    codec.decode = decode
    try:
        yield
    finally:
        del codec.decode  # the class's own is behind it


# -- how many at once ----------------------------------------------------------------------------------------------------


def rows_that_fit(musicgen: "MusicGen", seconds: float, *, guided: bool) -> int:
    """Clips that one call may make: what fits into a share of the free memory, and no more than are of use."""
    config, device = musicgen.model.config.decoder, musicgen.model.device
    size = torch.empty(0, dtype=musicgen.model.decoder.dtype).element_size()
    # Keys and values of every layer and step. They grow by being copied, one layer at a time: half as much again, at most.
    steps = musicgen.n_steps(min(musicgen.frames(seconds), musicgen.window))
    row = 1.5 * 2 * size * config.num_hidden_layers * config.hidden_size * steps * (2 if guided else 1)
    # The logits of a step in float32, a few times over.
    row += 8 * 4 * musicgen.n_codebooks * config.vocab_size * (2 if guided else 1)
    free = _free_memory(device)
    most = MOST.get(device.type, 16)
    return most if free is None else int(min(max(SHARE.get(device.type, 0.25) * free // row, 1), most))


def _free_memory(device: torch.device) -> float | None:
    """Bytes; None where that cannot be told."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024.0 * int(line.split()[1])
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (OSError, ValueError):
        return None
