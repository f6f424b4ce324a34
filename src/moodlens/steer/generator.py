"""What a generator of music is to this package, and making many clips with one, as many at once as memory allows."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

from moodlens.core import BadInput
from moodlens.study.records.steer import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor

    from moodlens.steer.conditioning import Sampling, Steering
    from moodlens.steer.residual import LayerSteering

NO_NUMBERS = "its predictions are no longer numbers; steer with a smaller coefficient, or in float32"


@dataclass(frozen=True)
class Job:
    """One clip to make.

    Attributes:
        text: what the model reads.
        seed: of the draws.
        steering: of the text, or of the decoder's layers; None leaves the model alone.
    """

    text: str
    seed: int
    steering: "Steering | LayerSteering | None" = None

    @property
    def plain(self) -> bool:
        """Whether nothing is added."""
        return self.steering is None or self.steering.nothing


class Generator(Protocol):
    """A text-to-music model whose text states can be moved.

    Attributes:
        name: as it was asked for.
        revision: the hub's commit, or a digest of the weights.
        d_in: width of the text encoder's states.
        sampling_rate: of the audio, Hz.
        title: what messages call it.
        guidance: its own guidance scale, where none is asked for.
        steps: its own number of denoising steps; None: it has none.
        melody: digest of the melody that all clips follow; None: none.
        continued: digest of the sound that all clips go on from; None: none.
    """

    title: ClassVar[str]
    guidance: float
    steps: int | None
    melody: str | None
    continued: str | None
    name: str
    revision: str
    d_in: int
    sampling_rate: int

    def info(self) -> Checkpoint:
        """What decides a clip besides the prompt, the steering and the seed."""
        ...

    def tokens(self, prompt: str) -> "tuple[Tensor, Tensor]":
        """Token ids of a prompt and their mask. Raises BadInput where the model cannot read it, or knows no part of it."""
        ...

    def pooled(self, prompts: Sequence[str]) -> np.ndarray:
        """Mean of the text states over tokens, ``(n, d_in)`` float32: what directions must be made of to fit."""
        ...

    def frames(self, seconds: float) -> int:
        """Steps of time in a clip. Raises BadInput where it is too short or too long."""
        ...

    def check(self, steering: "Steering | LayerSteering | None") -> None:
        """Raise BadInput where this model cannot be steered in this way."""
        ...

    def hear(self, audio: np.ndarray, rate: int, sha256: str) -> None:
        """Let every clip follow the melody of ``(samples,)``. Raises BadInput where the model follows none."""
        ...

    def go_on(self, audio: np.ndarray, rate: int, sha256: str) -> None:
        """Let every clip go on from ``(channels, samples)``. Raises BadInput where the model goes on from nothing."""
        ...

    def generate(
        self,
        prompt: str,
        *,
        seconds: float,
        seed: int,
        steering: "Steering | LayerSteering | None" = None,
        sampling: "Sampling | None" = None,
    ) -> np.ndarray:
        """One clip, ``(channels, samples)`` float32, raw. An amount of 0 is the model's own pipeline, bit for bit."""
        ...

    def batch(self, jobs: Sequence[Job], *, seconds: float, sampling: "Sampling") -> list[np.ndarray]:
        """Clips of all ``jobs``, each as :meth:`generate` makes it. Raises OutOfMemory where they are too many."""
        ...

    def rows_that_fit(self, seconds: float, *, guided: bool) -> int:
        """Clips that :meth:`batch` may be asked for on this machine."""
        ...


class OutOfMemory(BadInput):
    """So many or such long clips do not fit into memory."""


class NoNumbers(BadInput):
    """A clip's predictions are no numbers.

    Attributes:
        job: whose; None where only one was made.
        before: the clips of the batch's jobs before it, which are sound.
    """

    def __init__(self, name: str, job: Job | None = None, before: Sequence[np.ndarray] = ()) -> None:
        super().__init__(f"{name}: {NO_NUMBERS}")
        self.job, self.before = job, list(before)


def require_width(title: str, name: str, width: int, d_in: int | None) -> None:
    """Raise BadInput where directions cannot be of this text encoder: said before the weights are fetched.

    An equal width proves nothing; that is what the anchors are for.
    """
    if d_in is not None and width != d_in:
        raise BadInput(
            f"{title} {name}: its text encoder is {width} wide, the directions are {d_in} wide: directions of another "
            f"encoder do not steer it; study {title}'s own"
        )


@contextlib.contextmanager
def one_line(name: str) -> Iterator[None]:
    """What torch raises where a step is too long or a clip too large, as one line."""
    import torch

    try:
        yield
    except RuntimeError as error:
        if "probability tensor" in str(error):
            raise NoNumbers(name) from error
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise OutOfMemory(
                f"{name}: out of memory; use shorter clips, a smaller model or half precision"
            ) from error
        raise


def make_clips(
    generator: Generator,
    jobs: Sequence[Job],
    *,
    seconds: float,
    sampling: "Sampling",
    batch: int | Literal["auto"] = "auto",
) -> Iterator[tuple[range, list[np.ndarray]]]:
    """The clips of ``jobs`` in their order, a batch at a time: which they are, and the clips.

    Args:
        batch: clips in one call; ``auto`` is what fits. Where memory runs out it is halved, for this batch and all
            that follow.

    Raises:
        OutOfMemory: one clip alone does not fit.
        NoNumbers: a steering is too strong; its ``job`` says which.
    """
    size = generator.rows_that_fit(seconds, guided=sampling.guidance > 1) if batch == "auto" else batch
    start = 0
    while start < len(jobs):
        now = range(start, min(start + size, len(jobs)))
        part = [jobs[i] for i in now]
        try:
            clips = generator.batch(part, seconds=seconds, sampling=sampling)
        except OutOfMemory:
            if len(part) == 1:
                raise
            size = -(-len(part) // 2)
            _let_go()
            continue
        except NoNumbers as error:
            if error.before:
                yield range(start, start + len(error.before)), error.before
            raise NoNumbers(generator.name, error.job or part[0]) from error
        yield now, clips
        start = now.stop


def _let_go() -> None:
    """Give the memory of the failed call back, which the error held on to."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
