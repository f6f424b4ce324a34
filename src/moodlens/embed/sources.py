"""Where a checkpoint's files come from: a folder or the hub, read without importing transformers.

transformers takes several seconds to import and would build the decoder and the codec too; of a checkpoint only the
configuration, the tokenizer and the encoder's weights are wanted.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodlens.core import BadInput, digest, file_sha256, read_json

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class Source:
    """One checkpoint: ``spec`` is how the user named it (for messages), ``name`` a folder or a hub repository."""

    spec: str
    name: str
    revision: str | None = None

    @property
    def is_folder(self) -> bool:
        return Path(self.name).is_dir()

    def config(self) -> dict[str, Any]:
        """``config.json`` as it is written; keys at their default may be absent.

        Raises:
            BadInput: it cannot be found or read.
        """
        config = read_json(self._file("config.json"))
        if not isinstance(config, dict):
            raise BadInput(f"encoder {self.spec}: config.json holds no object")
        return config

    def tokenizer(self) -> "Tokenizer":
        return read_tokenizer(self._file("tokenizer.json"))

    def weights(self, prefix: str, parts: tuple[str, ...]) -> dict[str, "torch.Tensor"]:
        """The tensors whose names start with ``prefix`` and one of ``parts``, without the prefix, in float32.

        Raises:
            BadInput: there are no weights, or a file of theirs is broken.
        """
        wanted = tuple(prefix + part for part in parts)
        found: dict[str, torch.Tensor] = {}
        for path in self._weight_files(wanted):
            with self._reading(path):
                found |= _tensors(path, wanted)
        return {name.removeprefix(prefix): tensor.float() for name, tensor in found.items()}

    def commit(self) -> str:
        """The hub's commit, or for a folder the digest of its weight files."""
        if not self.is_folder:
            return self._file("config.json").parent.name  # .../snapshots/<commit>/config.json
        files = sorted(path for path in Path(self.name).iterdir() if path.suffix in (".safetensors", ".bin"))
        return "sha256:" + digest([[path.name, file_sha256(path)] for path in files])

    def _weight_files(self, wanted: tuple[str, ...]) -> list[Path]:
        if path := self._optional("model.safetensors"):
            return [path]
        if index := self._optional("model.safetensors.index.json"):
            shards = read_json(index)["weight_map"]
            return [self._file(name) for name in sorted({shards[k] for k in shards if k.startswith(wanted)})]
        if path := self._optional("pytorch_model.bin"):
            return [path]
        raise BadInput(
            f"encoder {self.spec}: no weights; expected model.safetensors, its index, or pytorch_model.bin"
        )

    def _file(self, name: str) -> Path:
        if self.is_folder:
            path = Path(self.name) / name
            if not path.is_file():
                raise BadInput(f"{path}: no such file; copy the checkpoint's {name} there")
            return path
        from huggingface_hub import hf_hub_download

        with self._reading(name):
            return Path(hf_hub_download(self.name, name, revision=self.revision))

    def _optional(self, name: str) -> Path | None:
        if self.is_folder:
            path = Path(self.name) / name
            return path if path.is_file() else None
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError

        try:
            return Path(hf_hub_download(self.name, name, revision=self.revision))
        except EntryNotFoundError:  # the repository has none (or, offline, the cache)
            return None

    @contextlib.contextmanager
    def _reading(self, file: Path | str) -> Iterator[None]:
        """Turn what the hub and the file readers raise into one line that says what to do."""
        from safetensors import SafetensorError

        try:
            yield
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if self.is_folder:
                raise BadInput(f"{file}: cannot read: {why}") from error
            offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
            hint = (
                "HF_HUB_OFFLINE is set and the file is not in the local cache: unset it once, or name a folder"
                if offline
                else "check the name and the network, or name a folder that holds the checkpoint"
            )
            raise BadInput(f"encoder {self.spec}: cannot load {file} ({why}); {hint}") from error


def read_tokenizer(path: Path) -> "Tokenizer":
    """A ``tokenizer.json``.

    Raises:
        BadInput: it is not one.
    """
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:
        raise BadInput(f"{path}: not a readable tokenizer: {error}") from error


def _tensors(path: Path, wanted: tuple[str, ...]) -> dict[str, "torch.Tensor"]:
    import torch

    if path.suffix == ".bin":
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return {name: tensor for name, tensor in loaded.items() if name.startswith(wanted)}
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if name.startswith(wanted)}  # noqa: SIM118
