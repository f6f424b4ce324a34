"""SAEs of other libraries, read from their own files and made one of ours: the same codes for the same rows.

Weights are read as safetensors, or by ``torch.load(weights_only=True)``: nothing in a file is ever run. What cannot be
run exactly (a gate by scores, a signed code, a skip connection) is refused in one line, never approximated.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from moodlens.core import BadInput, digest, file_sha256, read_object
from moodlens.sae.foreign_files import LIBRARIES as LIBRARIES
from moodlens.sae.foreign_files import Files, InputScale, Library
from moodlens.sae.foreign_layouts import LAYOUTS
from moodlens.sae.model import SAE


@dataclass(frozen=True)
class Foreign:
    """An imported SAE.

    Attributes:
        sae: takes rows as ``scale`` says.
        library: whose files they are.
        scale: ``raw`` rows, or ``unit``: of norm 1.
        notes: what to know of it.
        files: that were read.
        sha256: of their contents.
    """

    sae: SAE
    library: Library
    scale: InputScale
    files: tuple[Path, ...]
    sha256: str
    notes: tuple[str, ...] = ()


def read_foreign(
    path: Path | str, library: Library | None = None, scale: InputScale | None = None
) -> Foreign:
    """Read an SAE that another library wrote.

    Args:
        path: its folder, or HypotheSAEs' one file.
        library: whose it is; None: told by its files.
        scale: what rows it takes; None: as its files say or its library is used (``unit`` for latentsae, else ``raw``).

    Raises:
        BadInput: it is none, is damaged, or cannot be run exactly.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder")
    library = library or _library(path)
    read, names = LAYOUTS[library]
    files = tuple(path / name for name in names) if path.is_dir() else (path,)
    for file in files:
        if not file.is_file():
            raise BadInput(
                f"{file}: no such file; a {library} SAE is {' and '.join(names) or 'one .pt file'}"
            )
    parts = read(_files(files))
    try:
        sae = SAE(
            parts.W_enc.contiguous(),
            parts.W_dec.contiguous(),
            parts.b_enc,
            parts.b_dec,
            activation=parts.activation,
            threshold=parts.threshold,
            k=parts.k,
        )
    except BadInput as error:
        raise BadInput(f"{files[-1]}: {error}") from error
    if scale == "raw" and parts.scale == "unit" and library == "saelens":
        raise BadInput(f"{path}: its configuration says that it takes rows of one norm; leave input out")
    sha256 = digest([[file.name, file_sha256(file)] for file in files])
    return Foreign(sae, library, scale or parts.scale, files, sha256, parts.notes)


def _library(path: Path) -> Library:
    """Whose files they are."""
    if path.is_file():
        if path.suffix in (".json", ".safetensors"):
            raise BadInput(f"{path}: is one file of an SAE; name the folder that holds it")
        return "hypothesaes"
    if (path / "ae.pt").is_file():
        return "dictionary_learning"
    if (path / "sae_weights.safetensors").is_file():
        return "saelens"
    if (path / "sae.safetensors").is_file():
        config = read_object(path / "cfg.json")
        # Both descend from one library; what only one of them writes tells them apart, and they take rows of another norm.
        if "sae_type" in config:
            return "latentsae"
        if "transcode" in config or "skip_connection" in config:
            return "sparsify"
        raise BadInput(
            f"{path}: may be sparsify's, which takes raw rows, or an early latentsae's, which takes rows of norm 1: its cfg.json says "
            "neither transcode nor sae_type; name its library"
        )
    raise BadInput(
        f"{path}: no SAE that is known: expected cfg.json with sae_weights.safetensors (SAELens) or sae.safetensors (sparsify, "
        "latentsae), config.json with ae.pt (dictionary_learning), or HypotheSAEs' .pt file"
    )


def _files(files: tuple[Path, ...]) -> Files:
    weights = files[-1]
    if weights.suffix == ".safetensors":
        try:
            return Files(weights, read_object(files[0]), load_file(weights))
        except (SafetensorError, OSError) as error:
            raise BadInput(f"{weights}: not a readable safetensors file: {error}") from error
    loaded = _load(weights)
    if len(files) == 2:
        return Files(weights, read_object(files[0]), _tensors(weights, loaded))
    config, state = (
        loaded.get(name) if isinstance(loaded, dict) else None for name in ("config", "state_dict")
    )
    if not isinstance(config, dict) or not isinstance(state, dict):
        raise BadInput(f"{weights}: holds no config and state_dict, as an SAE of HypotheSAEs does")
    return Files(weights, config, _tensors(weights, state))


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        BadZipFile,
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
    ) as error:
        what = (
            "holds more than weights, which is never run"
            if isinstance(error, pickle.UnpicklingError)
            else "damaged"
        )
        raise BadInput(f"{path}: cannot be read ({what}); save it as its library does") from error


def _tensors(path: Path, state: Any) -> dict[str, Tensor]:
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise BadInput(f"{path}: holds no tensors by name")
    return {str(name): value for name, value in state.items()}
