"""What the explorer asks of a text-to-music model, and whether a study's directions steer it. One class a kind of model."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from moodlens.core import BadInput
from moodlens.explore.explored import Explored
from moodlens.steer.build import anchor_rows
from moodlens.steer.directions import Directions, Provenance, check_anchors
from moodlens.study.records.steer import Checkpoint, How

if TYPE_CHECKING:
    from moodlens.steer.musicgen import MusicGen

Step = Callable[[float], None]
"""Told the share of a clip that is made, step by step; what it raises ends the clip."""
Dtype = Literal["float32", "float16", "bfloat16"]


class WatchedGenerator(Protocol):
    """A text-to-music model that makes clips step by step, so that somebody who waits sees how far it is and may leave."""

    @property
    def rate(self) -> int:
        """Samples a second of the sound, Hz."""
        ...

    @property
    def seconds(self) -> tuple[float, float]:
        """Shortest and longest clip."""
        ...

    def info(self) -> Checkpoint:
        """What decides a clip besides the prompt, the steering and the seed."""
        ...

    def pooled(self, prompts: Sequence[str]) -> np.ndarray:
        """(n, d_in) float32, the mean states of its text encoder: what a study of that encoder has."""
        ...

    def check(self, prompt: str, seconds: float) -> None:
        """Raise BadInput where a prompt says nothing or a length is out of reach."""
        ...

    def make(
        self, text: str, seed: int, how: How, vector: np.ndarray | None, amount: float, step: Step
    ) -> np.ndarray:
        """(channels, samples) float32.

        Args:
            text: what the model reads.
            seed: of the draws.
            how: length and sampling.
            vector: (d_in,) of length 1; None steers nothing.
            amount: length that is added along it, in the embedding's units.
            step: called as the clip grows.

        Raises:
            BadInput: the steering is so strong that the predictions are no numbers, or memory runs out.
        """
        ...


class WatchedMusicGen:
    """MusicGen."""

    def __init__(self, model: "MusicGen"):
        self._model = model
        self.rate = model.sampling_rate
        longest = int(model.model.config.decoder.max_position_embeddings) - model.n_codebooks
        self.seconds = (model.n_codebooks / model.frame_rate, longest / model.frame_rate)
        self.info, self.pooled = model.info, model.pooled

    def check(self, prompt: str, seconds: float) -> None:
        """See :class:`WatchedGenerator`."""
        self._model.tokens(prompt)
        self._model.frames(seconds)

    def make(
        self, text: str, seed: int, how: How, vector: np.ndarray | None, amount: float, step: Step
    ) -> np.ndarray:
        """See :class:`WatchedGenerator`."""
        from moodlens.steer.conditioning import Sampling, Steering

        steering = None
        if vector is not None:
            steering = Steering(vector, amount, renorm=how.renorm, null=how.null, schedule=how.schedule)
        with self._watched(how.seconds, step):
            return self._model.generate(
                text,
                seconds=how.seconds,
                seed=seed,
                steering=steering,
                sampling=Sampling(how.guidance, how.temperature, how.top_k),
            )

    @contextlib.contextmanager
    def _watched(self, seconds: float, step: Step) -> Iterator[None]:
        """Tell every step of the decoder: there are as many as frames, and the delay of the last codebook."""
        model, done = self._model, 0
        steps = model.frames(seconds) + model.n_codebooks // model.channels - 1

        def tell(*_: object) -> None:
            nonlocal done
            step(min(done / steps, 1.0))
            done += 1

        handle = model.model.decoder.register_forward_pre_hook(tell)
        try:
            yield
        finally:
            handle.remove()


def load_generator(
    explored: Explored, name: str, *, device: str = "auto", dtype: Dtype = "float32"
) -> WatchedGenerator:
    """A generator that the study's directions steer.

    Args:
        explored: the study.
        name: hub name or folder of a MusicGen checkpoint.
        device: ``auto`` (CUDA if there is one), ``cpu``, ``cuda:1`` ...
        dtype: what it computes in.

    Raises:
        BadInput: it cannot be loaded, or its text encoder is not the study's: by its width before the weights are
            read, by its embeddings of the study's own texts afterwards.
    """
    study = explored.study
    anchors = anchor_rows(study.rows)
    texts = tuple(study.rows.texts[anchors].tolist())
    encoder = str(study.encoder_info["encoder"])
    prov = Provenance(
        encoder, study.encoder_info.get("revision"), "", texts, study.x[anchors].astype(np.float32)
    )
    try:
        generator = open_generator(name, device=device, dtype=dtype, d_in=study.x.shape[1])
        own = Directions((), study.emotions, 1.0, {}, prov)
        check_anchors(own, generator.pooled(texts), f"MusicGen {name}")
    except BadInput as error:
        raise BadInput(f"--generator: {error}") from error
    return generator


def open_generator(name: str, *, device: str, dtype: Dtype, d_in: int | None = None) -> WatchedGenerator:
    """A generator by hub name or folder.

    Raises:
        BadInput: it cannot be loaded, or its text is not ``d_in`` wide.
    """
    from moodlens.steer.musicgen import MusicGen

    return WatchedMusicGen(MusicGen.load(name, device=device, dtype=dtype, d_in=d_in))
