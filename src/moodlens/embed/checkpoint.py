"""A text encoder as it was read, before it is put to work."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from moodlens.core import BadInput

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from moodlens.embed.packed import Model, Weights

Pooling = Literal["mean", "cls", "last"]
"""What one row is made of: the mean over all real tokens, the first or the last token's state."""


@dataclass(frozen=True)
class Checkpoint:
    """A text encoder as it was read.

    Attributes:
        build: makes the model of its weights.
        tensors: by name, float32.
        tokenizer: without padding and truncation.
        revision: the hub's commit, or a digest of the files.
        max_length: tokens that it reads at once, special ones included, unless the user says otherwise.
        longest: most tokens it can read at all; None: any number.
        pooling: how token states become a row.
        unit: whether its rows have norm 1.
        head: what is made of pooled states, (n, d) -> (n, d_out) float32, before the norm; None: nothing.
    """

    build: "Callable[[Weights], Model]"
    tensors: "Mapping[str, torch.Tensor]"
    tokenizer: "Tokenizer"
    revision: str
    max_length: int
    longest: int | None = None
    pooling: Pooling = "mean"
    unit: bool = False
    head: "Callable[[torch.Tensor], torch.Tensor] | None" = None


def stated_pooling(label: str, native: Pooling, stated: Pooling | None) -> None:
    """Refuse a pooling that an encoder does not have.

    Raises:
        BadInput: another was asked for.
    """
    if stated not in (None, native):
        raise BadInput(
            f"{label}: its pooling is {native}; leave encoder.pooling out, or use hf:NAME to pool by {stated}"
        )


@dataclass(frozen=True)
class Functional:
    """An encoder that is a function of texts.

    Attributes:
        function: some texts -> their rows, (n, d_in).
        revision: what changes when its results do.
        pooling: what info says.
        unit: whether its rows have norm 1.
        max_length: of what it reads at once; None: any.
        count: lengths of texts in tokens; None: they are counted in characters.
        settle: given all texts before any is embedded.
        told: what there is to say of what was done.
        brought: whether others wrote the function: what it raises is then told as a fault of the input.
    """

    function: "Callable[[list[str]], Any]"
    revision: str
    pooling: str = "own"
    unit: bool = False
    max_length: int | None = None
    count: Callable[[list[str]], list[int]] | None = None
    settle: "Callable[[Sequence[str]], None] | None" = None
    told: Callable[[], str] | None = None
    brought: bool = False
