"""An unfinished training on disk: written between epochs, whole or not at all, and taken up only by the run it is of.

Random numbers have no state to save: each stream is made anew from seed, purpose and epoch (:func:`moodlens.sae.state.generator`).
"""

import json
import time
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from moodlens.core import BadInput, digest
from moodlens.sae.files import write_tensors
from moodlens.sae.history import Epoch
from moodlens.sae.state import TrainingState

SECONDS = 30.0
"""Least time between two checkpoints."""
_GROUPS = ("parameters", "mean", "square", "best")


class Checkpoint:
    """The file of one run's state.

    Args:
        path: where it lies.
        key: hash of the run's data, settings and seed.
    """

    def __init__(self, path: Path | str, key: str) -> None:
        self.path, self._key, self._saved = Path(path), key, time.monotonic()

    def load(self) -> TrainingState | None:
        """What :meth:`save` wrote; None where there is no file.

        Raises:
            BadInput: the file is damaged, or belongs to other data, settings or another seed.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(str(self.path), framework="pt") as file:
                facts = json.loads((file.metadata() or {}).get("moodlens", "{}"))
            tensors = load_file(self.path)
            sha256 = facts.pop("sha256", None)
            if facts.get("key") != self._key:
                raise BadInput(
                    f"{self.path}: checkpoint of other data, settings or seed; delete it to start anew"
                )
            if sha256 != _content(facts, tensors):
                raise BadInput(
                    f"{self.path}: damaged: its content is not what was written; delete it to start anew"
                )
            groups: dict[str, dict[str, Tensor]] = {group: {} for group in _GROUPS}
            for name, tensor in tensors.items():
                group, _, parameter = name.partition(".")
                if parameter:
                    groups[group][parameter] = tensor
            return TrainingState(
                **groups,
                age=tensors["age"],
                silent=tensors["silent"],
                step=facts["step"],
                epoch=facts["epoch"],
                best_epoch=facts["best_epoch"],
                best_loss=float.fromhex(facts["best_loss"]),
                history=[Epoch(**epoch) for epoch in facts["history"]],
            )
        except (SafetensorError, OSError, json.JSONDecodeError, AttributeError, ValidationError) as error:
            raise BadInput(
                f"{self.path}: not a readable checkpoint, delete it to start anew: {error}"
            ) from error

    def save(self, state: TrainingState) -> None:
        """Write the state.

        Raises:
            BadInput: the folder cannot be written or the disk is full.
        """
        tensors = {name: tensor.contiguous() for name, tensor in tensors_of(state).items()}
        facts = {
            "key": self._key,
            "step": state.step,
            "epoch": state.epoch,
            "best_epoch": state.best_epoch,
            "best_loss": state.best_loss.hex(),
            "history": [epoch.model_dump() for epoch in state.history],
        }
        facts["sha256"] = _content(facts, tensors)
        write_tensors(self.path, tensors, {"moodlens": json.dumps(facts)})
        self._saved = time.monotonic()

    def save_if_due(self, state: TrainingState, *, last: bool) -> None:
        """:meth:`save`, unless that was less than :data:`SECONDS` ago; the ``last`` state of a training always."""
        if last or time.monotonic() - self._saved >= SECONDS:
            self.save(state)


def tensors_of(state: TrainingState) -> dict[str, Tensor]:
    """All tensors of a state, by name; they are the state's own."""
    tensors = {"age": state.age, "silent": state.silent}
    for group in _GROUPS:
        tensors |= {f"{group}.{name}": tensor for name, tensor in getattr(state, group).items()}
    return tensors


def without_tensors(state: TrainingState) -> TrainingState:
    """Counters and history alone, small enough to be sent as an object."""
    return replace(state, **{group: {} for group in _GROUPS}, age=state.age[:0], silent=state.silent[:0])


def _content(facts: object, tensors: dict[str, Tensor]) -> str:
    return digest(facts, *(part for name in sorted(tensors) for part in (name, tensors[name].numpy())))
