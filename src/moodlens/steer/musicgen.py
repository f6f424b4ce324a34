"""MusicGen, steered: the only file that touches it.

Site: ``text_encoder(...).last_hidden_state`` ``(B, T, d_in)``, after T5's last norm and before ``enc_to_dec_proj``, at
every real token, ``</s>`` included. The mean of ``h + a v`` over tokens is ``mean(h) + a v``, so a direction found in
pooled embeddings is a direction here. In classifier-free guidance the null half is zeros with mask 0, and zeroed again
after the projection: what is added to it never arrives. Steering here is of the conditional half by construction, and
the guidance scale multiplies it.
"""

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from moodlens.engine import BadInput
from moodlens.steer.checkpoints import load_tokenizer, loading, pick_device, revision_of
from moodlens.steer.schedule import check_schedule, factors

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import MusicgenForConditionalGeneration

Null = Literal["zeros", "opposite"]


@dataclass(frozen=True)
class Sampling:
    """How clips are drawn; the defaults are audiocraft's.

    Attributes:
        guidance: classifier-free guidance scale; 1 turns it off.
        temperature: of the softmax.
        top_k: tokens kept at each draw; 0 keeps all.
    """

    guidance: float = 3.0
    temperature: float = 1.0
    top_k: int = 250


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
    """

    def __init__(
        self, model: "MusicgenForConditionalGeneration", tokenizer: "Tokenizer", name: str, revision: str
    ) -> None:
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

    @classmethod
    def load(
        cls,
        name: str,
        *,
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
        device: str = "auto",
        revision: str | None = None,
    ) -> "MusicGen":
        """Load a checkpoint by hub name (``facebook/musicgen-small``) or from a folder.

        Raises:
            BadInput: it cannot be loaded or is not a MusicGen.
        """
        from transformers import AutoConfig, MusicgenForConditionalGeneration

        with loading("MusicGen", name):
            config = AutoConfig.from_pretrained(name, revision=revision or "main")
            if config.model_type != "musicgen":
                raise BadInput(f"MusicGen {name}: is a {config.model_type} checkpoint, not a musicgen one")
            model = MusicgenForConditionalGeneration.from_pretrained(
                name, revision=revision or "main", dtype=getattr(torch, dtype)
            )
            tokenizer = load_tokenizer(name, revision)
            found = revision_of(name, config)
        return cls(model.to(pick_device(device)), tokenizer, name, found)  # type: ignore[arg-type]

    def info(self) -> dict[str, Any]:
        """What decides a clip besides the prompt, the steering and the seed."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        return {
            "model": self.name,
            "revision": self.revision,
            "dtype": dtype,
            "device": self.model.device.type,
        }

    # -- text ------------------------------------------------------------------------------------------------------

    def tokens(self, prompt: str) -> tuple[Tensor, Tensor]:
        """``(1, T)`` token ids, ``</s>`` last, and their mask of ones.

        Raises:
            BadInput: the prompt is blank.
        """
        if not prompt.strip():
            raise BadInput("prompt: is blank; every clip needs a text")
        ids = torch.tensor([self.tokenizer.encode(prompt).ids], device=self.model.device)
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
        steering: Steering | None = None,
        sampling: Sampling | None = None,
        form: Literal["hook", "explicit"] = "hook",
    ) -> np.ndarray:
        """One clip, ``(channels, samples)`` float32, as the codec decodes it: nothing is normalised.

        One prompt at a time, on purpose: rows of a batch share their random draws, so a clip would depend on its
        neighbours. The global random states are put back afterwards. An amount of 0 is plain ``generate``, whatever
        else the steering says.

        Args:
            seed: of the draws, set immediately before them. Clips of one seed share their random numbers until their
                first differing token, no longer.
            form: how a constant steering reaches the model: by a hook on the text encoder, or as ``encoder_outputs``
                with the null half built here. Both give the same bytes.

        Raises:
            BadInput: the prompt is blank, the width is wrong or the clip is too short or too long.
        """
        sampling = sampling or Sampling()
        ids, mask = self.tokens(prompt)
        n_frames = self.frames(seconds)
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        how = contextlib.nullcontext()
        if steering is not None and not steering.nothing:
            vector = self._vector(steering.vector)
            if steering.schedule is not None:
                inputs = self._explicit(ids, mask, vector, steering, sampling.guidance, amount=0.0)
                how = self._scheduled(mask, inputs, vector, steering, n_frames)
            elif form == "explicit" or steering.null == "opposite":
                inputs = self._explicit(
                    ids, mask, vector, steering, sampling.guidance, amount=steering.amount
                )
            else:
                how = self._hooked(vector, steering)
        with how, _private_seed(seed, self.model.device):
            audio = self.model.generate(
                **inputs,
                # The codebooks run one frame behind each other, so the last needs n_codebooks / channels - 1 more steps.
                max_new_tokens=n_frames + self.n_codebooks // self.channels - 1,
                do_sample=True,
                guidance_scale=sampling.guidance,
                temperature=sampling.temperature,
                top_k=sampling.top_k,
            )
        return audio[0].float().cpu().numpy()

    def frames(self, seconds: float) -> int:
        """Code frames of a clip.

        Raises:
            BadInput: it is too short, or longer than the positions the decoder was trained on.
        """
        n_frames = round(seconds * self.frame_rate)
        longest = int(self.model.config.decoder.max_position_embeddings)
        if not self.n_codebooks <= n_frames <= longest - self.n_codebooks:
            low, high = self.n_codebooks / self.frame_rate, (longest - self.n_codebooks) / self.frame_rate
            raise BadInput(f"seconds: {seconds:g} is outside {low:.2g} to {high:.3g}")
        return n_frames

    def _vector(self, vector: np.ndarray) -> Tensor:
        if vector.shape != (self.d_in,):
            raise BadInput(
                f"direction of shape {vector.shape} cannot steer {self.name}, whose text is {self.d_in} wide"
            )
        return torch.as_tensor(vector, dtype=torch.float32, device=self.model.device)

    @contextlib.contextmanager
    def _hooked(self, vector: Tensor, steering: Steering) -> Iterator[None]:
        def hook(module: Any, args: Any, kwargs: dict[str, Any], out: Any) -> Any:
            hidden, mask = out.last_hidden_state, kwargs.get("attention_mask")
            mask = hidden.new_ones(hidden.shape[:2]) if mask is None else mask
            out.last_hidden_state = added(hidden, mask, vector, steering.amount, steering.renorm)
            return out

        handle = self.model.text_encoder.register_forward_hook(hook, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    @torch.no_grad()
    def _explicit(
        self, ids: Tensor, mask: Tensor, vector: Tensor, steering: Steering, guidance: float, *, amount: float
    ) -> dict[str, Any]:
        from transformers.modeling_outputs import BaseModelOutput

        hidden = self.model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        states, states_mask = self._halves(hidden, mask, vector, steering, guidance, amount)
        # input_ids only tell generate() that this is one clip, not two; it does not encode them again.
        return {
            "input_ids": ids,
            "encoder_outputs": BaseModelOutput(last_hidden_state=states),
            "attention_mask": states_mask,
        }

    def _halves(
        self, hidden: Tensor, mask: Tensor, vector: Tensor, steering: Steering, guidance: float, amount: float
    ) -> tuple[Tensor, Tensor]:
        """Conditional and null half, as ``generate`` expects them from a caller who brings its own states."""
        steered = added(hidden, mask, vector, amount, steering.renorm)
        if not guidance > 1:
            return steered, mask
        if steering.null == "opposite":
            opposite = added(hidden, mask, vector, -amount, steering.renorm)
            return torch.cat([steered, opposite]), torch.cat([mask, mask])
        return torch.cat([steered, torch.zeros_like(hidden)]), torch.cat([mask, torch.zeros_like(mask)])

    @contextlib.contextmanager
    def _scheduled(
        self, mask: Tensor, inputs: dict[str, Any], vector: Tensor, steering: Steering, n_frames: int
    ) -> Iterator[None]:
        """Hand the decoder the states of the moment; empty its cross-attention cache when they change."""
        from transformers.cache_utils import DynamicCache

        assert steering.schedule is not None
        factor = factors(steering.schedule, n_frames, self.frame_rate)
        states = inputs["encoder_outputs"].last_hidden_state
        hidden, guidance = states[:1], float(len(states))
        current: dict[str, Any] = {"factor": None, "states": None}

        def hook(module: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            cache = kwargs.get("cache", kwargs.get("past_key_values"))
            position = 0 if cache is None else int(cache.get_seq_length())
            now = float(factor[min(position, n_frames - 1)])
            if now != current["factor"]:
                moved, full = self._halves(hidden, mask, vector, steering, guidance, now * steering.amount)
                current["states"] = self._projected(moved, full)
                if cache is not None and position > 0:
                    cache.cross_attention_cache = DynamicCache()
                    cache.is_updated = dict.fromkeys(cache.is_updated, False)
                current["factor"] = now
            return args, {**kwargs, "encoder_hidden_states": current["states"]}

        handle = self.model.decoder.register_forward_pre_hook(hook, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _projected(self, states: Tensor, mask: Tensor) -> Tensor:
        """As ``forward`` does: project where the widths differ, then zero what is masked."""
        decoder = self.model.decoder.config
        if self.d_in != decoder.hidden_size and decoder.cross_attention_hidden_size is None:
            states = self.model.enc_to_dec_proj(states)
        return states * mask[..., None]

    # -- teacher forcing -------------------------------------------------------------------------------------------

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
        values = torch.as_tensor(audio, dtype=self.model.dtype, device=self.model.device)[None, None]
        return self.model.audio_encoder.encode(values).audio_codes[0, 0, : self.n_codebooks].cpu().numpy()

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
        logits = self._logits(self._projected(hidden, mask), mask, codes)
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
        return self._logits(states, torch.zeros(1, 1, dtype=torch.long, device=codes.device), codes)

    def _logits(self, states: Tensor, mask: Tensor, codes: Tensor) -> Tensor:
        n_codebooks, n_frames = codes.shape
        if n_codebooks != self.n_codebooks:
            raise BadInput(f"codes: {n_codebooks} codebooks, {self.name} has {self.n_codebooks}")
        # Codebook k says its frame t at step t + delay + 1; the first step is the start token (pad) in all of them.
        delay = torch.arange(n_codebooks, device=codes.device) // self.channels
        steps = n_frames + int(delay[-1]) + 1
        pad = int(self.model.config.decoder.pad_token_id)
        spoken = torch.full((n_codebooks, steps), pad, device=codes.device)
        place = delay[:, None] + torch.arange(n_frames, device=codes.device)  # (n_codebooks, frames)
        spoken.scatter_(1, place + 1, codes)
        rows = states.shape[0]
        out = self.model.decoder(
            input_ids=spoken[:, :-1].repeat(rows, 1),
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            use_cache=False,
        ).logits
        out = out.view(rows, n_codebooks, steps - 1, -1)
        return out.gather(2, place[None, :, :, None].expand(rows, -1, -1, out.shape[-1]))


@contextlib.contextmanager
def _private_seed(seed: int, device: torch.device) -> Iterator[None]:
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
