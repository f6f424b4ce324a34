"""``st:NAME``: a checkpoint of sentence-transformers, with the pooling, layers and norm that it names.

Most are a transformer, a pooling and perhaps a norm. These are read token by token, like every other encoder here: long
texts in parts, words told apart. That it gives the same rows as the library is checked on loading; whatever else a
checkpoint is made of is run by the library, whole texts at a time.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from moodlens.core import BadInput
from moodlens.embed.checkpoint import Checkpoint, Functional, Pooling
from moodlens.embed.packed import Weights
from moodlens.embed.padded import Padded, has_folder, quiet
from moodlens.embed.sources import Source, reading

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
_PROBES = ["a calm song", "loud, happy drums under a lonely voice", "1"]
_APART = 1e-4
"""Relative difference from the library's rows past which its own path is taken."""


def load(source: Source, pooling: Pooling | None = None) -> Checkpoint | Functional:
    """The checkpoint as the library reads it.

    Raises:
        BadInput: the library is not installed, or it cannot be loaded.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise BadInput(
            f"{source.label}: needs sentence-transformers; pip install 'moodlens[encoders]'"
        ) from error
    folder = has_folder(source)
    if not (folder / "modules.json").is_file():
        raise BadInput(
            f"{source.label}: no modules.json, so it does not say how it pools; use hf:NAME and encoder.pooling"
        )

    def open_model(dtype: torch.dtype, device: str) -> "SentenceTransformer":
        with quiet(), reading(source, f"{source.name}: modules.json"):
            return SentenceTransformer(
                str(folder),
                device=device,
                trust_remote_code=False,
                local_files_only=True,
                model_kwargs={"torch_dtype": dtype},
            ).eval()

    model = open_model(torch.float32, "cpu")
    made = _by_token(source, model, open_model)
    if made is None or not _agrees(made, model):
        made = _by_text(source, model)
    if pooling not in (None, made.pooling):
        raise BadInput(
            f"{source.label}: its pooling is {made.pooling}; leave encoder.pooling out, or use hf:NAME to pool by {pooling}"
        )
    return made


def _by_token(
    source: Source,
    model: "SentenceTransformer",
    open_model: "Callable[[torch.dtype, str], SentenceTransformer]",
) -> Checkpoint | None:
    """The checkpoint in the tokens that it reads, if it is a transformer with a simple pooling; else None."""
    names = [type(module).__name__ for module in model]
    if names[:2] != ["Transformer", "Pooling"] or model.default_prompt_name is not None:
        return None
    first: Any = model[0]
    second: Any = model[1]
    pooling = _POOLINGS.get(str(second.get_config_dict().get("pooling_mode")))
    backend = getattr(first.tokenizer, "backend_tokenizer", None)
    if pooling is None or backend is None or getattr(first, "do_lower_case", False):
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    unit = names[-1] == "Normalize"
    layers: list[Any] = list(model)[2 : -1 if unit else None]

    def head(states: torch.Tensor) -> torch.Tensor:
        features: dict[str, Any] = {"sentence_embedding": states}
        for layer in layers:
            features = layer(features)
        return features["sentence_embedding"].float()

    def build(weights: Weights) -> Padded:
        opened: Any = open_model(weights.dtype, str(weights.device))[0]
        inner = opened.auto_model
        if getattr(inner.config, "is_encoder_decoder", False) and hasattr(inner, "get_decoder"):
            inner = inner.get_encoder()
        pad = getattr(opened.tokenizer, "pad_token_id", None) or 0
        words = inner.get_input_embeddings().weight
        return Padded(inner.requires_grad_(False), words, opened.get_embedding_dimension(), pad)

    longest = first.max_seq_length
    return Checkpoint(
        build,
        {},
        tokenizer,
        source.commit(),
        int(longest) if longest else 512,
        longest=int(longest) if longest else None,
        pooling=pooling,
        unit=unit,
        head=head if layers else None,
    )


def _agrees(made: Checkpoint, model: "SentenceTransformer") -> bool:
    """Whether the rows of a few texts are the library's."""
    from moodlens.embed.encoder import TokenEncoder

    pooled = TokenEncoder("st", made, max_length=None, long_texts="parts", dtype="float32", device="cpu")
    ours, theirs = pooled.encode(_PROBES), model.encode(_PROBES, show_progress_bar=False)
    if ours.shape != theirs.shape:  # the checkpoint says truncate_dim
        return False
    return bool(np.abs(ours - theirs).max() <= _APART * np.abs(theirs).max())


def _by_text(source: Source, model: "SentenceTransformer") -> Functional:
    """The checkpoint as the library runs it."""

    def rows(texts: list[str]) -> np.ndarray:
        return np.asarray(model.encode(texts, show_progress_bar=False, convert_to_numpy=True))

    def count(texts: list[str]) -> list[int]:
        return [len(ids) for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"]]

    tokenizer: Any = getattr(model, "tokenizer", None)
    counts = callable(tokenizer) and hasattr(tokenizer, "model_max_length")
    longest = model.max_seq_length if counts else None
    prompt = model.prompts.get(model.default_prompt_name or "")
    if longest is not None and prompt:  # the library puts it before each text, within the same length
        asked, nothing = count([prompt, ""])
        longest = max(1, longest - asked + nothing)
    return Functional(
        rows,
        revision=source.commit(),
        # Rows that are cut to truncate_dim have lost their norm.
        unit=type(list(model)[-1]).__name__ == "Normalize" and model.truncate_dim is None,
        max_length=longest,
        count=count if counts else None,
    )
