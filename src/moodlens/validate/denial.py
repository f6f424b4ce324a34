"""Whether a text denies what it names: "not sad" has the word, and its embedding lies among the sad.

Denial can be read in an embedding nearly without error, but along a direction of its own that no emotion's contains: no
family and no difference of means sees it. So it is a gate: learnt once, from the study's own denied prompts beside its
plain ones, and used on texts of any emotion.
"""

from dataclasses import dataclass

import numpy as np

from moodlens.stats.logistic import live_scale
from moodlens.stats.moments import mean_row, products, wide_blocks
from moodlens.stats.resample import drawn_rows
from moodlens.study.rows import DEV, Rows

LEAST = 20
"""Denied train + val rows, and plain ones, below which nothing is learnt."""
L2_STRENGTH = 300.0
"""Of the logistic regression on standardised embeddings (scikit-learn's 1 / C): a few hundred denied rows of a few dozen
wordings must carry to other wordings."""
MOST = 20_000
"""Denied rows, and plain ones, that are fitted on at most, drawn at random."""
OPEN = 0.003
"""Share of plain and neutral train + val rows that the gate takes for denials."""


@dataclass(frozen=True)
class Denial:
    """A direction that denying texts point along, and where the gate opens.

    Attributes:
        direction: ``(d_in,)`` on raw embeddings.
        threshold: what ``x @ direction`` must exceed.
    """

    direction: np.ndarray
    threshold: float

    @classmethod
    def fit(cls, x: np.ndarray, rows: Rows) -> "Denial | None":
        """From train + val rows of kind negation against plain and neutral ones; None where there are too few.

        Args:
            x: ``(n, d_in)`` raw embeddings of ``rows``.
            rows: of the study.
        """
        from sklearn.linear_model import LogisticRegression

        plain, denied = rows.where(*DEV), rows.where(*DEV, kinds=("negation",))
        if min(len(plain), len(denied)) < LEAST:
            return None
        mean, square = mean_row(x, plain), np.zeros(x.shape[1])
        for _, block in wide_blocks(x, plain):
            square += ((block - mean) ** 2).sum(axis=0)
        scale = live_scale(np.sqrt(square / len(plain)))
        fitted = [drawn_rows(numbers, MOST, 0) for numbers in (plain, denied)]
        seen = (x[np.concatenate(fitted)] - mean) / scale
        model = LogisticRegression(C=1 / L2_STRENGTH, class_weight="balanced", max_iter=1000)
        model.fit(seen, np.arange(len(seen)) >= len(fitted[0]))
        direction = model.coef_[0] / scale
        return cls(direction, float(np.quantile(products(x, direction, rows=plain), 1 - OPEN)))

    def says(self, x: np.ndarray) -> np.ndarray:
        """Which rows deny something, ``(n, d_in)`` -> ``(n,)`` bool. Rows are sentences or prompts, not tokens."""
        return x @ self.direction > self.threshold
