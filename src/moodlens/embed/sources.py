"""Where a checkpoint's files come from: a folder or the hub, read without importing transformers.

transformers takes several seconds to import and would build the decoder and the codec too; of a checkpoint only the
configuration, the tokenizer and the encoder's weights are wanted.
"""

import contextlib
import functools
import os
import re
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from moodlens.core import BadInput, digest, file_sha256, read_object
from moodlens.settings.study import expand_path

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "*.model", "added_tokens.json")
"""What a tokenizer is made of where there is no tokenizer.json."""
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?", re.ASCII)


@dataclass(frozen=True)
class Source:
    """One checkpoint; :func:`find_source` makes one of what a user typed.

    Attributes:
        label: what messages call it, such as ``"encoder t5:google-t5/t5-base"``.
        folder: where it lies; None for a repository of the hub.
        hub: the repository.
        revision: of the repository: commit, tag or branch.
        wanted: what the names of the tensors begin with that are read.
        beside: patterns of further files that decide what it computes.
    """

    label: str
    folder: Path | None
    hub: str = ""
    revision: str | None = None
    wanted: tuple[str, ...] = ("",)
    beside: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder as the operating system knows it, or the repository: the same however it was typed."""
        return self.hub if self.folder is None else str(self.folder)

    def config(self) -> dict[str, JsonValue]:
        """``config.json`` as it is written; keys at their default may be absent.

        Raises:
            BadInput: it cannot be found or read.
        """
        return read_object(self._file("config.json"))

    def index(self) -> dict[str, JsonValue] | None:
        """``model_index.json``, which says what a pipeline of several models is made of; None where there is none.

        Raises:
            BadInput: it holds no object.
        """
        path = self._find("model_index.json")
        return None if path is None else read_object(path)

    def tokenizer(self) -> "Tokenizer":
        """Its ``tokenizer.json``, which adds the special tokens itself; no padding, no truncation.

        Raises:
            BadInput: there is none, or it is broken.
        """
        from tokenizers import Tokenizer

        path = self._file("tokenizer.json")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises no other
            raise BadInput(f"{path}: not a readable tokenizer: {first_line(error)}") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return tokenizer

    def tensors(self) -> dict[str, "torch.Tensor"]:
        """The wanted tensors by name, in float32.

        Raises:
            BadInput: there are no weights, or a file of theirs is broken.
        """
        tensors: dict[str, torch.Tensor] = {}
        for path in self._weight_files():
            if path.suffix != ".json":
                with reading(self, str(path)):
                    tensors |= _tensors(path, self.wanted)
        return tensors

    def commit(self) -> str:
        """The hub's commit, or for a folder the digest of the files that decide what it computes."""
        if self.folder is None:
            return self._file("config.json").parent.name  # .../snapshots/<commit>/config.json
        folder = self.folder
        files = [[str(path.relative_to(folder)), file_sha256(path)] for path in self.local_files()]
        return "sha256:" + digest(files)

    def local_files(self) -> list[Path]:
        """The files that decide what it computes: weights, configuration, tokenizer; of the hub, those in the cache.

        Nothing is downloaded, and torch is not imported.
        """
        try:
            weights = self._weight_files(download=False)
        except BadInput:
            weights = []
        others = {name: self._find(name, download=False) for name in ("config.json", "tokenizer.json")}
        files = [*weights, *(path for path in others.values() if path is not None)]
        place = self.folder or (files[-1].parent if files else None)
        patterns = [*self.beside, *(() if others["tokenizer.json"] else _VOCABULARIES)]
        more = (sorted(place.glob(pattern)) for pattern in patterns) if place is not None else ()
        return list(dict.fromkeys([*files, *(path for paths in more for path in paths)]))

    def has(self, name: str) -> bool:
        """Whether it has a file of this name.

        Raises:
            BadInput: the hub cannot be asked.
        """
        return self._find(name) is not None

    def optional(self, name: str) -> dict[str, JsonValue]:
        """A JSON object that it may have; empty where it has none.

        Raises:
            BadInput: it cannot be read.
        """
        path = self._find(name)
        return {} if path is None else read_object(path)

    def _weight_files(self, *, download: bool = True) -> list[Path]:
        """The files that hold the wanted weights, their index first if they have one."""
        for name in _WEIGHTS:
            path = self._find(name, download=download)
            if path is None:
                continue
            if path.suffix != ".json":
                return [path]
            places = read_object(path).get("weight_map")
            if not isinstance(places, dict) or not all(_is_file_name(place) for place in places.values()):
                raise BadInput(
                    f"{path}: needs weight_map, which says of each tensor in which file beside it it is"
                )
            shards = sorted({str(places[key]) for key in places if key.startswith(self.wanted)})
            shard_files = [
                self._file(shard) if download else self._find(shard, download=False) for shard in shards
            ]
            return [path, *(shard for shard in shard_files if shard is not None)]
        hint = "" if self.folder is not None else f"; {hub_hint()}"
        raise BadInput(
            f"{self.label}: no weights; expected model.safetensors, its index, or pytorch_model.bin{hint}"
        )

    def _file(self, name: str) -> Path:
        if self.folder is not None:
            path = self._find(name)
            if path is None:
                raise BadInput(f"{self.folder / name}: no such file; copy the checkpoint's {name} there")
            return path
        from huggingface_hub import hf_hub_download

        with reading(self, name):
            return Path(hf_hub_download(self.hub, name, revision=self.revision))

    def _find(self, name: str, *, download: bool = True) -> Path | None:
        """A file of the checkpoint, or None where it has none (or, without network, the cache)."""
        if self.folder is not None:
            path = self.folder / name
            return path if os.path.isfile(path) else None
        import huggingface_hub
        from huggingface_hub.errors import EntryNotFoundError

        if not download:
            cached = huggingface_hub.try_to_load_from_cache(self.hub, name, revision=self.revision)
            return Path(cached) if isinstance(cached, str) else None
        try:
            with reading(self, name):
                return Path(huggingface_hub.hf_hub_download(self.hub, name, revision=self.revision))
        except BadInput as error:
            if isinstance(error.__cause__, EntryNotFoundError):
                return None
            raise


def find_source(
    label: str,
    name: str,
    *,
    revision: str | None = None,
    wanted: tuple[str, ...] = ("",),
    beside: tuple[str, ...] = (),
) -> Source:
    """The checkpoint that a user named: a folder (``~`` and ``${NAME}`` are expanded), else a repository of the hub.

    Raises:
        BadInput: it is neither.
    """
    path = expand_path(name)
    if os.path.isdir(path):
        return Source(label, Path(os.path.realpath(path)), wanted=wanted, beside=beside)
    if os.path.exists(path) or not _HUB_NAME.fullmatch(name):
        what = "is a file" if os.path.isfile(path) else "no such folder, and not a name of the hub"
        raise BadInput(
            f"{label}: {what}; name a folder with config.json, weights and tokenizer.json, or a repository of the hub"
        )
    return Source(label, None, name, revision, wanted, beside)


HUB_WAIT = 5.0
"""Seconds in which the hub must answer a first call."""
HUB_KNOWN = 60.0
"""Seconds for which an answer, or its lack, is believed."""


@functools.lru_cache(maxsize=1)
def _hub_answers(endpoint: str, _when: int) -> bool:
    parts = urllib.parse.urlsplit(endpoint)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((parts.hostname or endpoint, port), timeout=HUB_WAIT).close()
    except OSError:
        return False
    return True


def hub_answers() -> bool:
    """Whether the hub can be reached; behind a proxy nobody can tell, and it is taken to be."""
    from huggingface_hub import constants

    if urllib.request.getproxies().keys() & {"https", "http", "all"}:
        return True
    return _hub_answers(constants.ENDPOINT, int(time.monotonic() // HUB_KNOWN))


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Where the hub cannot be reached, its client reads its cache alone; by itself it would try for half a minute first."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE or hub_answers():
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = False


@contextlib.contextmanager
def reading(source: Source, what: str) -> Iterator[None]:
    """Turn what the hub and the readers of files raise about ``what`` into one line that says what to do."""
    try:
        with at_once() if source.folder is None else contextlib.nullcontext():
            yield
    except BadInput:
        raise
    except Exception as error:  # the hub's client and the readers of damaged files raise of every kind
        if source.folder is not None:
            raise BadInput(f"{what}: cannot read: {first_line(error)}") from error
        if not _told_offline() and not hub_answers():
            raise BadInput(
                f"{source.label}: no such folder, {what} is not in the local cache, and the hub cannot be reached; "
                f"{hub_hint()}"
            ) from error
        raise BadInput(f"{source.label}: cannot load {what} ({first_line(error)}); {hub_hint()}") from error


def pick_device(device: str) -> str:
    """``auto`` -> cuda where there is one, else cpu; another name is tried out.

    Raises:
        BadInput: this machine has no such device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if torch.device(device).type == "meta":
            raise RuntimeError("it computes nothing")
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise BadInput(
            f"device {device}: cannot be used here ({first_line(error).rstrip('.')}); known: auto, cpu, cuda, cuda:1 ..."
        ) from error
    return device


def _told_offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def hub_hint() -> str:
    """What to do when a repository of the hub cannot be read."""
    if _told_offline():
        return "HF_HUB_OFFLINE is set and the file is not in the local cache: unset it once, or name a folder"
    return "check the name and the network, or name a folder that holds the checkpoint"


def first_line(error: BaseException) -> str:
    """The first line of what an exception says."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _is_file_name(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and not {"/", "\\", "\0"} & set(value)


def _tensors(path: Path, wanted: tuple[str, ...]) -> dict[str, "torch.Tensor"]:
    import torch

    if path.suffix == ".bin":
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # written before torch 1.6: cannot be mapped
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(loaded, dict):
            raise ValueError(f"holds a {type(loaded).__name__}, not tensors by name")
    else:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            loaded = {name: file.get_tensor(name) for name in file.keys() if name.startswith(wanted)}  # noqa: SIM118
    # Whole numbers, such as positions, are no weights; of quantised ones it is said that they are missing.
    return {
        name: tensor.float()
        for name, tensor in loaded.items()
        if str(name).startswith(wanted) and isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    }
