"""An SAE's view of a study: its codes beside the rows and embeddings they came from."""

from dataclasses import dataclass

import numpy as np

from moodlens.core.errors import BadInput
from moodlens.study.rows import Rows


@dataclass(frozen=True, eq=False)
class Coded:
    """Rows with their embeddings and codes: row i of each is the same text, code f goes with row f of the decoder."""

    rows: Rows
    x: np.ndarray
    """(n, d_in) raw embeddings."""
    codes: np.ndarray
    """(n, d_sae) activations."""
    W_dec: np.ndarray
    """(d_sae, d_in) decoder rows, raw embedding units."""

    def __post_init__(self) -> None:
        n, (d_sae, d_in) = len(self.rows), self.W_dec.shape
        if self.x.shape != (n, d_in) or self.codes.shape != (n, d_sae):
            raise BadInput(
                f"{n} rows, embeddings {self.x.shape}, codes {self.codes.shape} and decoder {self.W_dec.shape} "
                "do not belong together"
            )
