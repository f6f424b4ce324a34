"""Families: the few features of one emotion, read together as one score and added together as one direction.

One sparse feature covers some of an emotion's words; a weighted sum of up to ten covers more. Each
activation is divided by its typical size on train + val first, so that no feature leads by scale.
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
        default=(),
        description="of each scaled activation; they add up to 1 unless logistic regression gave them",
    )
    scales: tuple[float, ...] = Field(
        default=(),
        description="mean activation over the train + val rows in which it fires (embedding units)",
    )

    @property
    def amounts(self) -> np.ndarray:
        """How much of each feature :meth:`direction` adds, ``(j,)`` embedding units."""
        return np.array(self.weights) * np.array(self.scales)

    def direction(self, W_dec: np.ndarray) -> np.ndarray:
        """What the family adds to an embedding: its decoder rows at their weights and typical activations.

        ``(d_sae, d_in)`` -> ``(d_in,)`` float64, zeros if empty. As Concept Steerers (arXiv:2501.19066) decode a
        concept's own codes: what the features usually add together. Its length means nothing: a weight of 1 is shared
        out. :meth:`typical_size` says how far it is usually gone.
        """
        return self.amounts @ W_dec[list(self.features)].astype(np.float64)

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

    def reader(self, W_enc: np.ndarray) -> np.ndarray:
        """What :meth:`Families.scores` of pre-activations reads, but for a constant: ``x @ reader``.

        ``(d_in, d_sae)`` -> ``(d_in,)`` float64, zeros if empty.
        """
        size = np.array(self.weights) / np.array(self.scales)
        return W_enc[:, list(self.features)].astype(np.float64) @ size


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

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Weighted sums of scaled activations or pre-activations.

        values (n, d_sae) -> (n, n_emotions) float32; 0 for an empty family.
        """
        out = np.zeros((len(values), len(self.families)), dtype=np.float32)
        for c, family in enumerate(self.families):
            if family.features:
                weight = np.array(family.weights, dtype=np.float32) / np.array(family.scales, np.float32)
                out[:, c] = values[:, list(family.features)] @ weight
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
