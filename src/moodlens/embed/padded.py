"""The general path: any text model of transformers, run as it is, in batches that are padded.

It is slower than the packed models, and knows every architecture that transformers knows. Code from a checkpoint is
never run, and a checkpoint that lacks a weight is refused: transformers would fill it with random numbers.
"""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from pydantic import JsonValue
from torch.nn.utils.rnn import pad_sequence

from moodlens.core import BadInput
from moodlens.embed.checkpoint import Checkpoint, Pooling
from moodlens.embed.packed import Weights
from moodlens.embed.sources import Source, first_line, reading

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNUSED = ("pooler.",)
"""What a checkpoint may lack: token states do not depend on it."""
MAX_LENGTH = 512
"""Tokens read at once, where neither the tokenizer nor the configuration names fewer."""
ENDLESS = 1_000_000
"""Tokens; what transformers writes for "any number" is more."""
BEHIND_PADDING = {
    "camembert", "data2vec-text", "esm", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm",
    "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
"""Types of models whose positions begin behind the padding's, so that as many of them are never used."""
_PROBED = (3, 7)
"""Tokens of two texts that show whether the shorter one's states depend on its padding."""
_APART = {torch.float32: 1e-4, torch.bfloat16: 0.02}
"""Relative difference past which they do; what rounding leaves is far less."""


class Padded:
    """A model of transformers over packed texts; see :class:`moodlens.embed.packed.Model`.

    Some models read their padding (a Fourier transform or a convolution over the tokens, without a mask): a text's row would
    depend on those beside it. These are given one text at a time.

    Raises:
        BadInput: the model cannot be run on texts.
    """

    def __init__(self, model: torch.nn.Module, words: torch.Tensor, d_in: int, pad: int):
        self._model, self.words, self.d_in, self._pad = model, words, d_in, pad
        self._alone = False
        self._alone = self._reads_padding()

    def __call__(self, ids: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        """Last hidden states of the real tokens, (sum of lengths, d_in)."""
        parts = list(ids.split(lengths))
        if self._alone and len(parts) > 1:
            return torch.cat([self(part, [len(part)]) for part in parts])
        padded = pad_sequence(parts, batch_first=True, padding_value=self._pad)
        place = torch.arange(padded.shape[1], device=ids.device)
        mask = place[None, :] < torch.tensor(lengths, device=ids.device)[:, None]
        states = self._model(input_ids=padded, attention_mask=mask.long()).last_hidden_state
        return states[mask]

    def _reads_padding(self) -> bool:
        """Whether the states of a text change where a longer one stands beside it."""
        words = [word for word in range(min(len(self.words), 99)) if word != self._pad] or [0]
        ids = torch.tensor([words[i % len(words)] for i in range(sum(_PROBED))], device=self.words.device)
        short = _PROBED[0]
        try:
            with torch.inference_mode():
                alone, beside = self(ids[:short], [short]), self(ids, list(_PROBED))[:short]
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise BadInput(
                f"{type(self._model).__name__} cannot be run on texts: {first_line(error)}"
            ) from error
        return bool((alone - beside).abs().max() > _APART.get(alone.dtype, 1e-4) * alone.abs().max())


def load_general(
    source: Source,
    *,
    pooling: Pooling,
    kind: Any = None,
    model_types: tuple[str, ...] | None = None,
    max_length: int | None = None,
    changes: Mapping[str, JsonValue] = MappingProxyType({}),
) -> Checkpoint:
    """A checkpoint that transformers reads.

    Args:
        source: a folder or a repository of the hub.
        pooling: of its token states.
        kind: the class of transformers; None: what its configuration says.
        model_types: the only ones that will do; None: all.
        max_length: tokens read at once; None: what the tokenizer and the configuration say, 512 at most.
        changes: to its configuration.

    Raises:
        BadInput: it cannot be loaded, is of another type, or lacks a weight.
    """
    import transformers

    place, revision = pinned(source)
    with quiet(), reading(source, f"{source.name}: config.json"):
        config = transformers.AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
    if model_types is not None and config.model_type not in model_types:
        raise BadInput(
            f"{source.label}: its model_type is {config.model_type!r}; expected {' or '.join(model_types)}"
        )
    for name, value in changes.items():
        setattr(config, name, value)
    kind = kind or _kind(config)
    tokenizer, stated_length = load_tokenizer(source)
    text = getattr(config, "encoder", None) or config.get_text_config()
    pad = getattr(text, "pad_token_id", None) or 0
    positions = getattr(text, "max_position_embeddings", None)
    if positions is not None and config.model_type in BEHIND_PADDING:
        positions -= pad + 1
    longest = min((n for n in (stated_length, positions) if n is not None and n > 0), default=None)

    def build(weights: Weights) -> Padded:
        model = load_model(source, kind, config, weights.dtype).to(weights.device)
        encoder = (
            model.get_encoder() if config.is_encoder_decoder and hasattr(model, "get_decoder") else model
        )
        words = model.get_input_embeddings().weight
        width = getattr(text, "hidden_size", None) or words.shape[1]
        return Padded(encoder, words, width, pad)

    return Checkpoint(
        build,
        {},
        tokenizer,
        source.commit(),
        min(max_length or MAX_LENGTH, longest or MAX_LENGTH),
        longest=longest,
        pooling=pooling,
    )


def load_model(source: Source, kind: Any, config: Any, dtype: torch.dtype) -> Any:
    """The model, ready to read.

    Raises:
        BadInput: it cannot be loaded or lacks a weight.
    """
    place, revision = pinned(source)
    with quiet(), reading(source, f"{source.name}: weights"):
        model, loading = kind.from_pretrained(
            place,
            config=config,
            dtype=dtype,
            revision=revision,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # said below, with all that is lacking
        )
    lacking = sorted(name for name in loading["missing_keys"] if not name.startswith(UNUSED))
    unlike = sorted(str(name[0]) for name in loading.get("mismatched_keys", ()))
    if lacking or unlike:
        names = ", ".join([*lacking, *unlike][:3])
        raise BadInput(
            f"{source.label}: {len(lacking) + len(unlike)} weights are missing or of another shape ({names}): "
            "these are not the weights of its config.json"
        )
    return model.eval().requires_grad_(False)


def load_tokenizer(source: Source) -> "tuple[Tokenizer, int | None]":
    """What transformers makes of its files, and the tokens that they say are read at once.

    ``tokenizer_config.json`` may say otherwise than ``tokenizer.json`` (of case, accents, the tokens around a text), and then
    transformers believes it; only without it is ``tokenizer.json`` taken as it stands.

    Raises:
        BadInput: there is none that the tokenizers library runs.
    """
    config = source.optional("tokenizer_config.json")
    stated = config.get("model_max_length")
    longest = stated if type(stated) is int and 0 < stated < ENDLESS else None
    if not config and source.has("tokenizer.json"):
        return source.tokenizer(), longest
    import transformers
    from tokenizers import Tokenizer

    place, revision = pinned(source)
    with quiet(), reading(source, f"{source.name}: tokenizer"):
        loaded = transformers.AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)
        backend = getattr(loaded, "backend_tokenizer", None)
        if backend is None:
            raise BadInput(f"{source.label}: its tokenizer has no tokenizer.json; convert it to one")
        tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer, longest


def pinned(source: Source) -> tuple[str, str | None]:
    """What transformers is told to load: a folder, or a repository at the commit that was resolved first."""
    if source.folder is not None:
        return str(source.folder), None
    return source.hub, source.commit()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the bars and warnings with which transformers loads."""
    from transformers.utils import logging as transformers_logging

    before, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(before)
        if bars:
            transformers_logging.enable_progress_bar()


def has_folder(source: Source) -> Path:
    """The folder that holds all of a checkpoint; a repository of the hub is fetched at its pinned commit.

    Raises:
        BadInput: it cannot be fetched.
    """
    if source.folder is not None:
        return source.folder
    from huggingface_hub import snapshot_download

    with reading(source, "its files"):
        return Path(
            snapshot_download(
                source.hub,
                revision=source.commit(),
                allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin"],
                ignore_patterns=["onnx/*", "openvino/*", "*.py"],
            )
        )


def _kind(config: Any) -> Any:
    """The class that gives token states and nothing else."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

    encoding = type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
    return transformers.AutoModelForTextEncoding if encoding else transformers.AutoModel
