"""How a training went, epoch by epoch: history.jsonl."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from moodlens.core import BadInput, atomic_write, read_text


class Epoch(BaseModel):
    """One pass over the training rows and what validation said after it; losses are of standardised rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    """From 0."""
    step: int
    """Batches so far."""
    loss: float
    explained_variance: float | None
    """Of the training rows, as the epoch went; null where the rows do not vary."""
    l0: float
    val_loss: float
    val_explained_variance: float | None
    val_l0: float
    dead: int
    """Features that are silent for as long as the settings say (count)."""
    reborn: int
    """Of them, aimed anew (count)."""
    learning_rate: float
    sparsity: float
    """Of the last batch: the coefficient of l1, k of the others."""


OnEpoch = Callable[[Epoch], None]


def jsonl_writer(path: Path | str) -> OnEpoch:
    """A callback for ``train(on_epoch=...)`` that appends each epoch to ``path`` as it ends."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(entry: Epoch) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))

    return write


def write_history(path: Path | str, history: Iterable[Epoch]) -> None:
    """Write the whole history at once, whole or not at all: one JSON object a line."""
    with atomic_write(path) as tmp:
        tmp.write_text("".join(map(_line, history)), encoding="utf-8")


def _line(entry: Epoch) -> str:
    return entry.model_dump_json() + "\n"


def read_history(path: Path | str) -> list[Epoch]:
    """Read what :func:`write_history` or :func:`jsonl_writer` wrote.

    Raises:
        BadInput: the file is missing, or a line is not an epoch.
    """
    entries = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            entries.append(Epoch.model_validate(json.loads(line)))
        except (json.JSONDecodeError, RecursionError) as error:
            raise BadInput(f"{path}: line {number} is not valid JSON") from error
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise BadInput(
                f"{path}: line {number} is not an epoch: {where or 'the line'}: {error.errors()[0]['msg']}"
            ) from error
    return entries
