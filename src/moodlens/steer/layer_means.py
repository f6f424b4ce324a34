"""Measuring a decoder's residual stream while it makes music of a study's own labelled texts."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from moodlens.core import BadInput, Progress, silent
from moodlens.settings.steer import LAYER_METHODS, SteerSettings
from moodlens.steer.conditioning import Sampling
from moodlens.steer.directions import Directions
from moodlens.steer.generator import Job, make_clips
from moodlens.steer.layers import Layers, load_layers, save_layers
from moodlens.steer.residual import Steps, blocks
from moodlens.study.records.steer import LayerRecipe

if TYPE_CHECKING:
    from moodlens.steer.generator import Generator
    from moodlens.steer.musicgen import MusicGen


def with_layers(
    directions: Directions,
    model: "Generator",
    settings: SteerSettings,
    folder: Path,
    progress: Progress = silent,
) -> Directions:
    """The set with the decoder's layers measured, where ``settings`` ask for a method that needs them.

    Args:
        folder: what was measured before is taken from here, and what is measured now is kept here.

    Raises:
        BadInput: a model without such a decoder, directions without texts, or layers that it does not have.
    """
    asked = {*settings.methods, *settings.controls} & set(LAYER_METHODS)
    if not asked:
        return replace(directions, layers=None)
    musicgen = _musicgen(model)
    if not directions.texts:
        raise BadInput(
            f"{min(asked)}: needs the study's labelled texts, which these directions do not hold; steer from the study itself"
        )
    chosen = settings.layers
    recipe = LayerRecipe(
        texts=directions.texts,
        seconds=chosen.seconds,
        seed=chosen.seed,
        guidance=model.guidance if settings.guidance is None else settings.guidance,
        temperature=settings.temperature,
        top_k=settings.top_k,
        revision=model.revision,
        dtype=model.info().dtype,
        melody=model.melody,
    )
    known = load_layers(folder)
    if known is None or known.recipe != recipe:
        known = measure_layers(musicgen, recipe, settings.batch, progress)
        save_layers(known, folder)
    site = {"layers": chosen.layers, "decay": chosen.decay, "halves": chosen.halves}
    known.steering(
        known.emotions[0], 1.0, **site
    )  # whether there are such layers is said before the first clip
    return replace(directions, layers=known)


def _musicgen(model: "Generator") -> "MusicGen":
    from moodlens.steer.musicgen import MusicGen

    if not isinstance(model, MusicGen):
        raise BadInput(
            f"{model.title} {model.name}: has no decoder that says music token by token, so no layers to steer; leave out "
            f"{' and '.join(LAYER_METHODS)}"
        )
    return model


def layer_differences(
    musicgen: "MusicGen",
    prompts: Mapping[str, Sequence[str]],
    *,
    seconds: float,
    seed: int = 0,
    sampling: Sampling | None = None,
    batch: int | Literal["auto"] = "auto",
) -> Layers:
    """Measure the residual stream while the model makes a clip of every prompt.

    Args:
        prompts: emotion -> texts that name it. Take none that clips are judged on.
        seed: of the draws of all clips.

    Raises:
        BadInput: fewer than two emotions, or one without prompts.
    """
    s = sampling or Sampling()
    recipe = LayerRecipe(
        texts={emotion: tuple(texts) for emotion, texts in prompts.items()},
        seconds=seconds,
        seed=seed,
        guidance=s.guidance,
        temperature=s.temperature,
        top_k=s.top_k,
        revision=musicgen.revision,
        dtype=musicgen.info().dtype,
        melody=musicgen.melody,
    )
    return measure_layers(musicgen, recipe, batch)


def measure_layers(
    musicgen: "MusicGen",
    recipe: LayerRecipe,
    batch: int | Literal["auto"] = "auto",
    progress: Progress = silent,
) -> Layers:
    """Means by a recipe, over clips of one window that go on from no sound; raises BadInput as :func:`layer_differences`."""
    if len(recipe.texts) < 2 or not all(recipe.texts.values()):
        raise BadInput("layers: give prompts of two emotions or more")
    if musicgen.frames(recipe.seconds) > musicgen.window:
        raise BadInput(
            f"layers.seconds: {recipe.seconds:g} is longer than a window of {musicgen.name} ({musicgen.window / musicgen.frame_rate:g} s)"
        )
    jobs = [Job(text, recipe.seed) for texts in recipe.texts.values() for text in texts]
    owner = np.array([emotion for emotion, texts in recipe.texts.items() for _ in texts])
    sampling = Sampling(recipe.guidance, recipe.temperature, recipe.top_k)
    if musicgen.rows_that_fit(recipe.seconds, guided=recipe.guidance > 1) == 1:
        batch = 1  # where clips are made one by one, a batch of several calls would be measured as one
    rows: list[np.ndarray] = []
    with _from_nothing(musicgen), _measured(musicgen.model) as measured:
        for now, _ in make_clips(musicgen, jobs, seconds=recipe.seconds, sampling=sampling, batch=batch):
            rows += list(measured.take(len(now)))
            progress("clips for the decoder's layers", now.stop, len(jobs))
    means = np.stack(rows)
    emotions = tuple(recipe.texts)
    each = [means[owner == emotion].mean(axis=0) for emotion in emotions]
    return Layers(emotions, np.stack(each).astype(np.float32), recipe)


@contextlib.contextmanager
def _from_nothing(musicgen: "MusicGen") -> Iterator[None]:
    """Within, clips go on from no sound: what is learned is of the texts, whatever the run's clips go on from."""
    given, musicgen.given = musicgen.given, None
    try:
        yield
    finally:
        musicgen.given = given


class _Measured:
    """Sums of the residual stream behind every layer, over the steps of one call of ``generate``."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.sums: dict[int, torch.Tensor] = {}
        self.counts: dict[int, int] = {}

    def start(self, module: Any, args: Any, kwargs: Mapping[str, object]) -> None:
        """Forget what was seen before a first step: transformers runs it twice, and a call may have run out of memory."""
        self.steps.look(module, args, kwargs)
        if self.steps.cached == 0:
            self.sums, self.counts = {}, {}

    def add(self, layer: int, hidden: torch.Tensor) -> None:
        """Count what a layer gives, a prefix left out."""
        total = hidden[:, -self.steps.tokens :].float().sum(dim=1)
        known = self.sums.get(layer)
        self.sums[layer] = total if known is None else known + total
        self.counts[layer] = self.counts.get(layer, 0) + self.steps.tokens

    def take(self, n: int) -> np.ndarray:
        """``(n, n_layers, d_decoder)`` means of the conditional rows, and start anew."""
        order = sorted(self.sums)
        means = torch.stack([self.sums[layer][:n] / self.counts[layer] for layer in order], dim=1)
        self.sums, self.counts = {}, {}
        return means.cpu().numpy()


@contextlib.contextmanager
def _measured(model: Any) -> Iterator[_Measured]:
    measured = _Measured()

    def look(layer: int) -> Any:
        return lambda module, args, out: measured.add(layer, out[0] if isinstance(out, tuple) else out)

    handles = [model.decoder.register_forward_pre_hook(measured.start, with_kwargs=True)]
    handles += [block.register_forward_hook(look(i)) for i, block in enumerate(blocks(model))]
    try:
        yield measured
    finally:
        for handle in handles:
            handle.remove()
