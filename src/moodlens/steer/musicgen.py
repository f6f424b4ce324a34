"""MusicGen, steered: loading a checkpoint, its text states, clips, and log-probabilities of given clips.

Where a direction enters is in :mod:`moodlens.steer.conditioning`.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from moodlens.core import BadInput
from moodlens.embed.sources import pick_device
from moodlens.steer.batched import TextRows, generate_rows, rows_that_fit
from moodlens.steer.checkpoints import loading
from moodlens.steer.conditioning import Sampling as Sampling
from moodlens.steer.conditioning import Steering as Steering
from moodlens.steer.conditioning import explicit, factors, hooked, private_seed, project, scheduled
from moodlens.steer.generator import Job, NoNumbers, one_line, require_width
from moodlens.steer.places import encode_audio, place_logits
from moodlens.steer.residual import LayerSteering, layered
from moodlens.steer.windows import LONGEST, WINDOW, generate_windows, given_tokens
from moodlens.study.records.steer import Checkpoint

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel


class MusicGen:
    """A MusicGen checkpoint and its tokenizer; make one with :meth:`load`.

    Attributes:
        name: as it was asked for.
        revision: the hub's commit, or a digest of the weights.
        d_in: width of the text encoder's states.
        sampling_rate: of the audio, Hz.
        frame_rate: code frames a second.
        n_codebooks: token streams.
        channels: 1 or 2.
        guidance: its own guidance scale.
        continued: digest of the sound that every clip goes on from; None: none.
        given: its tokens, ``(n_codebooks, frames)``.
        window: code frames made in one go.
    """

    title: ClassVar[str] = "MusicGen"
    model_type: ClassVar[str] = "musicgen"
    guidance = 3.0
    steps: int | None = None
    melody: str | None = None
    continued: str | None = None
    given: Tensor | None = None

    def __init__(self, model: "PreTrainedModel", tokenizer: "Tokenizer", name: str, revision: str) -> None:
        # Any: transformers declares every part of a composite model optional.
        self.model: Any = model.eval().requires_grad_(False)
        config: Any = model.config
        self.tokenizer = tokenizer
        self.name, self.revision = name, revision
        self.d_in = int(config.text_encoder.hidden_size)
        self.sampling_rate = int(config.audio_encoder.sampling_rate)
        self.frame_rate = float(config.audio_encoder.frame_rate)
        self.n_codebooks = int(config.decoder.num_codebooks)
        self.channels = int(config.decoder.audio_channels)
        positions = int(config.decoder.max_position_embeddings) - self.n_codebooks
        self.window = min(round(WINDOW * self.frame_rate), positions)

    @classmethod
    def load(
        cls,
        name: str,
        *,
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        device: str = "auto",
        revision: str | None = None,
        d_in: int | None = None,
    ) -> "MusicGen":
        """Load a checkpoint by hub name (``facebook/musicgen-small``) or from a folder.

        Args:
            dtype: of text encoder and decoder; the codec stays in float32.
            device: ``auto`` (CUDA if there is one), ``cpu``, ``cuda:1`` ...
            d_in: width its text encoder must have; checked before the weights are fetched.

        Raises:
            BadInput: it cannot be loaded, is not a MusicGen, or its text has another width.
        """
        from transformers import AutoConfig

        class WithWholeCodec(cls.model_class()):
            # In half precision the codec adds noise (27 dB below the music in bfloat16) and, on a CPU, takes longer.
            _keep_in_fp32_modules_strict = {"audio_encoder"}  # noqa: RUF012

        where = pick_device(device)
        with loading(cls.title, name, revision) as source:
            config = AutoConfig.from_pretrained(
                source.name, revision=revision or "main", trust_remote_code=False
            )
            if config.model_type != cls.model_type:
                raise BadInput(
                    f"{cls.title} {name}: is a {config.model_type} checkpoint, not a {cls.model_type} one"
                )
            require_width(cls.title, name, config.text_encoder.hidden_size, d_in)
            model: Any = WithWholeCodec.from_pretrained(
                source.name, revision=revision or "main", dtype=getattr(torch, dtype)
            )
            tokenizer, commit = source.tokenizer(), source.commit()
            model = model.to(where)
        return cls(model, tokenizer, name, commit)

    @staticmethod
    def model_class() -> Any:
        """transformers' class."""
        from transformers import MusicgenForConditionalGeneration

        return MusicgenForConditionalGeneration

    def info(self) -> Checkpoint:
        """What decides a clip besides the prompt, the steering and the seed."""
        dtype = str(self.model.text_encoder.dtype).removeprefix("torch.")
        return Checkpoint(model=self.name, revision=self.revision, dtype=dtype, device=self.model.device.type)

    # -- text ------------------------------------------------------------------------------------------------------

    def tokens(self, prompt: str) -> tuple[Tensor, Tensor]:
        """``(1, T)`` token ids, ``</s>`` last, and their mask of ones.

        Raises:
            BadInput: the prompt is blank, or the tokenizer knows no part of it.
        """
        if not prompt.strip():
            raise BadInput("prompt: is blank; every clip needs a text")
        encoded = self.tokenizer.encode(prompt)
        if not set(encoded.tokens) - {"<unk>", "</s>", "\u2581"}:
            raise BadInput(f"prompt {prompt!r}: {self.name} knows none of it (all of its tokens are <unk>)")
        ids = torch.tensor([encoded.ids], device=self.model.device)
        return ids, torch.ones_like(ids)

    @torch.no_grad()
    def states(self, prompt: str) -> tuple[Tensor, Tensor]:
        """``(1, T, d_in)`` last hidden states of the text encoder, and the mask ``(1, T)``."""
        ids, mask = self.tokens(prompt)
        return self.model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state, mask

    def pooled(self, prompts: Sequence[str]) -> np.ndarray:
        """Mean over tokens, ``(n, d_in)`` float32: the embedding that a study of this encoder has."""
        return np.stack([self.states(prompt)[0][0].float().mean(dim=0).cpu().numpy() for prompt in prompts])

    # -- audio -----------------------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str,
        *,
        seconds: float,
        seed: int,
        steering: Steering | LayerSteering | None = None,
        sampling: Sampling | None = None,
        form: Literal["hook", "explicit"] = "hook",
    ) -> np.ndarray:
        """One clip, ``(channels, samples)`` float32, as the codec decodes it: nothing is normalised.

        This is transformers' own ``generate``; :meth:`batch` makes many clips at once, each the same as here. The
        global random states are put back afterwards. An amount of 0 is plain ``generate``, whatever else the steering
        says. A clip that goes on from a sound, or is longer than a window, is made by :mod:`moodlens.steer.windows`.

        Args:
            seed: of the draws, set immediately before them. Clips of one seed share their random numbers at every
                step; what they say before it is no longer the same from their first differing token on.
            form: how a constant steering reaches the model: by a hook on the text encoder, or as ``encoder_outputs``
                with the null half built here. Both give the same bytes.

        Raises:
            BadInput: the prompt is blank, the width is wrong, the clip is too short or too long, the steering is so
                strong that the predictions are no numbers, or memory runs out.
        """
        sampling = sampling or Sampling()
        if sampling.negative is not None or self._windowed(seconds):
            return self._rows([Job(prompt, seed, steering)], seconds=seconds, sampling=sampling)[0]
        ids, mask = self.tokens(prompt)
        n_frames = self.frames(seconds)
        inputs: Mapping[str, Any] = self.inputs(ids, mask)
        how = contextlib.nullcontext()
        if isinstance(steering, LayerSteering):
            how = layered(self.model, [steering])
        elif steering is not None and not steering.nothing:
            vector, guided = self.vector(steering.vector), sampling.guidance > 1
            if steering.schedule is not None:
                inputs = explicit(self.model, ids, mask, vector, steering, amount=0.0, guided=guided)
                factor = factors(steering.schedule, n_frames, self.frame_rate)
                hidden = inputs["encoder_outputs"][0][:1]
                how = scheduled(self.model, hidden, mask, vector, steering, factor, guided)
            elif form == "explicit" or steering.null == "opposite":
                amount = steering.amount
                inputs = explicit(self.model, ids, mask, vector, steering, amount=amount, guided=guided)
            else:
                how = hooked(self.model, vector, steering)
        with one_line(self.name), how, private_seed(seed, self.model.device):
            audio = self.model.generate(
                **inputs,
                max_new_tokens=self.n_steps(n_frames),
                do_sample=True,
                guidance_scale=sampling.guidance,
                temperature=sampling.temperature,
                top_k=sampling.top_k,
            )
            clip = audio[0].float().cpu().numpy()
        if not np.isfinite(clip).all():
            raise NoNumbers(self.name)
        return clip

    def inputs(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Arguments of ``generate`` for one prompt."""
        return {"input_ids": ids, "attention_mask": mask}

    def check(self, steering: Steering | LayerSteering | None) -> None:
        """Every way of steering is possible here."""

    def hear(self, audio: np.ndarray, rate: int, sha256: str) -> None:
        """Not to be had.

        Raises:
            BadInput: always.
        """
        raise BadInput(f"{self.title} {self.name}: follows no melody; that is MusicGen-melody's")

    def go_on(self, audio: np.ndarray, rate: int, sha256: str) -> None:
        """Let every clip go on from the end of a sound, ``(channels, samples)``; a clip is what comes after it.

        Args:
            rate: Hz.
            sha256: of the file that it was read from, which decides the clips.

        Raises:
            BadInput: it is too short.
        """
        self.given, self.continued = given_tokens(self, audio, rate), sha256

    def batch(self, jobs: Sequence[Job], *, seconds: float, sampling: Sampling) -> list[np.ndarray]:
        """The clips of ``jobs`` from one call; of one job, :meth:`generate`. Raises as it, and OutOfMemory."""
        if len(jobs) == 1:
            job = jobs[0]
            clip = self.generate(
                job.text, seconds=seconds, seed=job.seed, steering=job.steering, sampling=sampling
            )
            return [clip]
        return self._rows(jobs, seconds=seconds, sampling=sampling)

    def _windowed(self, seconds: float) -> bool:
        return self.given is not None or self.frames(seconds) > self.window

    def _rows(self, jobs: Sequence[Job], *, seconds: float, sampling: Sampling) -> list[np.ndarray]:
        make = generate_windows if self._windowed(seconds) else generate_rows
        return make(self, jobs, seconds=seconds, sampling=sampling)

    def rows_that_fit(self, seconds: float, *, guided: bool) -> int:
        """Clips that one call may make on this machine."""
        return rows_that_fit(self, seconds, guided=guided)

    def n_steps(self, n_frames: int) -> int:
        """Steps of the decoder: each codebook runs one frame behind the one before it, left and right together."""
        return n_frames + self.n_codebooks // self.channels - 1

    def frames(self, seconds: float) -> int:
        """Code frames of a clip.

        Raises:
            BadInput: it is too short or too long.
        """
        low = self.n_codebooks / self.frame_rate
        if not low <= seconds <= LONGEST:
            raise BadInput(f"seconds: {seconds:g} is outside {low:.2g} to {LONGEST:g}")
        return max(round(seconds * self.frame_rate), self.n_codebooks)

    def vector(self, vector: np.ndarray) -> Tensor:
        """A direction where the model can add it.

        Raises:
            BadInput: it has another width.
        """
        if vector.shape != (self.d_in,):
            raise BadInput(
                f"direction of shape {vector.shape} cannot steer {self.name}, whose text is {self.d_in} wide"
            )
        return torch.as_tensor(vector, dtype=torch.float32, device=self.model.device)

    # -- teacher forcing -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def conditioned(self, job: Job, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
        """What the decoder is given of a job's text, as clips are made of it: steered, projected, with its null half.

        Returns:
            ``(2, T, d_decoder)`` states, the null half second, and their mask ``(2, T)``; one row without guidance.
        """
        states, mask = TextRows(self, [job], sampling).halves(np.ones(1))
        return project(self.model, states, mask), mask

    @torch.no_grad()
    def codes(self, audio: np.ndarray, sampling_rate: int) -> np.ndarray:
        """EnCodec's tokens of a clip, ``(n_codebooks, frames)`` int64: what the decoder would have had to say.

        Args:
            audio: ``(samples,)`` mono or ``(channels, samples)``.

        Raises:
            BadInput: another sampling rate (resample first), or a stereo checkpoint.
        """
        if sampling_rate != self.sampling_rate:
            raise BadInput(
                f"audio of {sampling_rate} Hz: {self.name} needs {self.sampling_rate} Hz; resample it first"
            )
        if self.channels != 1:
            raise BadInput(f"{self.name}: codes of audio are read for mono checkpoints only")
        audio = audio.mean(axis=0) if audio.ndim == 2 else audio
        values = torch.as_tensor(audio, dtype=self.model.audio_encoder.dtype, device=self.model.device)
        return encode_audio(self.model, values, self.n_codebooks).cpu().numpy()

    def teacher_forced(
        self,
        hidden: Tensor,
        mask: Tensor,
        codes: Tensor,
        *,
        null_logits: Tensor | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """Log-probabilities of every token at every place of given codes, in one pass and without sampling.

        Args:
            hidden: ``(B, T, d_in)`` text states, steered or not. Gradients flow back to them.
            mask: ``(B, T)``.
            codes: ``(n_codebooks, frames)`` int64, the same for every row.
            null_logits: ``(1, n_codebooks, frames, vocab)`` from :meth:`null_logits`, for ``guidance`` above 1.

        Returns:
            ``(B, n_codebooks, frames, vocab)``; entry ``[b, k, t]`` is the distribution of ``codes[k, t]`` given all
            that comes before it in MusicGen's delay pattern.
        """
        logits = place_logits(self.model, project(self.model, hidden, mask), mask, codes)
        if guidance > 1:
            if null_logits is None:
                raise BadInput("guidance above 1 needs null_logits")
            logits = null_logits + guidance * (logits - null_logits)
        return logits.float().log_softmax(dim=-1)

    @torch.no_grad()
    def null_logits(self, codes: Tensor) -> Tensor:
        """Logits of the null half, ``(1, n_codebooks, frames, vocab)``: no steering reaches them."""
        states = torch.zeros(
            1, 1, self.model.config.decoder.hidden_size, device=codes.device, dtype=self.model.dtype
        )
        mask = torch.zeros(1, 1, dtype=torch.long, device=codes.device)
        return place_logits(self.model, states, mask, codes)
