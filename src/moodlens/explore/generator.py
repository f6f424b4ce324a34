"""What the explorer asks of a generator of music, and whether a study's directions steer it."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from moodlens.core import BadInput
from moodlens.explore.explored import Explored
from moodlens.explore.generate_records import SECONDS
from moodlens.steer.build import anchor_rows
from moodlens.steer.directions import Directions, Provenance, check_anchors
from moodlens.study.records.steer import Checkpoint, How

if TYPE_CHECKING:
    from moodlens.steer.generator import Generator

Step = Callable[[float], None]
"""Told the share of a clip that is made, step by step; what it raises ends the clip."""
Dtype = Literal["float32", "float16", "bfloat16"]


class WatchedGenerator:
    """A generator whose steps are watched, so that somebody who waits sees how far a clip is and may leave.

    Attributes:
        rate: samples a second of the sound, Hz.
        seconds: shortest and longest clip, up to :data:`SECONDS`.
        guidance: its own guidance scale.
        steps: its own number of denoising steps; None: it has none.
    """

    def __init__(self, model: "Generator"):
        self._model = model
        self.rate, self.guidance, self.steps = model.sampling_rate, model.guidance, model.steps
        self.seconds = _reach(model)

    def info(self) -> Checkpoint:
        """What decides a clip besides the prompt, the steering and the seed."""
        return self._model.info()

    def pooled(self, prompts: Sequence[str]) -> np.ndarray:
        """(n, d_in) float32, the mean states of its text encoder: what a study of that encoder has."""
        return self._model.pooled(prompts)

    def check(self, prompt: str, seconds: float) -> None:
        """Raise BadInput where a prompt says nothing or a length is out of reach."""
        self._model.frames(seconds)
        self._model.pooled([prompt])

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
        from moodlens.steer.conditioning import Sampling, Steering

        steering = None
        if vector is not None:
            steering = Steering(vector, amount, renorm=how.renorm, null=how.null, schedule=how.schedule)
        with _watched(self._model, how, step):
            return self._model.generate(
                text,
                seconds=how.seconds,
                seed=seed,
                steering=steering,
                sampling=Sampling(
                    how.guidance, how.temperature, top_k=how.top_k, steps=how.steps, negative=how.negative
                ),
            )


def _reach(model: "Generator") -> tuple[float, float]:
    """Shortest and longest clip to a tenth of a second, by asking."""
    can = []
    for tenths in range(1, round(10 * SECONDS) + 1):
        with contextlib.suppress(BadInput):
            model.frames(tenths / 10)
            can.append(tenths / 10)
    if not can:
        raise BadInput(f"{model.name}: makes no clip of {SECONDS:g} s or less")
    return can[0], can[-1]


@contextlib.contextmanager
def _watched(model: "Generator", how: How, step: Step) -> Iterator[None]:
    """Tell every step of a decoder, or of denoising; of generators from elsewhere, the beginning alone."""
    from moodlens.steer.diffusion import Diffusion
    from moodlens.steer.musicgen import MusicGen

    step(0.0)
    if isinstance(model, MusicGen):
        module, steps = model.model.decoder, model.n_steps(model.frames(how.seconds))
    elif isinstance(model, Diffusion):
        module, steps = model.pipe.transformer, how.steps or model.steps
    else:
        yield
        return
    done, total = 0, float(steps or 1)

    def tell(*_: object) -> None:
        nonlocal done
        step(min(done / total, 1.0))
        done += 1

    handle = module.register_forward_pre_hook(tell)
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
        name: hub name or folder of a checkpoint.
        device: ``auto`` (CUDA if there is one), ``cpu``, ``cuda:1`` ...
        dtype: what it computes in.

    Raises:
        BadInput: it cannot be loaded, or its text encoder is not the study's: by its width before the weights are
            read, by its embeddings of the study's own texts afterwards.
    """
    study = explored.study
    anchors = anchor_rows(study.rows)
    texts = tuple(study.rows.texts[anchors].tolist())
    encoder = study.encoder_info.encoder
    prov = Provenance(encoder, study.encoder_info.revision, "", texts, study.x[anchors].astype(np.float32))
    try:
        generator = open_generator(name, device=device, dtype=dtype, d_in=study.x.shape[1])
        own = Directions((), study.emotions, 1.0, {}, prov)
        check_anchors(own, generator.pooled(texts), f"generator {name}")
    except BadInput as error:
        raise BadInput(f"--generator: {error}") from error
    return generator


def open_generator(name: str, *, device: str, dtype: Dtype, d_in: int | None = None) -> WatchedGenerator:
    """A generator by hub name or folder.

    Raises:
        BadInput: it cannot be loaded, or its text is not ``d_in`` wide.
    """
    from moodlens.steer import generators

    return WatchedGenerator(generators.load_generator(name, device=device, dtype=dtype, d_in=d_in))
