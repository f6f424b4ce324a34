"""Small data whose sparse structure is known, and a training loop small enough to be watched step by step."""

import numpy as np
import torch

from moodlens.sae.training import Trainer, prepare
from moodlens.settings.sae import UNUSED, SAESettings

ARCHITECTURES = ["l1", "topk", "batchtopk", "matryoshka"]


def used(architecture, **settings):
    """Those of ``settings`` that the architecture uses."""
    given = {name: value for name, value in settings.items() if name not in UNUSED[architecture]}
    return SAESettings(architecture=architecture, **given)


def quick(architecture="batchtopk", **more):
    """A training of a moment: 24 features, 6 epochs of 4 steps of the rows of ``small``."""
    return used(architecture, **{"d_sae": 24, "k": 3, "epochs": 6, "batch_size": 32, **more})


def trainer(small, seed=0, **settings):
    return Trainer(prepare(*small), quick(**settings), seed)


def weights(sae):
    return {name: tensor.clone() for name, tensor in sae.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def planted_data(
    n: int, *, d_in: int = 32, n_features: int = 48, active: int = 3, seed: int = 0, noise: float = 0.01
):
    """Rows that are sums of ``active`` of ``n_features`` unit vectors, about a mean far from 0: ``(x, dictionary)``."""
    rng = np.random.default_rng(seed)
    dictionary = rng.standard_normal((n_features, d_in))
    dictionary /= np.linalg.norm(dictionary, axis=1, keepdims=True)
    codes = np.zeros((n, n_features))
    for row in codes:
        row[rng.choice(n_features, active, replace=False)] = rng.uniform(0.5, 1.5, active)
    offset = 3 * np.random.default_rng(1000).standard_normal(d_in)
    x = 2 * codes @ dictionary + offset + noise * rng.standard_normal((n, d_in))
    return x.astype(np.float32), dictionary
