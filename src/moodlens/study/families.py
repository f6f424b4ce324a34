"""Families: the few features of one emotion, read together as one score.

One sparse feature covers some of an emotion's words; a weighted sum of up to ten covers more. Each
activation is divided by its typical size on train + val first, so that no feature leads by scale.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput
from moodlens.settings.features import FeatureSettings
from moodlens.stats.ranks import activity, auroc, firing_rates, selectivity

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Family:
    """The features of one emotion, best first."""

    emotion: str
    features: tuple[int, ...]
    weights: tuple[float, ...]
    """Weight of each scaled activation; sums to 1 unless fitted by logistic regression."""
    scales: tuple[float, ...]
    """Mean activation of each feature over the train + val rows in which it fires."""

    def direction(self, W_dec: np.ndarray) -> np.ndarray:
        """What the family adds to an embedding: its decoder rows at their weights and typical activations.

        ``(d_sae, d_in)`` -> ``(d_in,)`` float64, zeros if empty. As Concept Steerers (arXiv:2501.19066) decode a
        concept's own codes: what the features usually add together.
        """
        size = np.array(self.weights) * np.array(self.scales)
        return size @ W_dec[list(self.features)].astype(np.float64)

    def reader(self, W_enc: np.ndarray) -> np.ndarray:
        """What :meth:`Families.scores` of pre-activations reads, but for a constant: ``x @ reader``.

        ``(d_in, d_sae)`` -> ``(d_in,)`` float64, zeros if empty.
        """
        size = np.array(self.weights) / np.array(self.scales)
        return W_enc[:, list(self.features)].astype(np.float64) @ size


@dataclass(frozen=True)
class Families:
    """One family per emotion, in the order of the study's emotions. A family may be empty."""

    families: tuple[Family, ...]

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

    def apart(self) -> "tuple[np.ndarray, Families]":
        """All members ``(m,)`` int, rising, and families whose features are places among these."""
        members = np.unique([feature for family in self.families for feature in family.features]).astype(int)
        place = {feature: i for i, feature in enumerate(members.tolist())}
        few = (replace(one, features=tuple(place[f] for f in one.features)) for one in self.families)
        return members, Families(tuple(few))

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

    def to_json(self) -> dict[str, Any]:
        """A JSON-able form that :meth:`from_json` reads back."""
        return {"families": [asdict(family) for family in self.families]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Families":
        """Read what :meth:`to_json` wrote.

        Raises:
            BadInput: it is something else.
        """
        try:
            return cls(
                tuple(
                    Family(
                        str(item["emotion"]),
                        tuple(int(f) for f in item["features"]),
                        tuple(float(w) for w in item["weights"]),
                        tuple(float(s) for s in item["scales"]),
                    )
                    for item in value["families"]
                )
            )
        except (KeyError, TypeError) as error:
            raise BadInput(f"families.json: not a list of families: {error}") from error


def families(
    table: "pl.DataFrame",
    codes: np.ndarray,
    labels: np.ndarray,
    emotions: tuple[str, ...],
    rows: np.ndarray | slice,
    settings: FeatureSettings,
) -> Families:
    """Gather the emotion features of each emotion into a family.

    Members are emotion features, best on train + val first (their standing on test decides only whether they are
    emotion features). Best is the lead, AUROC - 1/2, with neutral rows among the negatives; or, by default, the
    lead times the log of the selectivity: how many texts a feature reaches, times the evidence that one firing is,
    as in naive Bayes. Where ``table`` has a ``stability`` column, features below
    ``settings.min_stability`` stay out.

    Args:
        table: one row per feature, from :func:`select_features`.
        codes: (n, d_sae) activations.
        labels: (n,) int, -1 for neutral. Neutral rows count among the negatives.
        rows: (n,) bool, (m,) int or a slice, the train + val rows from which scales and weights are taken.
        settings: size, weights and stability of the families.
    """
    import polars as pl

    mine, own = codes[rows], np.asarray(labels)[rows]
    candidates = table.filter(pl.col("emotion_feature"))
    if settings.min_stability > 0 and "stability" in table.columns:
        candidates = candidates.filter(pl.col("stability") >= settings.min_stability)
    out = []
    for c, name in enumerate(emotions):
        pool = candidates.filter(pl.col("emotion") == name)["feature"].to_numpy()
        if not len(pool):
            out.append(Family(name, (), (), ()))
            continue
        lead, merit = (each[c] for each in merits(mine[:, pool], own, len(emotions), settings))
        kept = np.argsort(-merit, kind="stable")[: settings.family_size]
        # Alone, a feature is worth what it reaches: the first of a family is the one with the largest lead.
        kept = kept[np.argsort(-lead[kept], kind="stable")]
        members, merit = pool[kept], merit[kept]
        size = activity(mine[:, members])[1]
        scales = np.where(size > 0, size, 1.0)
        scaled = mine[:, members] / scales
        weights = weigh(merit, own == c, lambda scaled=scaled: scaled, settings)
        out.append(Family(name, *(tuple(a.tolist()) for a in (members, weights, scales))))
    return Families(tuple(out))


def merits(
    codes: np.ndarray, labels: np.ndarray, n_emotions: int, settings: FeatureSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Lead and merit of every feature for every emotion, ``(C, d)`` each; see :func:`families`.

    Args:
        codes: (n, d) activations of train + val rows.
        labels: (n,) int, -1 for neutral: among the negatives of the lead, left out of the selectivity.
        n_emotions: how many emotions there are.
        settings: ``family_weights``.
    """
    lead = auroc(codes, labels, n_emotions, neutral_as_negative=True) - 0.5
    merit = np.maximum(lead, 0.0)
    if settings.family_weights == "evidence":
        merit *= np.log(np.maximum(selectivity(firing_rates(codes, labels, n_emotions)), 1.0))
    return lead, merit


def weigh(
    merit: np.ndarray, own: np.ndarray, scaled: Callable[[], np.ndarray], settings: FeatureSettings
) -> np.ndarray:
    """Weights of the members of a family, ``(k,)``.

    Args:
        merit: (k,) of :func:`merits`.
        own: (n,) bool, train + val rows of the emotion.
        scaled: gives the members' scaled activations (n, k) in these rows; asked for logistic regression alone.
        settings: ``family_weights``.
    """
    if settings.family_weights == "logistic":
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(class_weight="balanced", max_iter=1000)
        return model.fit(scaled(), own).coef_[0].astype(np.float64)
    weights = np.ones(len(merit)) if settings.family_weights == "equal" else merit
    if not weights.sum():
        weights = np.ones(len(merit))
    return weights / weights.sum()
