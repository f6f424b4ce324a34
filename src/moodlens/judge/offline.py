"""A causal score without sampling: what a direction does to the decoder's own predictions (teacher forcing).

Given codes y of a clip and a neutral prompt, one pass of the decoder gives the distribution of every token. Steering
changes it. Two numbers say how: ``kl``, the mean Kullback-Leibler divergence per token of the steered from the
unsteered distribution (how much the direction does at all), and ``gain``, how much likelier the codes of one emotion's
clips become than those of the other emotions' (whether it does what its name says). Both are deterministic and need
neither a judge of sound nor a draw, so every feature of an SAE can be ranked on a CPU. The output score of Arad et al.
(arXiv:2505.20063) is the model for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput, Progress, silent
from moodlens.core.sound import read_mono, resample
from moodlens.judge.clips import Clip, Values
from moodlens.judge.ranking import with_every_prompt

if TYPE_CHECKING:
    from torch import Tensor

    from moodlens.steer.musicgen import MusicGen


@dataclass(frozen=True)
class Reference:
    """Codes that the decoder is asked about.

    Attributes:
        codes: ``(n_codebooks, frames)`` int64, of a real or generated clip.
        prompt: neutral text that is steered.
        emotion: of the clip, None if it has none; such a reference counts for ``kl`` alone.
    """

    codes: np.ndarray
    prompt: str
    emotion: str | None = None


def read_references(
    model: "MusicGen",
    clips: Mapping[str, Sequence[Path | str]],
    prompts: Sequence[str],
    *,
    seconds: float,
) -> list[Reference]:
    """References from WAV files of each emotion: every clip with every prompt.

    Args:
        clips: emotion -> WAV files; the key ``""`` holds clips of no emotion.
        prompts: neutral texts.
        seconds: read from the start of each clip.

    Raises:
        BadInput: nothing is given, or ``seconds`` or a clip is shorter than the codebooks' delay.
    """
    shortest = model.n_codebooks / model.frame_rate
    if not shortest <= seconds < float("inf"):
        raise BadInput(f"seconds: {seconds:g} is too short; {model.name} needs {shortest:.2g} s of each clip")

    def hear(path: Path | str) -> np.ndarray:
        audio = read_mono(path, model.sampling_rate)[: round(seconds * model.sampling_rate)]
        codes = model.codes(audio, model.sampling_rate)
        if codes.shape[1] < model.n_codebooks:
            raise BadInput(f"{path}: too short for codes ({codes.shape[1]} frames)")
        return codes

    return [Reference(*part) for part in with_every_prompt(clips, prompts, hear)]


def gains(change: np.ndarray) -> np.ndarray:
    """Each column minus the mean of the others, ``(n, n_emotions)``; NaN where there are no others."""
    n = change.shape[1]
    if n < 2:
        return np.full(change.shape, np.nan)
    return change - (change.sum(axis=1, keepdims=True) - change) / (n - 1)


def gain_columns(gain: np.ndarray, emotions: Sequence[str]) -> dict[str, np.ndarray]:
    """``gain_<emotion>`` -> ``(n,)``; none where there is no other emotion to be beside."""
    if len(emotions) < 2:
        return {}
    return {f"gain_{emotion}": gain[:, i] for i, emotion in enumerate(emotions)}


@dataclass(frozen=True)
class Effects:
    """What directions do, row by row.

    Attributes:
        kl: ``(n,)`` nats per token, mean over references.
        kl_codebook: ``(n, n_codebooks)`` the same, codebook by codebook.
        log_likelihood: ``(n, n_emotions)`` change of the log-likelihood per token of each emotion's clips; NaN where an
            emotion has none.
        emotions: names of those columns.
    """

    kl: np.ndarray
    kl_codebook: np.ndarray
    log_likelihood: np.ndarray
    emotions: tuple[str, ...]

    @property
    def gain(self) -> np.ndarray:
        """``(n, n_emotions)`` change for an emotion's clips minus the mean change for the other emotions' clips."""
        return gains(self.log_likelihood)

    def columns(self) -> dict[str, np.ndarray]:
        """``kl``, ``kl_0`` ... (one per codebook), ``gain_<emotion>``: ``(n,)`` each; gains of two emotions or more."""
        parts = {f"kl_{k}": self.kl_codebook[:, k] for k in range(self.kl_codebook.shape[1])}
        return {"kl": self.kl, **parts, **gain_columns(self.gain, self.emotions)}


class Offline:
    """Teacher-forced effects of directions on fixed references.

    Args:
        model: a MusicGen.
        references: what to ask it about; the unsteered pass over them is done once, here.
        guidance: as clips are generated with; 1 asks the conditional half alone, which is half the work. Above 1 the
            steering is amplified as it is in generation.
        batch: directions in one pass of the decoder.
    """

    def __init__(
        self, model: "MusicGen", references: Sequence[Reference], *, guidance: float = 1.0, batch: int = 16
    ) -> None:
        if not references:
            raise BadInput("offline score: give at least one reference")
        self.model, self.guidance, self.batch = model, guidance, batch
        self.references = tuple(references)
        self.d_in = model.d_in
        self.emotions = tuple(dict.fromkeys(r.emotion for r in references if r.emotion is not None))
        self._asked = [_Asked(model, reference, guidance) for reference in references]

    def effects(
        self, vectors: np.ndarray, amount: float | np.ndarray, progress: Progress = silent
    ) -> Effects:
        """Effects of steering by ``amount * vector``, exact, one decoder row per direction and reference.

        Args:
            vectors: ``(n, d_in)``.
            amount: length in the embedding's units, one for all or ``(n,)``.

        Raises:
            BadInput: the width is wrong.
        """
        vectors = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
        n = len(vectors)
        if vectors.shape[1] != self.model.d_in:
            raise BadInput(
                f"offline score: directions are {vectors.shape[1]} wide, {self.model.name} is {self.model.d_in}"
            )
        amounts = np.broadcast_to(np.asarray(amount, dtype=np.float32), (n,))
        kl = np.zeros((n, self.model.n_codebooks))
        change = np.zeros((n, len(self._asked)))
        for start in range(0, n, self.batch):
            part = slice(start, min(start + self.batch, n))
            steps = vectors[part] * amounts[part, None]
            for i, asked in enumerate(self._asked):
                divergence, change[part, i] = asked.compare(steps)
                kl[part] += divergence / len(self._asked)
            progress("directions", part.stop, n)
        return Effects(kl.mean(axis=1), kl, self._by_emotion(change), self.emotions)

    def first_order(self, vectors: np.ndarray, *, n_probes: int = 64, seed: int = 0) -> Effects:
        """Effects to lowest order per unit of amount, for any number of directions at the price of a few passes.

        ``log_likelihood`` is the gradient along each direction (times the amount: the change). ``kl`` is half the
        Fisher information along it (times the amount squared: the divergence), estimated from ``n_probes`` gradients
        of the likelihood of tokens drawn from the model's own predictions. Good for choosing what to measure exactly;
        ``kl_codebook`` is not told apart (NaN).
        """
        import torch

        generator = torch.Generator().manual_seed(seed)
        vectors = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
        slope = np.zeros((len(vectors), len(self._asked)))
        probes = []
        for i, asked in enumerate(self._asked):
            slope[:, i] = vectors @ asked.gradient(None)
            for _ in range(-(-n_probes // len(self._asked))):
                probes.append(asked.gradient(generator) * np.sqrt(asked.n_tokens))
        kl = 0.5 * np.mean((vectors @ np.stack(probes).T) ** 2, axis=1)
        blank = np.full((len(vectors), self.model.n_codebooks), np.nan)
        return Effects(kl, blank, self._by_emotion(slope), self.emotions)

    def _by_emotion(self, change: np.ndarray) -> np.ndarray:
        owner = np.array([reference.emotion or "" for reference in self.references])
        if not self.emotions:
            return np.zeros((len(change), 0))
        return np.stack([change[:, owner == emotion].mean(axis=1) for emotion in self.emotions], axis=1)


class _Asked:
    """One reference and the model's unsteered answer to it."""

    def __init__(self, model: "MusicGen", reference: Reference, guidance: float) -> None:
        import torch

        self.model, self.guidance = model, guidance
        self.hidden, self.mask = model.states(reference.prompt)
        self.codes = torch.as_tensor(reference.codes, dtype=torch.long, device=self.hidden.device)
        self.null = model.null_logits(self.codes) if guidance > 1 else None
        with torch.no_grad():
            self.base = self._answer(torch.zeros(1, model.d_in))
        self.n_tokens = self.codes.numel()
        self.base_ll = self._likelihood(self.base)

    def _answer(self, steps: "Tensor") -> "Tensor":
        """Log-probabilities ``(B, n_codebooks, frames, vocab)`` under ``steps`` (B, d_in) added to every token."""
        from moodlens.steer.conditioning import added

        rows = len(steps)
        steps = steps.to(self.hidden.device)
        hidden = added(self.hidden.expand(rows, -1, -1), self.mask.expand(rows, -1), steps, 1.0, False)
        return self.model.teacher_forced(
            hidden,
            self.mask.expand(rows, -1),
            self.codes,
            null_logits=self.null,
            guidance=self.guidance,
        )

    def _likelihood(self, answer: "Tensor") -> "Tensor":
        """Mean log-probability of the codes, ``(B,)``."""
        index = self.codes[None, :, :, None].expand(len(answer), -1, -1, 1)
        return answer.gather(-1, index).mean(dim=(1, 2, 3))

    def compare(self, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Divergence ``(B, n_codebooks)`` and change of the log-likelihood ``(B,)``, per token."""
        import torch

        with torch.no_grad():
            answer = self._answer(torch.as_tensor(steps))
            kl = (answer.exp() * (answer - self.base)).sum(dim=-1).mean(dim=-1)
            change = self._likelihood(answer) - self.base_ll
        return kl.double().cpu().numpy(), change.double().cpu().numpy()

    def gradient(self, generator: Any) -> np.ndarray:
        """Gradient ``(d_in,)`` of the mean log-probability of the codes, or of tokens drawn with ``generator``."""
        import torch

        step = torch.zeros(1, self.model.d_in, device=self.hidden.device, requires_grad=True)
        answer = self._answer(step)
        if generator is None:
            self._likelihood(answer).sum().backward()
        else:
            flat = answer.detach().exp().flatten(0, -2).cpu()
            drawn = torch.multinomial(flat, 1, generator=generator).to(answer.device)
            answer.flatten(0, -2).gather(1, drawn).mean().backward()
        assert step.grad is not None
        return step.grad[0].double().cpu().numpy()


class OfflineScore:
    """As a score of clips: which emotion's direction would make this clip likelier.

    Columns: ``offline_<emotion>``, nats per token: change of the clip's log-likelihood when its prompt is steered
    towards the emotion, minus the mean change of the others'. The model that made a clip judges it, along the
    direction it may have been steered with: evidence that steering arrived, not that people hear it.

    Args:
        model: a MusicGen.
        vectors: emotion -> ``(d_in,)`` direction.
        amount: length of the step.
        prompt: for clips whose JSON names none; None makes such a clip an error.
        seconds: read from the start of each clip.
    """

    def __init__(
        self,
        model: "MusicGen",
        vectors: Mapping[str, np.ndarray],
        amount: float,
        *,
        prompt: str | None,
        seconds: float,
    ) -> None:
        if len(vectors) < 2:
            raise BadInput("offline score of clips: give the directions of two emotions or more")
        self.model, self.amount, self.prompt, self.seconds = model, amount, prompt, seconds
        self.emotions = tuple(vectors)
        self.vectors = np.stack([np.asarray(v, dtype=np.float32) for v in vectors.values()])

    def __call__(self, clip: Clip) -> Values:
        """Score one clip.

        Raises:
            BadInput: its prompt is unknown.
        """
        prompt = clip.prompt or self.prompt
        if prompt is None:
            raise BadInput(f"{clip.path}: its JSON names no prompt; say which one to steer")
        rate = self.model.sampling_rate
        audio = resample(clip.mono[: round(self.seconds * clip.rate)], clip.rate, rate)
        codes = self.model.codes(audio, rate)
        change = _Asked(self.model, Reference(codes, prompt), 1.0).compare(self.vectors * self.amount)[1]
        others = (change.sum() - change) / (len(change) - 1)
        return dict(zip(self._columns(), (change - others).tolist(), strict=True))

    def _columns(self) -> Iterator[str]:
        return (f"offline_{emotion}" for emotion in self.emotions)
