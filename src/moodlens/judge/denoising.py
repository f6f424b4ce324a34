"""The offline causal score for diffusion models: how much better a model denoises a clip when its prompt is steered.

The analogue of the teacher-forced likelihood of :mod:`moodlens.judge.offline`. Noise is added to a clip's latents, the same
noise at the same few times for every direction, and the model predicts the velocity that leads back. ``shift`` is how far a
step moves that prediction at all; ``error`` is how much nearer to the truth it comes for each emotion's clips. Nothing is
sampled, so both are deterministic. That the error bounds the likelihood is Ho et al.'s (2020, arXiv:2006.11239).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, Progress, silent
from moodlens.core.sound import read_mono
from moodlens.judge.offline import gain_columns, gains
from moodlens.judge.ranking import with_every_prompt

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from moodlens.steer.diffusion import Diffusion

TIMES = (0.2, 0.4, 0.6, 0.8)
"""Shares of noise at which the model is asked: at 0 and 1 there is nothing to tell."""


@dataclass(frozen=True)
class Sound:
    """A clip that the model is asked about.

    Attributes:
        audio: ``(samples,)`` or ``(channels, samples)`` at the model's rate.
        prompt: neutral text that is steered.
        emotion: of the clip; None: it counts for ``shift`` alone.
    """

    audio: np.ndarray
    prompt: str
    emotion: str | None = None


@dataclass(frozen=True)
class Denoised:
    """What directions do, row by row.

    Attributes:
        shift: ``(n,)`` mean squared change of the predicted velocity.
        error: ``(n, n_emotions)`` change of the mean squared error on each emotion's clips; below 0 is nearer.
        emotions: names of those columns.
    """

    shift: np.ndarray
    error: np.ndarray
    emotions: tuple[str, ...]

    @property
    def gain(self) -> np.ndarray:
        """``(n, n_emotions)`` how much nearer an emotion's clips come, minus the mean of the others'."""
        return gains(-self.error)

    def columns(self) -> dict[str, np.ndarray]:
        """``shift``, ``gain_<emotion>``: ``(n,)`` each; gains of two emotions or more."""
        return {"shift": self.shift, **gain_columns(self.gain, self.emotions)}


def read_sounds(
    model: "Diffusion",
    clips: Mapping[str, Sequence[Path | str]],
    prompts: Sequence[str],
    *,
    seconds: float,
) -> list[Sound]:
    """Sounds from files of each emotion: every clip with every prompt, in mono.

    Args:
        clips: emotion -> sound files; the key ``""`` holds clips of no emotion.
        prompts: neutral texts.
        seconds: read from the start of each clip; a shorter one is followed by silence.

    Raises:
        BadInput: nothing is given, or the model makes no clips of ``seconds``.
    """
    if not 0 < seconds < float("inf"):
        raise BadInput(f"seconds: {seconds:g} is no length of a clip")
    n_samples = model.frames(seconds)

    def hear(path: Path | str) -> np.ndarray:
        return read_mono(path, model.sampling_rate)[:n_samples]

    return [Sound(*part) for part in with_every_prompt(clips, prompts, hear)]


class Denoising:
    """Effects of directions on the denoising of fixed clips.

    Args:
        model: Stable Audio Open or 3.
        sounds: what to ask it about.
        seconds: read from the start of each.
        times: shares of noise.
        seed: of the noise, which is the same for every direction.
        batch: directions in one pass of the transformer.
    """

    def __init__(
        self,
        model: "Diffusion",
        sounds: Sequence[Sound],
        *,
        seconds: float,
        times: Sequence[float] = TIMES,
        seed: int = 0,
        batch: int = 16,
    ) -> None:
        import torch

        if not sounds:
            raise BadInput("denoising: give at least one clip")
        if not times or not all(0 < time < 1 for time in times):
            raise BadInput(f"denoising: times must lie between 0 and 1, not {', '.join(map(str, times))}")
        self.model, self.seconds, self.batch, self.d_in = model, seconds, batch, model.d_in
        self.emotions = tuple(dict.fromkeys(s.emotion for s in sounds if s.emotion is not None))
        self.owner = np.array([sound.emotion or "" for sound in sounds])
        generator = torch.Generator("cpu").manual_seed(seed)
        self._asked = []
        for sound in sounds:
            latents = model.latents(sound.audio, model.sampling_rate, seconds)
            hidden, mask = model.states(sound.prompt)
            for time in times:
                noise = torch.randn(latents.shape, generator=generator).to(latents)
                noised, target = model.noised(latents, noise, time)
                self._asked.append((time, noised, target, hidden, mask))
        self.n_times = len(times)

    def effects(
        self, vectors: np.ndarray, amount: float | np.ndarray, progress: Progress = silent
    ) -> Denoised:
        """Effects of steering by ``amount * vector``.

        Args:
            vectors: ``(n, d_in)``.
            amount: length in the embedding's units, one for all or ``(n,)``.

        Raises:
            BadInput: the width is wrong.
        """
        import torch

        vectors = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
        if vectors.shape[1] != self.model.d_in:
            raise BadInput(
                f"denoising: directions are {vectors.shape[1]} wide, {self.model.name} is {self.model.d_in}"
            )
        n = len(vectors)
        steps = vectors * np.broadcast_to(np.asarray(amount, dtype=np.float32), (n,))[:, None]
        shift, error = np.zeros(n), np.zeros((n, len(self._asked)))
        for start in range(0, n, self.batch):
            part = slice(start, min(start + self.batch, n))
            # The unsteered row goes through the same pass: a row's last bits depend on how many there are.
            rows = torch.from_numpy(np.concatenate([np.zeros_like(steps[:1]), steps[part]]))
            for i in range(len(self._asked)):
                moved, errors = self._ask(i, rows)
                shift[part] += moved[1:] / len(self._asked)
                error[part, i] = errors[1:] - errors[0]
            progress("directions", part.stop, n)
        return Denoised(shift, self._by_emotion(error), self.emotions)

    def first_order(self, vectors: np.ndarray, *, n_probes: int = 64, seed: int = 0) -> Denoised:
        """Effects to lowest order per unit of amount, for any number of directions at the price of a few passes.

        ``error`` is the gradient along each direction (times the amount: the change). ``shift`` is the squared length of the
        velocity's derivative along it (times the amount squared), estimated from ``n_probes`` derivatives of the velocity's
        product with random vectors (Hutchinson 1989). Good for choosing what to measure exactly.
        """
        import torch

        vectors = np.atleast_2d(np.asarray(vectors, dtype=np.float64))
        generator = torch.Generator("cpu").manual_seed(seed)
        slope = np.zeros((len(vectors), len(self._asked)))
        probes = []
        for i in range(len(self._asked)):
            slope[:, i] = vectors @ self._gradient(i, None)
            for _ in range(-(-n_probes // len(self._asked))):
                probes.append(self._gradient(i, generator))
        shift = np.mean((vectors @ np.stack(probes).T) ** 2, axis=1)
        return Denoised(shift, self._by_emotion(slope), self.emotions)

    def _gradient(self, i: int, generator: "Generator | None") -> np.ndarray:
        """Gradient ``(d_in,)`` of the mean squared error, or of the velocity's product with a random vector of ``generator``."""
        import torch

        from moodlens.steer.conditioning import added

        time, noised, target, hidden, mask = self._asked[i]
        step = torch.zeros(1, self.d_in, device=hidden.device, requires_grad=True)
        states = added(hidden, mask, step, 1.0, False)
        answer = self.model.velocity(noised, time, states, mask, self.seconds).float()
        if generator is None:
            (answer - target).square().mean().backward()
        else:
            # Of unit variance over the root of its size: the mean square of the product is that of the derivative.
            drawn = torch.randn(answer.shape, generator=generator).to(answer)
            (answer * drawn).sum().div(answer.numel() ** 0.5).backward()
        assert step.grad is not None
        return step.grad[0].double().cpu().numpy()

    def _by_emotion(self, error: np.ndarray) -> np.ndarray:
        """``(n, n_emotions)`` means of ``error`` (n, n_asked) over each emotion's clips and all times."""
        each = error.reshape(len(error), len(self.owner), self.n_times).mean(axis=2)
        known = [each[:, self.owner == emotion].mean(axis=1) for emotion in self.emotions]
        return np.stack(known, axis=1) if known else np.zeros((len(error), 0))

    def compare(self, states: "Tensor", mask: "Tensor") -> tuple[np.ndarray, np.ndarray]:
        """Effects of text states as they are given, mean over clips and times.

        Args:
            states: ``(B, n_tokens, d_in)``; the first row is the unsteered one.
            mask: ``(B, n_tokens)``.

        Returns:
            Mean squared change of the predicted velocity and change of its mean squared error, ``(B - 1,)`` each.
        """
        asked = [self._answer(i, states, mask) for i in range(len(self._asked))]
        moved, error = (np.mean(part, axis=0) for part in zip(*asked, strict=True))
        return moved[1:], error[1:] - error[0]

    def _ask(self, i: int, steps: "Tensor") -> tuple[np.ndarray, np.ndarray]:
        """:meth:`_answer` to ``steps`` (B, d_in) added to every token."""
        from moodlens.steer.conditioning import added

        _, _, _, hidden, mask = self._asked[i]
        many = mask.expand(len(steps), -1)
        states = added(hidden.expand(len(steps), -1, -1), many, steps.to(hidden.device), 1.0, False)
        return self._answer(i, states, many)

    def _answer(self, i: int, states: "Tensor", mask: "Tensor") -> tuple[np.ndarray, np.ndarray]:
        """Squared change against the first row, and squared error, ``(B,)`` each, per element."""
        import torch

        time, noised, target, _, _ = self._asked[i]
        with torch.no_grad():
            answer = self.model.velocity(
                noised.expand(len(states), -1, -1), time, states, mask, self.seconds
            ).float()
        moved = (answer - answer[:1]).square().mean(dim=(1, 2))
        error = (answer - target).square().mean(dim=(1, 2))
        return moved.double().cpu().numpy(), error.double().cpu().numpy()
