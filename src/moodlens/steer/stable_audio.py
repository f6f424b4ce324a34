"""Stable Audio Open and Stable Audio 3: how long a clip is, and how each of them adds and takes away noise."""

import math
from typing import Any

import torch
from torch import Tensor

from moodlens.steer.diffusion import Diffusion


class StableAudio(Diffusion):
    """Stable Audio Open 1.0: the very T5-base that MusicGen reads with, in front of a diffusion transformer.

    It always denoises its full length (47 s) and then cuts, so a short clip saves nothing.
    """

    title = "Stable Audio Open"
    pipeline = "StableAudioPipeline"
    mask_name = "attention_mask"
    guidance, steps = 7.0, 100

    @property
    def longest(self) -> float:
        """Seconds of the latents that the transformer was trained on."""
        return self.pipe.transformer.config.sample_size * self.pipe.vae.hop_length / self.sampling_rate

    def _length(self, seconds: float) -> dict[str, Any]:
        return {"audio_end_in_s": seconds}

    def encode(self, audio: Tensor, seconds: float) -> Tensor:
        """The mean of the posterior, over the model's full length: the rest is silence."""
        whole = int(self.pipe.transformer.config.sample_size) * int(self.pipe.vae.hop_length)
        padded = torch.nn.functional.pad(audio, (0, whole - audio.shape[-1]))
        return self.pipe.vae.encode(padded).latent_dist.mode()

    def noised(self, latents: Tensor, noise: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """v-prediction: signal and noise are cosine and sine of an angle (Salimans & Ho 2022, arXiv:2202.00512)."""
        signal, share = math.cos(time * math.pi / 2), math.sin(time * math.pi / 2)
        return signal * latents + share * noise, signal * noise - share * latents

    def velocity(self, noised: Tensor, time: float, hidden: Tensor, mask: Tensor, seconds: float) -> Tensor:
        """As the pipeline calls its transformer."""
        from diffusers.models.embeddings import get_1d_rotary_pos_embed

        pipe, rows, device = self.pipe, len(hidden), hidden.device
        text = pipe.encode_prompt(None, device, False, prompt_embeds=hidden, attention_mask=mask)
        start, end = pipe.encode_duration(0.0, seconds, device, False, rows)
        lengths = torch.cat([start, end], dim=2)
        rotary = get_1d_rotary_pos_embed(
            pipe.rotary_embed_dim,
            noised.shape[2] + lengths.shape[1],
            use_real=True,
            repeat_interleave_real=False,
        )
        return pipe.transformer(
            noised,
            torch.full((1,), time, device=device, dtype=noised.dtype),
            encoder_hidden_states=torch.cat([text, start, end], dim=1),
            global_hidden_states=lengths,
            rotary_embedding=rotary,
            return_dict=False,
        )[0]


class StableAudio3(Diffusion):
    """Stable Audio 3: reads with T5Gemma, so only directions of that encoder steer it, however wide others are."""

    title = "Stable Audio 3"
    pipeline = "StableAudio3Pipeline"
    mask_name = "encoder_attention_mask"

    def __init__(self, pipe: Any, name: str, revision: str) -> None:
        super().__init__(pipe, name, revision)
        distilled = bool(pipe.scheduler.config.stochastic_sampling)
        # As the pipeline does: a distilled model has its guidance built in.
        self.guidance, self.steps = (1.0, 8) if distilled else (7.0, 100)

    @property
    def n_tokens(self) -> int:
        """Length to which a prompt is padded: never more than the checkpoints were trained with."""
        return min(super().n_tokens, 256)

    @property
    def longest(self) -> float:
        """Seconds that the duration's embedding tells apart."""
        return float(self.pipe.duration_embedder.config.max_val)

    def _length(self, seconds: float) -> dict[str, Any]:
        return {"duration": seconds}

    def encode(self, audio: Tensor, seconds: float) -> Tensor:
        """As long as the pipeline makes them for ``seconds``."""
        ratio = int(self.pipe.vae.downsampling_ratio)
        whole = math.ceil(seconds * self.sampling_rate / ratio) * ratio
        return self.pipe.vae.encode(torch.nn.functional.pad(audio, (0, whole - audio.shape[-1]))).latents

    def noised(self, latents: Tensor, noise: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Rectified flow: a straight line from sound to noise (Liu et al. 2023, arXiv:2209.03003)."""
        return (1 - time) * latents + time * noise, noise - latents

    def velocity(self, noised: Tensor, time: float, hidden: Tensor, mask: Tensor, seconds: float) -> Tensor:
        """As the pipeline calls its transformer."""
        pipe, rows, device = self.pipe, len(hidden), hidden.device
        text, mask = pipe.encode_prompt(None, device, 1, hidden, mask)
        length = pipe.encode_duration(seconds, device, 1, rows)
        text, mask = pipe.prepare_cross_attention(text, mask, length)
        return pipe.transformer(
            noised,
            torch.full((rows,), time, device=device, dtype=noised.dtype),
            encoder_hidden_states=text,
            global_hidden_states=length,
            encoder_attention_mask=mask,
            return_dict=False,
        )[0]
