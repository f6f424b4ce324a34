"""A training loop small enough to be watched step by step."""

import torch

from moodlens.sae.training import Trainer, prepare
from moodlens.settings.sae import SAESettings

ARCHITECTURES = ["l1", "topk", "batchtopk", "matryoshka"]
QUICK = {"d_sae": 24, "k": 3, "epochs": 6, "batch_size": 32}


def trainer(small, seed=0, **settings):
    data, val, standard, d_in = prepare(*small)
    return Trainer(
        data, val, standard, SAESettings(**{**QUICK, **settings}).resolve(data.rows, d_in), d_in, seed
    )


def weights(sae):
    return {name: tensor.clone() for name, tensor in sae.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
