"""Diffusion models, steered through diffusers' pipelines (``pip install "moodlens[diffusion]"``): what they share.

A direction goes where it goes in MusicGen: into the text encoder's last hidden state, at every real token. What follows is not
affine here (a SiLU between two layers), and nothing hides padding: pads are attended to as zeros (Stable Audio Open) or as a
learned vector (3). So states keep the length to which the pipeline pads them, and the mask always goes with them. Without
steering the pipeline gets the prompt itself: an amount of 0 is the model as it is.

Clips of one seed share their noise at every step, and no token ever differs: they stay paired from first to last.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from moodlens.core import BadInput, digest, file_sha256
from moodlens.embed.sources import pick_device
from moodlens.steer.checkpoints import loading
from moodlens.steer.conditioning import Sampling, Steering, added, private_seed
from moodlens.steer.generator import Job, NoNumbers, one_line, require_width
from moodlens.steer.residual import LayerSteering
from moodlens.study.records.steer import Checkpoint

PARTS = (
    "text_encoder",
    "tokenizer",
    "transformer",
    "vae",
    "projection_model",
    "duration_embedder",
    "scheduler",
)
"""Folders of a pipeline that decide a clip."""


class Diffusion(ABC):
    """What both pipelines share.

    Attributes:
        title: what messages call the model.
        guidance: the pipeline's own guidance scale; 1: none.
        steps: the pipeline's own number of denoising steps.
    """

    title: ClassVar[str]
    pipeline: ClassVar[str]
    guidance: float
    steps: int
    melody: str | None = None
    continued: str | None = None

    def __init__(self, pipe: Any, name: str, revision: str) -> None:
        for part in (pipe.text_encoder, pipe.transformer, pipe.vae):
            part.eval().requires_grad_(False)
        pipe.set_progress_bar_config(disable=True)
        self.pipe, self.name, self.revision = pipe, name, revision
        self.d_in = _width(pipe.text_encoder.config)
        self.sampling_rate = int(pipe.vae.config.sampling_rate)
        self.channels = int(pipe.vae.config.audio_channels)

    @classmethod
    def load(
        cls,
        name: str,
        *,
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        device: str = "auto",
        revision: str | None = None,
        d_in: int | None = None,
    ) -> "Diffusion":
        """Load a pipeline by hub name or from a folder.

        Raises:
            BadInput: diffusers is missing or too old, it cannot be loaded, or its text has another width.
        """
        made = cls._pipeline()
        where = pick_device(device)
        with loading(cls.title, name, revision) as source:
            folder = source.folder
            if folder is None:
                folder = Path(made.download(source.hub, revision=revision))
            pipe = made.from_pretrained(str(folder), dtype=getattr(torch, dtype), local_files_only=True)
            commit = folder.name if source.folder is None else _weights_digest(folder)
            require_width(cls.title, name, _width(pipe.text_encoder.config), d_in)
            pipe = pipe.to(where)
        return cls(pipe, name, commit)

    @classmethod
    def _pipeline(cls) -> Any:
        try:
            import diffusers
        except ImportError as error:
            raise BadInput(f'{cls.title} needs diffusers: pip install "moodlens[diffusion]"') from error
        made = getattr(diffusers, cls.pipeline, None)
        if made is None:
            raise BadInput(
                f'diffusers {diffusers.__version__} has no {cls.pipeline}: pip install --upgrade "moodlens[diffusion]"'
            )
        return made

    def info(self) -> Checkpoint:
        """What decides a clip besides the prompt, the steering and the seed."""
        dtype = str(self.pipe.transformer.dtype).removeprefix("torch.")
        return Checkpoint(
            model=self.name, revision=self.revision, dtype=dtype, device=self.pipe.transformer.device.type
        )

    # -- text ------------------------------------------------------------------------------------------------------

    @property
    def n_tokens(self) -> int:
        """Length to which a prompt is padded."""
        return int(self.pipe.tokenizer.model_max_length)

    def tokens(self, prompt: str) -> tuple[Tensor, Tensor]:
        """``(1, n_tokens)`` token ids, padded as the pipeline does, and their mask.

        Raises:
            BadInput: the prompt is blank, unknown to the tokenizer, or longer than the model reads.
        """
        tokenizer, device = self.pipe.tokenizer, self.pipe.text_encoder.device
        if not prompt.strip():
            raise BadInput("prompt: is blank; every clip needs a text")
        whole = tokenizer(prompt).input_ids
        if len(whole) > self.n_tokens:
            raise BadInput(
                f"prompt {prompt!r}: has {len(whole)} tokens, of which {self.name} reads {self.n_tokens}"
            )
        if not set(tokenizer.convert_ids_to_tokens(whole)) - {"<unk>", "</s>", "<eos>", "<bos>", "\u2581"}:
            raise BadInput(f"prompt {prompt!r}: {self.name} knows none of it (all of its tokens are <unk>)")
        given = tokenizer(
            prompt, padding="max_length", max_length=self.n_tokens, truncation=True, return_tensors="pt"
        )
        return given.input_ids.to(device), given.attention_mask.to(device)

    @torch.no_grad()
    def states(self, prompt: str) -> tuple[Tensor, Tensor]:
        """``(1, n_tokens, d_in)`` last hidden states of the text encoder, and the mask."""
        ids, mask = self.tokens(prompt)
        return self.pipe.text_encoder(ids, attention_mask=mask)[0], mask

    def pooled(self, prompts: Sequence[str]) -> np.ndarray:
        """Mean over real tokens, ``(n, d_in)`` float32."""
        rows = []
        for prompt in prompts:
            hidden, mask = self.states(prompt)
            rows.append(hidden[0][mask[0].bool()].float().mean(dim=0).cpu().numpy())
        return np.stack(rows)

    # -- audio -----------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def longest(self) -> float:
        """Seconds that a clip can have."""

    def frames(self, seconds: float) -> int:
        """Samples of a clip.

        Raises:
            BadInput: it is longer than the model makes.
        """
        n_samples = int(seconds * self.sampling_rate)
        if not (n_samples >= 1 and seconds <= self.longest):
            raise BadInput(
                f"seconds: {seconds:g} is outside {1 / self.sampling_rate:.2g} to {self.longest:.3g}"
            )
        return n_samples

    def generate(
        self,
        prompt: str,
        *,
        seconds: float,
        seed: int,
        steering: Steering | LayerSteering | None = None,
        sampling: Sampling | None = None,
    ) -> np.ndarray:
        """One clip, ``(channels, samples)`` float32, as the pipeline gives it.

        Args:
            sampling: guidance and steps count; there are no tokens, so temperature and top-k do not.

        Raises:
            BadInput: the prompt, the width, the length or the way of steering will not do.
        """
        sampling = sampling or Sampling(guidance=self.guidance)
        self.frames(seconds)
        self.check(steering)
        hidden, mask = self.states(prompt)
        text: dict[str, Any] = {"prompt": prompt}
        if isinstance(steering, Steering) and not steering.nothing:
            text = self._steered(hidden, mask, steering, guided=sampling.guidance > 1)
        if sampling.negative is not None and sampling.guidance > 1:
            text |= self._away(sampling.negative, "prompt" in text)
        generator = torch.Generator("cpu").manual_seed(seed)
        device = self.pipe.transformer.device
        with one_line(self.name), private_seed(seed, device), _quiet():
            audio = self.pipe(
                **text,
                **self._length(seconds),
                num_inference_steps=sampling.steps or self.steps,
                guidance_scale=sampling.guidance,
                generator=generator,
                output_type="pt",
            ).audios
        clip = audio[0].float().cpu().numpy()
        if not np.isfinite(clip).all():
            raise NoNumbers(self.name)
        return clip

    @torch.no_grad()
    def conditioned(self, job: Job) -> tuple[Tensor, Tensor]:
        """Text states of a job, ``(1, n_tokens, d_in)``, steered, and their mask: the conditional half of its clip."""
        hidden, mask = self.states(job.text)
        self.check(job.steering)
        if isinstance(job.steering, Steering) and not job.plain:
            vector = self.vector(job.steering.vector)
            hidden = added(hidden, mask, vector, job.steering.amount, job.steering.renorm)
        return hidden, mask

    def check(self, steering: Steering | LayerSteering | None) -> None:
        """Raise BadInput where this model cannot be steered in this way."""
        if isinstance(steering, LayerSteering):
            raise BadInput(
                f"{self.title} {self.name}: has no decoder that says tokens, so no layers to steer"
            )
        if steering is not None and steering.schedule is not None:
            raise BadInput(
                f"{self.title} {self.name}: all of a clip is made at once, so it takes no schedule"
            )

    def vector(self, vector: np.ndarray) -> Tensor:
        """A direction where the model can add it.

        Raises:
            BadInput: it has another width.
        """
        if vector.shape != (self.d_in,):
            raise BadInput(
                f"direction of shape {vector.shape} cannot steer {self.name}, whose text is {self.d_in} wide"
            )
        return torch.as_tensor(vector, dtype=torch.float32, device=self.pipe.text_encoder.device)

    def _steered(self, hidden: Tensor, mask: Tensor, steering: Steering, *, guided: bool) -> dict[str, Any]:
        """Arguments of the pipeline that bring steered states; the null half is left as it is, or turned."""
        vector = self.vector(steering.vector)
        text = {"prompt_embeds": added(hidden, mask, vector, steering.amount, steering.renorm)}
        text[self.mask_name] = mask
        if guided and steering.null == "opposite":
            text["negative_prompt_embeds"] = added(hidden, mask, vector, -steering.amount, steering.renorm)
            text[f"negative_{self.mask_name}"] = mask
        return text

    def _away(self, negative: str, as_text: bool) -> dict[str, Any]:
        """Arguments of the pipeline for a negative prompt, which no direction moves: it goes as its own states."""
        hidden, mask = self.states(negative)
        if as_text:
            return {"negative_prompt": negative}
        return {"negative_prompt_embeds": hidden, f"negative_{self.mask_name}": mask}

    mask_name: ClassVar[str]

    @abstractmethod
    def _length(self, seconds: float) -> dict[str, Any]:
        """Arguments of the pipeline that say how long the clip is."""

    # -- denoising -------------------------------------------------------------------------------------------------

    @abstractmethod
    def encode(self, audio: Tensor, seconds: float) -> Tensor:
        """Latents ``(1, channels, length)`` of ``(1, audio_channels, samples)``, as the transformer is given them."""

    @abstractmethod
    def noised(self, latents: Tensor, noise: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Latents with noise at ``time`` (0 none, 1 nothing else), and the velocity that leads back."""

    @abstractmethod
    def velocity(self, noised: Tensor, time: float, hidden: Tensor, mask: Tensor, seconds: float) -> Tensor:
        """The transformer's prediction of it, conditional half alone, for text states ``(B, n_tokens, d_in)``."""

    def latents(self, audio: np.ndarray, sampling_rate: int, seconds: float) -> Tensor:
        """Latents of a clip, ``(1, channels, length)``: what the model would have had to make.

        Args:
            audio: ``(samples,)`` mono or ``(channels, samples)``.
            seconds: read from its start; a shorter clip is followed by silence.

        Raises:
            BadInput: another sampling rate (resample first).
        """
        if sampling_rate != self.sampling_rate:
            raise BadInput(
                f"audio of {sampling_rate} Hz: {self.name} needs {self.sampling_rate} Hz; resample it first"
            )
        audio = np.atleast_2d(audio)[:, : self.frames(seconds)]
        if len(audio) != self.channels:
            audio = np.repeat(audio.mean(axis=0, keepdims=True), self.channels, axis=0)
        given = torch.as_tensor(np.ascontiguousarray(audio), dtype=self.pipe.vae.dtype)[None]
        with torch.no_grad():
            return self.encode(given.to(self.pipe.vae.device), seconds)

    def batch(self, jobs: Sequence[Job], *, seconds: float, sampling: Sampling) -> list[np.ndarray]:
        """The clips of ``jobs``, one by one: what a step costs here is arithmetic, which a batch does not save."""
        clips = []
        for job in jobs:
            try:
                clips.append(
                    self.generate(
                        job.text, seconds=seconds, seed=job.seed, steering=job.steering, sampling=sampling
                    )
                )
            except NoNumbers as error:
                raise NoNumbers(self.name, job, clips) from error
        return clips

    def rows_that_fit(self, seconds: float, *, guided: bool) -> int:
        """One."""
        return 1

    def hear(self, audio: np.ndarray, rate: int, sha256: str) -> None:
        """Not to be had.

        Raises:
            BadInput: always.
        """
        raise BadInput(f"{self.title} {self.name}: follows no melody; that is MusicGen-melody's")

    def go_on(self, audio: np.ndarray, rate: int, sha256: str) -> None:
        """Not to be had.

        Raises:
            BadInput: always.
        """
        raise BadInput(f"{self.title} {self.name}: goes on from no sound; that is MusicGen's")


@contextlib.contextmanager
def _quiet() -> Any:
    """No word of the scheduler's on the terminal."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _width(config: Any) -> int:
    """Of a T5's states, or of a T5Gemma's, whose encoder has a configuration of its own."""
    return int(config.d_model if hasattr(config, "d_model") else config.encoder.hidden_size)


def _weights_digest(folder: Path) -> str:
    """Of the files that decide what a pipeline computes."""
    files = [
        file
        for part in PARTS
        for file in sorted((folder / part).glob("*"))
        if file.suffix in (".safetensors", ".bin", ".json", ".model", ".txt")
    ]
    return "sha256:" + digest([[str(f.relative_to(folder)), file_sha256(f)] for f in files])
