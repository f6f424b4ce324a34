"""What other libraries' files of an SAE hold, before anything is made of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import JsonValue
from torch import Tensor

from moodlens.core import BadInput
from moodlens.sae.model import Activation

Library = Literal["saelens", "hypothesaes", "dictionary_learning", "sparsify", "latentsae"]
LIBRARIES: tuple[Library, ...] = get_args(Library)
InputScale = Literal["raw", "unit"]
"""What rows an SAE takes: as the encoder gives them, or of norm 1."""


@dataclass(frozen=True)
class Parts:
    """An SAE as a library's files hold it.

    Attributes:
        W_enc: (d_in, d_sae).
        W_dec: (d_sae, d_in).
        b_enc: (d_sae,).
        b_dec: (d_in,), taken off before encoding and added after decoding.
        activation: of ours.
        threshold: (d_sae,), for ``jumprelu``.
        k: for ``topk``.
        scale: what rows it takes.
        notes: what to know of it.
    """

    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor
    b_dec: Tensor
    activation: Activation = "relu"
    threshold: Tensor | None = None
    k: int | None = None
    scale: InputScale = "raw"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Files:
    """What a library wrote: its configuration and its tensors.

    Attributes:
        place: what errors name.
        config: as it is written.
        tensors: by name, as they are stored.
    """

    place: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    def tensor(self, name: str, *shape: int) -> Tensor:
        """A tensor in float32, checked.

        Raises:
            BadInput: it is missing, of another shape (where one is given), quantised, or not finite.
        """
        if name not in self.tensors:
            listed = ", ".join(sorted(self.tensors)[:8])
            raise BadInput(f"{self.place}: holds no {name} (it holds {listed}); is it another library's?")
        stored = self.tensors[name].detach()
        if stored.ndim and not stored.is_floating_point():  # whole numbers of a scale that nobody reads
            raise BadInput(
                f"{self.place}: {name} is of {stored.dtype}, not of floating-point numbers; save it as such"
            )
        tensor = stored.float()
        if shape and tuple(tensor.shape) != shape:
            raise BadInput(f"{self.place}: {name} has shape {tuple(tensor.shape)}; expected {shape}")
        if not bool(tensor.isfinite().all()):
            raise BadInput(f"{self.place}: {name} holds NaN or infinity; copy the SAE again")
        return tensor

    def matrix(self, name: str) -> tuple[Tensor, int, int]:
        """A matrix and its sides.

        Raises:
            BadInput: it is none, or empty.
        """
        tensor = self.tensor(name)
        if tensor.ndim != 2 or not tensor.numel():
            raise BadInput(f"{self.place}: {name} has shape {tuple(tensor.shape)}; expected a matrix")
        return tensor, tensor.shape[0], tensor.shape[1]

    def sized(self, config: Mapping[str, JsonValue], **sides: int) -> None:
        """Hold the sides of the weights against what the configuration says of them, if it does.

        Raises:
            BadInput: it says another, so that it belongs to another SAE.
        """
        for name, side in sides.items():
            stated = config.get(name)
            if stated not in (None, 0, side):
                raise BadInput(
                    f"{self.place}: its {name} is {side}, its configuration says {stated!r}: another SAE's"
                )

    def only(self, *names: str) -> None:
        """Refuse tensors that nobody reads: they would change what the SAE computes.

        Raises:
            BadInput: there is another.
        """
        others = sorted(set(self.tensors) - set(names))
        if others:
            raise BadInput(f"{self.place}: holds {', '.join(others)}, which this SAE cannot have here")

    def number(self, name: str, of: Mapping[str, JsonValue] | None = None) -> int:
        """A positive whole number of the configuration.

        Raises:
            BadInput: it is missing or another.
        """
        value = (self.config if of is None else of).get(name)
        if type(value) is not int or value < 1:
            raise BadInput(f"{self.place}: {name} is {value!r}; expected a whole number from 1")
        return value


Read = Callable[[Files], Parts]
