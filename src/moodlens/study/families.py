"""Families: the few features of one emotion as one direction, which is read and which is added.

One sparse feature covers some of an emotion's words; a weighted sum of up to ten covers more. Texts are read along the
directions that steer, the decoder's rows: an encoder column also subtracts what its neighbours explain in the rows that
it was trained on, which on the text of another writer is noise (docs/statistics.md has the figures).
"""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from moodlens.study.record import Part, Record

if TYPE_CHECKING:
    import polars as pl


class Family(Part):
    """The features of one emotion, best first; none if the emotion has no emotion feature."""

    emotion: str
    features: tuple[int, ...] = Field(default=(), description="numbers, best first")
    weights: tuple[float, ...] = Field(
        default=(), description="how much of each feature's decoder row is added up; together 1"
    )

    def direction(self, W_dec: np.ndarray) -> np.ndarray:
        """What the family is read along and what it adds to an embedding: its decoder rows at their weights.

        ``(d_sae, d_in)`` -> ``(d_in,)`` float64, zeros if empty. Its length means nothing: a weight of 1 is shared
        out. :meth:`typical_size` says how far it is usually gone.
        """
        return np.array(self.weights) @ W_dec[list(self.features)].astype(np.float64)

    def typical_size(self, W_dec: np.ndarray, codes: np.ndarray) -> float:
        """How far the members usually go along :meth:`direction`: the mean over the rows in which any of them fires.

        Members rarely fire together, so this is less than the sum of their typical activations.

        Args:
            W_dec: ``(d_sae, d_in)``.
            codes: ``(n, d_sae)`` activations, usually of the emotion's own train + val rows.

        Returns:
            Embedding units; 0 where no member fires.
        """
        members = list(self.features)
        added = codes[:, members]
        added = added[(added > 0).any(axis=1)]
        direction = self.direction(W_dec)
        norm = float(np.linalg.norm(direction))
        if not len(added) or norm == 0:
            return 0.0
        return float(added.mean(axis=0, dtype=np.float64) @ (W_dec[members] @ (direction / norm)))


class Families(Record):
    """One family per emotion, in the order of the study's emotions."""

    file: ClassVar[str] = "families.json"
    stage: ClassVar[str] = "features"

    families: tuple[Family, ...]

    def __getitem__(self, name: str) -> Family:
        """The family of an emotion."""
        return self.families[self.emotions.index(name)]

    @property
    def emotions(self) -> tuple[str, ...]:
        """Names of the emotions, the columns of :meth:`scores`."""
        return tuple(family.emotion for family in self.families)

    def directions(self, W_dec: np.ndarray) -> np.ndarray:
        """Of every family, ``(n_emotions, d_in)`` float64; zeros for an empty one."""
        return np.stack([family.direction(W_dec) for family in self.families])

    def scores(self, codes: np.ndarray) -> np.ndarray:
        """Weighted sums of activations: how much of a family's direction its active members add.

        codes (n, d_sae) -> (n, n_emotions) float32; 0 for an empty family.
        """
        out = np.zeros((len(codes), len(self.families)), dtype=np.float32)
        for c, family in enumerate(self.families):
            if family.features:
                out[:, c] = codes[:, list(family.features)] @ np.array(family.weights, dtype=np.float32)
        return out

    def on_members(self) -> "tuple[np.ndarray, Families]":
        """All members ``(m,)`` int, rising, and the families on arrays that hold the columns of these alone."""
        members = np.unique([feature for family in self.families for feature in family.features]).astype(int)
        place = {feature: i for i, feature in enumerate(members.tolist())}
        families = tuple(
            family.model_copy(update={"features": tuple(place[f] for f in family.features)})
            for family in self.families
        )
        return members, Families(families=families)

    def annotate(self, table: "pl.DataFrame") -> "pl.DataFrame":
        """``table`` with family_rank (1 is first) and family_weight filled in, null outside the families."""
        import polars as pl

        rank: list[int | None] = [None] * len(table)
        weight: list[float | None] = [None] * len(table)
        for family in self.families:
            for place, (feature, value) in enumerate(zip(family.features, family.weights, strict=True)):
                rank[feature], weight[feature] = place + 1, value
        return table.with_columns(
            pl.Series("family_rank", rank, dtype=pl.Int64),
            pl.Series("family_weight", weight, dtype=pl.Float64),
        )
