"""What reads an emotion in an embedding, each in its own way: families, single features, dense directions.

A *method* gives a row a score for every emotion. So that a token, a sentence and a prompt can be compared, scores are
standardised by train + val rows, never by the texts that are scored.

``family`` and ``top_feature`` read along the directions that steer (:meth:`Family.direction`; the decoder row of the
family's first member), ``family_active`` and ``top_feature_active`` what passes the SAE's threshold there.
``family_gated`` is the family, but what speaks for an emotion in sentences that deny speaks against it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from moodlens.core import BadInput
from moodlens.core.maps import blocks
from moodlens.embed.pooling import Pool
from moodlens.settings.validation import ReadingSettings, TextReading
from moodlens.stats.logistic import live_scale
from moodlens.stats.moments import mean_row, wide_blocks
from moodlens.study.families import Families
from moodlens.study.rows import DEV, Rows
from moodlens.validate.denial import Denial
from moodlens.validate.readouts import DenseBaselines

Score = Callable[[np.ndarray], np.ndarray]
"""``(n, d_in)`` raw embeddings -> ``(n, C)``; NaN where an emotion has nothing to be read by."""


@dataclass(frozen=True)
class Method:
    """A score, how it reads texts, and what train + val rows say of both.

    Attributes:
        how: units, pooling and what the score stands against.
        score: of rows.
        centre: ``(d_in,)`` mean of train + val rows.
        length: root mean square distance of train + val rows from it.
        location: ``(C,)`` mean score of train + val rows.
        spread: ``(C,)`` its standard deviation; 1 where they do not differ.
        gate: what denies, for a method that heeds it.
        ceiling: ``(C,)`` mean score of train + val rows of the other emotions; what is above it speaks for an emotion.
    """

    how: TextReading
    score: Score
    centre: np.ndarray
    length: float
    location: np.ndarray
    spread: np.ndarray
    gate: Denial | None = None
    ceiling: np.ndarray | None = None

    @classmethod
    def fitted(cls, score: Score, how: TextReading, x: np.ndarray) -> "Method":
        """Standardised by the rows ``x (n, d_in)``, which are train + val rows."""
        centre, square = mean_row(x), np.empty(len(x))
        for part, block in wide_blocks(x):
            square[part] = np.square(block - centre).sum(axis=1)
        length = float(np.sqrt(square.mean()))
        n_emotions = score(x[:1]).shape[1]
        plain = cls(how, score, centre, length, np.zeros(n_emotions), np.ones(n_emotions))
        values = np.concatenate([plain.read(block) for block in blocks(x)])
        spread = np.nan_to_num(values.std(axis=0))
        return cls(how, score, centre, length, values.mean(axis=0), live_scale(spread))

    def gated(self, gate: Denial, x: np.ndarray, rows: Rows) -> "Method":
        """The same, heeding denials; ``x`` and ``rows`` are the study's, of which train + val rows are read."""
        dev = rows.labelled(*DEV)
        values, label = self.rows(x, dev), rows.label[dev]
        others = (values[label != c, c].mean() if (label != c).any() else 0.0 for c in range(values.shape[1]))
        return replace(self, gate=gate, ceiling=np.array(list(others)))

    def read(self, x: np.ndarray) -> np.ndarray:
        """Standardised scores ``(n, C)`` float64 of rows of any size: prompts, sentences, tokens."""
        if self.how.rows == "unit":
            away = x - self.centre
            norm = np.linalg.norm(away, axis=1, keepdims=True)
            x = self.centre + self.length * np.divide(away, norm, out=np.zeros_like(away), where=norm > 0)
        return (self.score(x).astype(np.float64) - self.location) / self.spread

    def against(self, values: np.ndarray) -> np.ndarray:
        """Scores of texts ``(n, C)``, each less the mean of those of the other emotions, if that is how it reads.

        An emotion that nothing reads is NaN and stands against none.
        """
        known = np.isfinite(values).any(axis=0)
        if self.how.against == "nothing" or known.sum() < 2:
            return values
        out = np.full_like(values, np.nan)
        some = values[:, known]
        out[:, known] = some - (some.sum(axis=1, keepdims=True) - some) / (known.sum() - 1)
        return out

    def settle(self, values: np.ndarray, denied: np.ndarray) -> np.ndarray:
        """Scores of texts ``(n, C)``, of their pooled scores: against the others, and heeding denials.

        ``denied``, ``(n, C)`` or ``(n, 1)`` in 0..1, is how much of each pooled score stands on sentences that deny. Of
        a score that stands above the ceiling, that much of the excess counts the other way: wholly denied, it is as far
        below as it was above.
        """
        values = self.against(values)
        if self.ceiling is None:
            return values
        return values - 2 * denied * np.maximum(values - self.ceiling, 0)

    def rows(self, x: np.ndarray, numbers: np.ndarray | None = None) -> np.ndarray:
        """Scores ``(n, C)`` of texts that are one row of ``x`` each: of the rows ``numbers`` (int, rising; None: of all)."""
        scored = [np.empty((0, len(self.spread)))]
        for block in blocks(x, numbers):
            denied = np.zeros(len(block), dtype=bool) if self.gate is None else self.gate.says(block)
            scored.append(self.settle(self.read(block), denied[:, None]))
        return np.concatenate(scored)


def all_methods(
    families: Families,
    W_dec: np.ndarray,
    encode: Callable[[np.ndarray], np.ndarray],
    baselines: DenseBaselines,
    x: np.ndarray,
    settings: ReadingSettings,
) -> dict[str, Method]:
    """Every method by the name that reports give it.

    Args:
        families: of the study; their first members are the single features.
        W_dec: ``(d_sae, d_in)``.
        encode: ``(n, d_in)`` raw embeddings -> ``(n, m)`` activations of the families' members
            (:meth:`Families.on_members`), in order.
        baselines: difference-in-means and linear probe, fitted on train + val rows.
        x: ``(n, d_in)`` raw embeddings of train + val rows, for the standards.
        settings: how each reads texts.

    Raises:
        BadInput: the families and the baselines are of other emotions.
    """
    if families.emotions != baselines.emotions:
        raise BadInput(f"families are of {families.emotions}, the dense baselines of {baselines.emotions}")
    empty = np.array([not family.features for family in families.families])
    first = families.model_copy(
        update={
            "families": tuple(
                family.model_copy(update={"features": family.features[:1], "weights": (1.0,) * (not none)})
                for family, none in zip(families.families, empty, strict=True)
            )
        }
    )

    def along(directions: np.ndarray) -> Score:
        directions = np.where(empty[:, None], np.nan, directions).T
        # About the mean, so that no digits are lost where embeddings are far from zero.
        return lambda rows: (rows - baselines.mean) @ directions

    def active(chosen: Families) -> Score:
        members, few = chosen.on_members()
        place = np.searchsorted(families.on_members()[0], members)
        return lambda rows: np.where(empty, np.nan, few.scores(encode(rows)[:, place]))

    given: dict[str, tuple[Score, TextReading]] = {
        "family": (along(families.directions(W_dec)), settings.family),
        "top_feature": (along(first.directions(W_dec)), settings.top_feature),
        "family_active": (active(families), settings.active),
        "top_feature_active": (active(first), settings.active),
        "difference_in_means": (baselines.means, settings.difference_in_means),
        "linear_probe": (baselines.probe, settings.linear_probe),
    }
    return {name: Method.fitted(score, how, x) for name, (score, how) in given.items()}


class Reading:
    """Texts on their way through every method, a block of sentences at a time.

    Args:
        methods: by name.
        n: texts.
    """

    def __init__(self, methods: dict[str, Method], n: int):
        self._methods = methods
        self._pools = {name: Pool(method.how.pool, n, len(method.spread)) for name, method in methods.items()}

    def wants(self, units: str) -> bool:
        """Whether a method scores such units."""
        return any(method.how.units == units for method in self._methods.values())

    def denied(self, x: np.ndarray) -> np.ndarray:
        """Which of the rows ``x (n, d_in)`` (sentences, whole texts) deny something, ``(n,)`` bool, if any method asks."""
        gate = next((method.gate for method in self._methods.values() if method.gate is not None), None)
        return np.zeros(len(x), dtype=bool) if gate is None else gate.says(x)

    def add(self, units: str, x: np.ndarray, owner: np.ndarray, denied: np.ndarray) -> None:
        """Take in ``x (t, d_in)``, ``units`` of the texts ``owner (t,)``, which never decreases.

        ``denied (t,)``: whether the sentence, or the text, that each is of denies something.
        """
        for name, method in self._methods.items():
            if method.how.units == units:
                self._pools[name].add(method.read(x), owner, denied)

    def scores(self) -> dict[str, np.ndarray]:
        """``(n, C)`` of every method."""
        return {
            name: method.settle(self._pools[name].result(), self._pools[name].part())
            for name, method in self._methods.items()
        }
