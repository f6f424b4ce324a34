"""A finished training and its file: everything there is to know of it, to the last bit."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from moodlens.core import BadInput
from moodlens.sae.history import Epoch
from moodlens.sae.model import SAE
from moodlens.sae.rows import Standard
from moodlens.sae.state import PARAMETERS
from moodlens.settings.sae import SAESettings


@dataclass(frozen=True)
class Trained:
    """A finished SAE and how it came to be."""

    sae: SAE
    history: list[Epoch]
    best_epoch: int  # the epoch whose weights these are, counted from 0
    stopped: Literal["epochs", "patience"]
    seed: int
    settings: SAESettings  # resolved
    standard: Standard  # centring and scale, already folded into the weights
    seconds: float


def save_trained(trained: Trained, path: Path) -> None:
    """Write all of it into one safetensors file."""
    sae = trained.sae
    tensors = {name: tensor.detach().contiguous() for name, tensor in sae.state_dict().items()}
    facts = {
        "activation": sae.activation,
        "k": sae.k,
        "settings": trained.settings.model_dump(mode="json"),
        "history": [epoch.model_dump() for epoch in trained.history],
        "best_epoch": trained.best_epoch,
        "stopped": trained.stopped,
        "seed": trained.seed,
        "scale": trained.standard.scale.hex(),
        "seconds": trained.seconds,
    }
    tensors["standard_mean"] = torch.from_numpy(trained.standard.mean)
    save_file(tensors, path, metadata={"moodlens": json.dumps(facts)})


def load_trained(path: Path) -> Trained:
    """Read what :func:`save_trained` wrote.

    Raises:
        BadInput: the file cannot be read.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("moodlens", "{}"))
        tensors = load_file(path)
        settings = SAESettings.model_validate(facts["settings"])
        sae = SAE(
            *(tensors[name] for name in PARAMETERS),
            activation=facts["activation"],
            threshold=tensors.get("threshold"),
            k=facts["k"],
            settings=settings,
        )
        return Trained(
            sae=sae,
            history=[Epoch(**epoch) for epoch in facts["history"]],
            best_epoch=facts["best_epoch"],
            stopped=facts["stopped"],
            seed=facts["seed"],
            settings=settings,
            standard=Standard(tensors["standard_mean"].numpy(), float.fromhex(facts["scale"])),
            seconds=facts["seconds"],
        )
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise BadInput(f"{path}: not a finished SAE; delete it and run again: {error}") from error
