"""MusicGen-melody: text and a melody stand in front of the music, as a prefix that it attends to as to what it has said.

Three things are not as in MusicGen. ``generate`` takes no states of the caller, so a direction enters by the hook alone.
The prefix is built once and cached with the music behind it, so nothing can change while it plays. No mask hides padding in
the prefix, so a padded prompt is another clip, and prompts are given one by one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moodlens.core import BadInput
from moodlens.core.sound import resample
from moodlens.steer.conditioning import Sampling, Steering
from moodlens.steer.generator import Job
from moodlens.steer.musicgen import MusicGen
from moodlens.steer.residual import LayerSteering

N_FFT, HOP, LONGEST = 16384, 4096, 30
"""Of the chromagram, in samples and seconds: those of every released checkpoint's preprocessor."""


class MusicGenMelody(MusicGen):
    """A MusicGen-melody checkpoint; make one with :meth:`load`.

    Attributes:
        melody: digest of the file whose melody every clip follows; None: no melody.
    """

    title = "MusicGen-melody"
    model_type = "musicgen_melody"
    melody: str | None = None
    _chroma: Tensor | None = None

    @staticmethod
    def model_class() -> Any:
        """transformers' class."""
        from transformers import MusicgenMelodyForConditionalGeneration

        return MusicgenMelodyForConditionalGeneration

    def hear(self, audio: np.ndarray, rate: int, sha256: str) -> None:
        """Let every clip follow the melody of ``(samples,)``; what it says apart from that, its text decides.

        Args:
            rate: Hz.
            sha256: of the file that it was read from, which decides the clips.
        """
        audio = resample(audio, rate, self.sampling_rate)[: LONGEST * self.sampling_rate]
        chroma = chromagram(audio, self.sampling_rate, int(self.model.config.num_chroma))
        self._chroma, self.melody = chroma.to(self.model.device, self.model.dtype), sha256

    def inputs(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Arguments of ``generate``: the text, and the melody if there is one."""
        melody = {} if self._chroma is None else {"input_features": self._chroma[None].clone()}
        return super().inputs(ids, mask) | melody

    def generate(
        self,
        prompt: str,
        *,
        seconds: float,
        seed: int,
        steering: Steering | LayerSteering | None = None,
        sampling: Sampling | None = None,
        form: str = "hook",
    ) -> np.ndarray:
        """One clip, as :meth:`MusicGen.generate` makes it.

        Raises:
            BadInput: also for a schedule, an opposite null half or the explicit form, which this model has no way for.
        """
        self.check(steering)
        if sampling is not None and sampling.negative is not None:
            raise BadInput(f"{self.title} {self.name}: has no way for a negative prompt; leave it out")
        if form != "hook":
            raise BadInput(f"{self.title} {self.name}: takes no states of the caller; steer it by the hook")
        return super().generate(prompt, seconds=seconds, seed=seed, steering=steering, sampling=sampling)

    def frames(self, seconds: float) -> int:
        """As :meth:`MusicGen.frames`, of one window. Raises BadInput where it is too short or too long."""
        longest = self.window / self.frame_rate
        if seconds > longest:
            raise BadInput(
                f"seconds: {self.title} makes clips of up to {longest:.3g} s, not {seconds:g}; longer ones are MusicGen's"
            )
        return super().frames(seconds)

    def go_on(self, audio: np.ndarray, rate: int, sha256: str) -> None:
        """Not to be had.

        Raises:
            BadInput: always.
        """
        raise BadInput(f"{self.title} {self.name}: goes on from no sound; that is MusicGen's")

    def check(self, steering: Steering | LayerSteering | None) -> None:
        """Raise BadInput where this model cannot be steered in this way."""
        if isinstance(steering, Steering) and (steering.schedule is not None or steering.null != "zeros"):
            what = "schedule" if steering.schedule is not None else f"null: {steering.null}"
            raise BadInput(f"{self.title} {self.name}: cannot be steered with {what}; leave it out")

    def batch(self, jobs: Sequence[Job], *, seconds: float, sampling: Sampling) -> list[np.ndarray]:
        """The clips of ``jobs``, one by one: no mask would hide the padding of a batch."""
        return [
            self.generate(job.text, seconds=seconds, seed=job.seed, steering=job.steering, sampling=sampling)
            for job in jobs
        ]

    def rows_that_fit(self, seconds: float, *, guided: bool) -> int:
        """One."""
        return 1

    @torch.no_grad()
    def conditioned(self, job: Job, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
        """The prefix of a job, ``(2, T, d_decoder)``, the null half second, as ``generate`` hands it to the decoder.

        Nothing is masked in it, so there is no mask.
        """
        seen: list[Tensor] = []

        def look(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
            if kwargs.get("encoder_hidden_states") is not None:
                seen.append(kwargs["encoder_hidden_states"])

        handle = self.model.decoder.register_forward_pre_hook(look, with_kwargs=True)
        try:
            shortest = self.n_codebooks / self.frame_rate
            self.generate(job.text, seconds=shortest, seed=job.seed, steering=job.steering, sampling=sampling)
        finally:
            handle.remove()
        return seen[0], None

    def codes(self, audio: np.ndarray, sampling_rate: int) -> np.ndarray:
        """Not to be had: teacher forcing here is of MusicGen without a prefix.

        Raises:
            BadInput: always.
        """
        raise BadInput(f"{self.title} {self.name}: features are ranked with a MusicGen without melody")


def chromagram(audio: np.ndarray, rate: int, n_chroma: int) -> Tensor:
    """The strongest pitch class of every moment, one-hot ``(frames, n_chroma)``: what MusicGen-melody hears of a melody.

    As transformers' ``MusicgenMelodyFeatureExtractor``, which needs torchaudio for the spectrogram alone.
    """
    from transformers.audio_utils import chroma_filter_bank

    wave = torch.as_tensor(audio, dtype=torch.float32)
    short = max(N_FFT - len(wave), 0)
    wave = torch.nn.functional.pad(wave, (short // 2, short - short // 2))
    power = torch.stft(wave, N_FFT, HOP, window=torch.hann_window(N_FFT), return_complex=True).abs().square()
    filters = chroma_filter_bank(sampling_rate=rate, num_frequency_bins=N_FFT, tuning=0, num_chroma=n_chroma)
    strongest = (torch.from_numpy(filters).float() @ power).argmax(dim=0)
    return torch.nn.functional.one_hot(strongest, n_chroma).float()
