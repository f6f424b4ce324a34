"""Loading a checkpoint by name or folder through transformers: errors in one line, and nothing on the terminal."""

import contextlib
import sys
from collections.abc import Iterator

from moodlens.embed.sources import Source, find_source, reading


@contextlib.contextmanager
def loading(kind: str, name: str, revision: str | None = None) -> Iterator[Source]:
    """The checkpoint's place; inside, what the hub and the file readers raise becomes one line.

    Raises:
        BadInput: naming ``kind`` and ``name``, and what to do.
    """
    from transformers.utils import logging

    source = find_source(f"{kind} {name}", name, revision=revision)
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    other = sys.modules.get("diffusers.utils.logging")  # has a switch of its own, if it is there
    shown = other is not None and other.is_progress_bar_enabled()
    if other is not None:
        other.disable_progress_bar()
    try:
        with reading(source, "the model" if source.folder is None else source.label):
            yield source
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
        if other is not None and shown:
            other.enable_progress_bar()
