"""SAEs on disk in SAELens' layout.

A saved SAE is a folder with ``cfg.json`` and ``sae_weights.safetensors``. Centring is folded into the weights, so
``sae_lens.SAE.load_from_disk`` reads it and gives the same codes. Our own facts live in ``metadata``, the one place
SAELens keeps as it is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import JsonValue
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from moodlens.core import BadInput, atomic_write, file_sha256, read_json, write_json
from moodlens.sae.model import SAE, Activation
from moodlens.sae.state import PARAMETERS
from moodlens.settings.base import validate
from moodlens.settings.sae import SAESettings

WEIGHTS, CONFIG = "sae_weights.safetensors", "cfg.json"
SAE_LENS_VERSION = "6.18.0"  # the layout's version; without one SAELens throws metadata away
ARCHITECTURES: dict[Activation, str] = {"relu": "standard", "topk": "topk", "jumprelu": "jumprelu"}


def save_sae(sae: SAE, dir: Path | str, metadata: Mapping[str, JsonValue] | None = None) -> None:
    """Write ``sae`` to the folder ``dir``; ``metadata`` is added to the SAE's own.

    Put ``encoder_id`` into the metadata: :func:`load_sae` checks it.

    Raises:
        BadInput: the folder cannot be written.
    """
    dir = Path(dir)
    tensors = {name: t.detach().float().cpu().contiguous() for name, t in sae.state_dict().items()}
    write_tensors(dir / WEIGHTS, tensors)
    facts = {
        **sae.metadata,
        **(metadata or {}),
        "sae_lens_version": SAE_LENS_VERSION,
        "sae_lens_training_version": None,
        "training_library": "moodlens",
        "core_size": sae.core_size,
        "weights_sha256": file_sha256(dir / WEIGHTS),
    }
    if sae.settings is not None:
        facts["moodlens_settings"] = sae.settings.model_dump(mode="json")
    config: dict[str, Any] = {
        "architecture": ARCHITECTURES[sae.activation],
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": facts,
    }
    if sae.activation == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    write_json(dir / CONFIG, config)


def write_tensors(
    path: Path | str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        BadInput: the folder cannot be written or the disk is full.
    """
    with atomic_write(path) as tmp:
        try:
            save_file(dict(tensors), tmp, metadata=None if metadata is None else dict(metadata))
        except SafetensorError as error:  # how it reports a full disk
            raise OSError(str(error)) from error


def load_sae(dir: Path | str, *, encoder_id: str | None = None) -> SAE:
    """Read an SAE saved by :func:`save_sae` or by SAELens (standard, topk, jumprelu).

    Args:
        dir: the folder.
        encoder_id: the encoder whose embeddings it will be given, checked against the one it was trained on.

    Raises:
        BadInput: a file is missing or damaged, the configuration is not one we can run exactly, or the SAE belongs
            to another encoder.
    """
    dir = Path(dir)
    config = read_json(dir / CONFIG)
    if not isinstance(config, dict) or not isinstance(config.get("metadata", {}), dict):
        raise BadInput(f"{dir / CONFIG}: not an SAE configuration")
    metadata = dict(config.get("metadata", {}))
    trained_on = metadata.get("encoder_id")
    if encoder_id is not None and trained_on is not None and encoder_id != trained_on:
        raise BadInput(
            f"{dir}: trained on embeddings of {trained_on!r}, not of {encoder_id!r}: use that encoder"
        )
    activation = _activation(config, dir / CONFIG)
    sha256, core_size = metadata.pop("weights_sha256", None), metadata.pop("core_size", None)
    tensors = _weights(dir / WEIGHTS, sha256, config, core_size, activation)
    core_size = config["d_sae"] if core_size is None else core_size
    if config.get("apply_b_dec_to_input") is False:
        tensors["b_enc"] = tensors["b_enc"] + tensors["b_dec"] @ tensors["W_enc"]
    if config.get("rescale_acts_by_decoder_norm") is True:
        norm = tensors["W_dec"].norm(dim=-1)
        tensors |= {
            "W_enc": tensors["W_enc"] * norm,
            "b_enc": tensors["b_enc"] * norm,
            "W_dec": tensors["W_dec"] / norm.clamp_min(torch.finfo(torch.float32).tiny)[:, None],
        }
    settings = metadata.pop("moodlens_settings", None)
    if type(core_size) is not int or not 0 <= core_size <= config["d_sae"]:
        raise BadInput(
            f"{dir / CONFIG}: core_size = {core_size!r} must be a number of its {config['d_sae']} features"
        )
    sae = SAE(
        *(tensors[name] for name in PARAMETERS),
        activation=activation,
        threshold=tensors.get("threshold"),
        k=config["k"] if activation == "topk" else None,
        settings=None
        if settings is None
        else validate(SAESettings, settings, f"{dir / CONFIG}: moodlens_settings"),
        metadata=metadata,
    )
    sae.core_size = core_size
    return sae


def _activation(config: Mapping[str, object], path: Path) -> Activation:
    names: dict[Any, Activation] = {name: activation for activation, name in ARCHITECTURES.items()}
    architecture = config.get("architecture")
    if not isinstance(architecture, str) or architecture not in names:
        raise BadInput(f"{path}: architecture {architecture!r} is not one of {', '.join(names)}")
    if config.get("normalize_activations", "none") != "none":
        raise BadInput(
            f"{path}: normalize_activations {config['normalize_activations']!r} is not folded in: fold it"
        )
    # SAELens itself fills a missing k with 100, and the codes are then silently wrong.
    if architecture == "topk" and type(config.get("k")) is not int:
        raise BadInput(f"{path}: a topk SAE needs an integer k")
    return names[architecture]


def _weights(
    path: Path, sha256: str | None, config: Mapping[str, object], core_size: object, activation: Activation
) -> dict[str, Tensor]:
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    try:
        if sha256 is not None and file_sha256(path) != sha256:
            raise BadInput(
                f"{path}: damaged: its sha256 is not the one in {CONFIG}; train or copy the SAE again"
            )
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path}: not a readable safetensors file: {error}") from error
    d_in, d_sae = config.get("d_in"), config.get("d_sae")
    wanted = {"W_enc": (d_in, d_sae), "W_dec": (d_sae, d_in), "b_enc": (d_sae,), "b_dec": (d_in,)}
    if activation == "jumprelu":
        wanted["threshold"] = (d_sae,)
    if set(tensors) != set(wanted):
        raise BadInput(f"{path}: holds {sorted(tensors)}, expected {sorted(wanted)}")
    core_of_nothing = d_in and core_size == 0  # what seeds without agreement share
    for name, shape in wanted.items():
        tensor = tensors[name]
        if tuple(tensor.shape) != shape or (tensor.numel() == 0 and not core_of_nothing):
            raise BadInput(f"{path}: {name} has shape {tuple(tensor.shape)}, {CONFIG} says {shape}")
        if not bool(tensor.isfinite().all()):
            raise BadInput(f"{path}: {name} holds NaN or infinity; train or copy the SAE again")
    return tensors
