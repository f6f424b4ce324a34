"""The trivial methods every feature has to stand beside: difference-in-means and a linear probe.

Both read the dense embedding. Published comparisons find them hard to beat (AxBench, Wu et al. 2025,
arXiv:2501.17148; Kantamneni et al. 2025, arXiv:2502.16681), so they are printed next to every SAE figure.
"""

from dataclasses import dataclass

import numpy as np

from moodlens.core import BadInput
from moodlens.stats.contrast import difference_in_means, unit_rows
from moodlens.stats.logistic import live_scale, log_odds
from moodlens.stats.units import check_rows

METHODS = ("difference_in_means", "linear_probe")


@dataclass(frozen=True)
class DenseBaselines:
    """Linear readouts of raw embeddings, one per emotion.

    Attributes:
        emotions: names, C of them.
        mean: ``(d_in,)`` mean of the fitted rows.
        directions: ``(C, d_in)`` mean of the emotion's rows minus mean of all other fitted rows.
        probe_weights: ``(K, d_in)`` of a multinomial logistic regression on raw embeddings; K is C, or C + 1
            where neutral rows were given (the last class).
        probe_bias: ``(K,)``.
    """

    emotions: tuple[str, ...]
    mean: np.ndarray
    directions: np.ndarray
    probe_weights: np.ndarray
    probe_bias: np.ndarray

    @classmethod
    def fit(
        cls,
        x: np.ndarray,
        labels: np.ndarray,
        emotions: tuple[str, ...],
        seed: int,
        *,
        l2_strength: float = 10.0,
        max_rows: int = 20_000,
    ) -> "DenseBaselines":
        """Fit both on the given rows, and nothing else.

        Args:
            x: ``(n, d_in)`` raw embeddings.
            labels: ``(n,)`` index into ``emotions``; -1 is neutral: a negative of every emotion.
            emotions: names in label order; each needs a row.
            seed: of the draw of ``max_rows`` rows for the probe, where there are more.
            l2_strength: of the probe, on standardised embeddings (scikit-learn's 1 / C).

        Raises:
            BadInput: an emotion has no row, only one class is there, or shapes disagree.
        """
        x = np.asarray(x, dtype=np.float64)
        check_rows(len(x), labels=labels)
        labels = np.asarray(labels).astype(np.int64)
        if labels.size == 0 or labels.max() >= len(emotions):
            raise BadInput(
                f"labels: need rows labelled 0..{len(emotions) - 1}, got {np.unique(labels).tolist()}"
            )
        for c, name in enumerate(emotions):
            if not (labels == c).any() or (labels == c).all():
                raise BadInput(f"labels: the baselines need rows with and without emotion {name!r}")
        directions = difference_in_means(x, labels, len(emotions))
        weights, bias = _fit_probe(x, labels, len(emotions), seed, l2_strength, max_rows)
        return cls(tuple(emotions), x.mean(axis=0), directions, weights, bias)

    def scores(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """``{"difference_in_means": (n, C), "linear_probe": (n, C)}``, higher is more of the emotion.

        Difference-in-means is the centred embedding along the unit direction; the probe gives the log-odds of
        the emotion against all other classes.
        """
        x = np.asarray(x, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise BadInput(f"embeddings: expected (n, {len(self.mean)}), got {x.shape}: another encoder?")
        means = (x - self.mean) @ unit_rows(self.directions).T
        logits = x @ self.probe_weights.T + self.probe_bias
        odds = np.stack([log_odds(logits, c) for c in range(len(self.emotions))], axis=1)
        return {"difference_in_means": means, "linear_probe": odds}


def _fit_probe(
    x: np.ndarray, labels: np.ndarray, n_emotions: int, seed: int, l2_strength: float, max_rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression on standardised rows, folded back to raw embeddings."""
    from sklearn.linear_model import LogisticRegression

    if len(x) > max_rows:
        keep = np.sort(np.random.default_rng(seed).choice(len(x), max_rows, replace=False))
        x, labels = x[keep], labels[keep]
    target = np.where(labels < 0, n_emotions, labels)
    mean, std = x.mean(axis=0), x.std(axis=0)
    std = live_scale(std)
    # "balanced" so that many neutral rows do not change what the directions are, only the bias.
    model = LogisticRegression(C=1 / l2_strength, max_iter=1000, class_weight="balanced")
    model.fit((x - mean) / std, target)
    weights, bias = model.coef_, model.intercept_
    if len(model.classes_) == 2:  # scikit-learn keeps one row for two classes
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    weights = weights / std
    return weights, bias - weights @ mean
