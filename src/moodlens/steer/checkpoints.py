"""What loading a checkpoint by name or folder has in common: its tokenizer, its revision, errors in one line."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodlens.core import BadInput, digest, file_sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@contextlib.contextmanager
def loading(kind: str, name: str) -> Iterator[None]:
    """Turn what the hub and the file readers raise into one line, and keep transformers off the terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except BadInput:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        if Path(name).is_dir():
            raise BadInput(f"{kind} {name}: cannot load this folder: {why}") from error
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        hint = (
            "HF_HUB_OFFLINE is set and the model is not in the local cache; unset it once to download, or name a folder"
            if offline
            else "check the name and the network, or name a folder that holds the checkpoint"
        )
        raise BadInput(f"{kind} {name}: cannot load ({why}); {hint}") from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def load_tokenizer(name: str, revision: str | None) -> "Tokenizer":
    """The checkpoint's ``tokenizer.json``, which appends the special tokens itself; no padding, no truncation.

    Raises:
        BadInput: there is none.
    """
    from tokenizers import Tokenizer
    from transformers.utils.hub import cached_file

    if Path(name).is_dir():
        path: str | None = str(Path(name) / "tokenizer.json")
    else:
        path = cached_file(name, "tokenizer.json", revision=revision or "main")
    if path is None or not Path(path).is_file():
        raise BadInput(f"{name}: has no tokenizer.json; copy the checkpoint's there")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def revision_of(name: str, config: Any) -> str:
    """The hub's commit, or for a folder the digest of its weight files."""
    commit = getattr(config, "_commit_hash", None)
    if commit:
        return str(commit)
    files = sorted(path for path in Path(name).iterdir() if path.suffix in (".safetensors", ".bin"))
    return "sha256:" + digest([[path.name, file_sha256(path)] for path in files])


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
        why = str(error).splitlines()[0].rstrip(".")
        raise BadInput(
            f"device {device}: cannot be used here ({why}); known: auto, cpu, cuda, cuda:1 ..."
        ) from error
    return device
