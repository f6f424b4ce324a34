"""Training history on disk: one JSON object a line."""

import json
from pathlib import Path
from typing import Any

from moodlens.core import BadInput, atomic_write, plain
from moodlens.sae.training import OnEpoch


def jsonl_writer(path: Path | str) -> OnEpoch:
    """A callback for ``train(on_epoch=...)`` that appends each epoch to ``path`` as it ends."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(entry: dict[str, Any]) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(entry), allow_nan=False) + "\n")

    return write


def write_history(path: Path | str, history: list[dict[str, Any]]) -> None:
    """Write the whole history at once, whole or not at all."""
    with atomic_write(path) as tmp:
        tmp.write_text(
            "".join(json.dumps(plain(entry), allow_nan=False) + "\n" for entry in history), encoding="utf-8"
        )


def read_history(path: Path | str) -> list[dict[str, Any]]:
    """Read what :func:`write_history` or :func:`jsonl_writer` wrote.

    Raises:
        BadInput: the file is missing or a line is not JSON.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInput(f"{path}: cannot read: {error.strerror}") from error
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise BadInput(f"{path}: line {number} is not valid JSON") from error
    return entries
