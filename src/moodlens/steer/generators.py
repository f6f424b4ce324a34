"""The generators there are, and loading one by hub name or folder: what a checkpoint is, its own files say.

Others are found as entry points of the group ``moodlens.generators``: a class with ``load(name, dtype=, device=, revision=,
d_in=)`` that returns a :class:`~moodlens.steer.generator.Generator`, asked for as ``KIND:NAME``.
"""

import importlib
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from moodlens.core import BadInput
from moodlens.embed.sources import find_source
from moodlens.steer.generator import Generator

GROUP = "moodlens.generators"

GENERATORS = {
    "musicgen": "moodlens.steer.musicgen:MusicGen",
    "musicgen-melody": "moodlens.steer.melody:MusicGenMelody",
    "stable-audio": "moodlens.steer.stable_audio:StableAudio",
    "stable-audio-3": "moodlens.steer.stable_audio:StableAudio3",
}
"""Kind -> class."""

OF_TYPE = {"musicgen": "musicgen", "musicgen_melody": "musicgen-melody"}
"""``model_type`` of a checkpoint of one model -> kind."""

OF_PIPELINE = {"StableAudioPipeline": "stable-audio", "StableAudio3Pipeline": "stable-audio-3"}
"""``_class_name`` of a checkpoint of a diffusers pipeline -> kind."""


def load_generator(
    name: str,
    *,
    dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    device: str = "auto",
    revision: str | None = None,
    d_in: int | None = None,
) -> Generator:
    """Load the generator that ``name`` is.

    Args:
        name: a hub name (``facebook/musicgen-small``, ``stabilityai/stable-audio-open-1.0``), a folder, or
            ``KIND:NAME`` where the kind is to be said.
        d_in: width that its text encoder must have.

    Raises:
        BadInput: it is none, or cannot be loaded.
    """
    kind, checkpoint = kind_of(name, revision)
    return _class(kind).load(checkpoint, dtype=dtype, device=device, revision=revision, d_in=d_in)


def kind_of(name: str, revision: str | None = None) -> tuple[str, str]:
    """Which kind of generator ``name`` is, and the name without it.

    Raises:
        BadInput: no known kind.
    """
    kind, colon, rest = name.partition(":")
    if colon and kind in (*GENERATORS, *_others()):
        return kind, rest
    source = find_source(f"generator {name}", name, revision=revision)
    index = source.index()
    if index is not None:
        generator_kind, what = OF_PIPELINE.get(str(index.get("_class_name"))), f"a {index.get('_class_name')}"
    else:
        model_type = source.config().get("model_type")
        generator_kind, what = OF_TYPE.get(str(model_type)), f"a {model_type} checkpoint"
    if generator_kind is None:
        known = ", ".join((*OF_TYPE, *OF_PIPELINE, *(f"{kind}:NAME" for kind in _others())))
        raise BadInput(f"generator {name}: is {what}; those that can be steered: {known}")
    return generator_kind, name


def _class(kind: str) -> Any:
    where = GENERATORS.get(kind)
    if where is None:
        try:
            return _others()[kind].load()
        except Exception as error:  # somebody else's package
            raise BadInput(f"generator {kind}: its package cannot be loaded: {error}") from error
    module, _, name = where.partition(":")
    return getattr(importlib.import_module(module), name)


def _others() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in GENERATORS}
