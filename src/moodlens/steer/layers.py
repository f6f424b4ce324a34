"""Differences in means of a decoder's residual stream, layer by layer: the steering that published work does.

Differences in means of the residual stream under prompts of an emotion and of the others, added at every step behind chosen
layers, with a decay (Facchiano et al., arXiv:2504.04479, and Federici & Fornetti steer MusicGen so; Singh et al., arXiv:2505.18186,
SMITIN and MusicRFM steer the same stream by features, probes and recursive feature machines). It needs clips to learn from, a vector for every layer and a hook at every step; a direction in the text states needs none of
these, which is what the comparison is about. How they are measured: :mod:`moodlens.steer.layer_means`.

    layers = layer_differences(musicgen, {"happy": [...], "sad": [...]}, seconds=8)
    steering = layers.steering("happy", 1.0, layers=[12], decay=0.998)
    audio = musicgen.generate("instrumental music", seconds=8, seed=0, steering=steering)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from moodlens.core import BadInput, atomic_write, digest, file_sha256
from moodlens.study.records.steer import LayerRecipe, LayersFile, LayerSite

if TYPE_CHECKING:
    from moodlens.steer.residual import Halves, LayerSteering

MEANS = "layers.safetensors"


@dataclass(frozen=True)
class Layers:
    """Means of one decoder's residual stream under prompts of each emotion.

    Attributes:
        emotions: names of the rows.
        means: ``(n_emotions, n_layers, d_decoder)`` float32, mean over clips and steps behind each layer.
        recipe: what decides them.
    """

    emotions: tuple[str, ...]
    means: np.ndarray
    recipe: LayerRecipe

    @property
    def key(self) -> str:
        """Hash of the recipe: a clip's name holds it in place of the vectors, whose last bits depend on the machine."""
        return digest(self.recipe.model_dump(mode="json"))[:20]

    def differences(self, emotion: str) -> np.ndarray:
        """``(n_layers, d_decoder)``: an emotion's means minus the mean of the others'.

        Raises:
            BadInput: an unknown emotion.
        """
        if emotion not in self.emotions:
            raise BadInput(f"layers: {emotion} is not among {', '.join(self.emotions)}")
        own = self.emotions.index(emotion)
        return self.means[own] - np.delete(self.means, own, axis=0).mean(axis=0)

    def random(self, number: int) -> np.ndarray:
        """``(n_layers, d_decoder)``: a random direction at each layer, as long as the emotions' differences are there on average."""
        lengths = np.mean([np.linalg.norm(self.differences(e), axis=1) for e in self.emotions], axis=0)
        drawn = np.random.default_rng([self.recipe.seed, number]).standard_normal(self.means.shape[1:])
        drawn *= lengths[:, None] / np.linalg.norm(drawn, axis=1, keepdims=True)
        return drawn.astype(np.float32)

    def steering(
        self,
        emotion: str,
        coefficient: float,
        *,
        layers: Sequence[int] | None = None,
        decay: float = 1.0,
        halves: "Halves" = "conditional",
    ) -> "LayerSteering":
        """Steering by ``coefficient`` of an emotion's differences in means.

        Args:
            layers: behind which to add; None: all.
            decay: factor from one step to the next; 1 keeps the strength.
            halves: of guidance.

        Raises:
            BadInput: an unknown emotion or layer, or such a decay.
        """
        where = None if layers is None else tuple(layers)
        site = LayerSite(layers=where, decay=decay, halves=halves, recipe=self.key)
        return self.at(self.differences(emotion), coefficient, site)

    def at(self, vectors: np.ndarray, coefficient: float, site: LayerSite) -> "LayerSteering":
        """Steering by ``vectors`` (n_layers, d_decoder) at ``site``. Raises BadInput as :meth:`steering`."""
        from moodlens.steer.residual import LayerSteering

        chosen = range(len(vectors)) if site.layers is None else site.layers
        if not all(0 <= layer < len(vectors) for layer in chosen):
            raise BadInput(f"layers: {', '.join(map(str, chosen))} are not all of 0 to {len(vectors) - 1}")
        if not 0 <= site.decay <= 1:
            raise BadInput(f"decay: {site.decay:g} is outside 0 to 1")
        return LayerSteering({i: vectors[i] for i in chosen}, coefficient, site.decay, site.halves)


def save_layers(layers: Layers, folder: Path) -> None:
    """Write ``layers.safetensors`` and, last, ``layers.json``."""
    from safetensors.numpy import save_file

    with atomic_write(folder / MEANS) as tmp:
        save_file({"means": layers.means}, tmp)
    LayersFile(
        emotions=layers.emotions,
        n_layers=layers.means.shape[1],
        d_decoder=layers.means.shape[2],
        recipe=layers.recipe,
        means_sha256=file_sha256(folder / MEANS),
    ).write(folder)


def load_layers(folder: Path) -> Layers | None:
    """What :func:`save_layers` wrote; None where it wrote nothing.

    Raises:
        BadInput: it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (folder / LayersFile.file).is_file():
        return None
    facts, path = LayersFile.read(folder), folder / MEANS
    again = f"remove {folder / LayersFile.file} and steer again"
    if not path.is_file() or file_sha256(path) != facts.means_sha256:
        raise BadInput(f"{path}: missing or not the file that {facts.file} describes; {again}")
    try:
        means = load_file(path)["means"]
    except (SafetensorError, OSError, KeyError) as error:
        raise BadInput(f"{path}: not a readable safetensors file: {error}; {again}") from error
    if means.shape != (len(facts.emotions), facts.n_layers, facts.d_decoder):
        raise BadInput(f"{path}: {means.shape} means, not as {facts.file} describes them; {again}")
    return Layers(facts.emotions, means, facts.recipe)


def remove_layers(folder: Path) -> None:
    """Take away what an earlier run in the same folder measured."""
    for name in (LayersFile.file, MEANS):
        (folder / name).unlink(missing_ok=True)
