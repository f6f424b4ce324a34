"""Does what the study calls an emotion agree with people? Readings of words beside rated valence and arousal.

Russell (1980), "A circumplex model of affect", puts emotions in a plane of valence and arousal. People's ratings of single
words (Warriner et al. 2013; Scott et al. 2019, the Glasgow Norms) know nothing of music, of our prompts or of our features.
"""

from dataclasses import dataclass

import numpy as np

from moodlens.prompts.stems import content_stems
from moodlens.stats.resample import bootstrap_weights
from moodlens.stats.ridge import Ridge
from moodlens.stats.units import dense_codes
from moodlens.study.records.norms import Correlation

FORMS = ("{}", "{} music", "a {} song")
"""What a rated word is put into: alone it is read like no prompt, and in one form by what that form adds."""
MOST_WORDS = 3
"""Texts of more words are read as they are."""
POSITIONS = {
    "happy": (1.0, 1.0),
    "sad": (-1.0, -0.5),
    "calm": (0.5, -0.5),
    "energetic": (-0.5, 1.0),
}
"""Emotion -> weight in the axes of valence and arousal: the four quadrants of music emotion, half as much for those that
are nearer to the middle. The weights of arousal do not add up to 0: what people rate low is what leaves them cold."""
N_FOLDS = 5
N_PERMUTATIONS = 200
N_RESAMPLES = 1000


def forms_of(text: str) -> tuple[str, ...]:
    """The texts that are read for a rated one."""
    return tuple(form.format(text) for form in FORMS) if len(text.split()) <= MOST_WORDS else (text,)


def word_group(text: str) -> str:
    """What keeps words of one root together: "bank (river)" and "banks" are one group."""
    stems = content_stems(text.split("(")[0] or text)
    return " ".join(sorted(stems)) or text


@dataclass(frozen=True)
class Ratings:
    """Ratings of n texts on one scale, and what their correlations stand on."""

    values: np.ndarray
    """(n,)"""
    group: np.ndarray
    """(n,) int codes."""
    dealt: np.ndarray
    """(n, permutations) the ratings dealt anew among groups of one size."""
    weights: np.ndarray
    """(resamples, n) how often each text is drawn."""

    @classmethod
    def of(cls, values: np.ndarray, group: np.ndarray, seed: int) -> "Ratings":
        """values (n,) finite; group (n,) of any type."""
        codes, _ = dense_codes(group)
        rng = np.random.default_rng([seed, 0x4E0])
        order = np.argsort(codes, kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(codes[order]) > 0])
        sizes = np.diff(np.r_[starts, len(order)])
        dealt = np.empty((len(values), N_PERMUTATIONS))
        for size in np.unique(sizes):
            blocks = order[starts[sizes == size][:, None] + np.arange(size)]
            for b in range(N_PERMUTATIONS):
                dealt[blocks, b] = values[blocks[rng.permutation(len(blocks))]]
        weights = bootstrap_weights(group, N_RESAMPLES, seed)[:, codes]
        return cls(values, codes, dealt, weights)

    def correlation(self, reading: np.ndarray, dealt: np.ndarray | None = None) -> Correlation:
        """Of a reading (n,); ``dealt (n, permutations)`` are readings that were fitted on the dealt ratings."""
        own, rated = _ranks(reading), _ranks(self.values)
        if np.ptp(own) == 0 or np.ptp(rated) == 0:
            return Correlation(spearman=None, pearson=None, ci=None, control=None)
        drawn = _weighted(own, rated, self.weights)
        null = [
            abs(_pearson(own if dealt is None else _ranks(dealt[:, b]), _ranks(self.dealt[:, b])))
            for b in range(self.dealt.shape[1] if dealt is None else dealt.shape[1])
        ]
        low, high = np.quantile(drawn[np.isfinite(drawn)], (0.025, 0.975))
        return Correlation(
            spearman=_pearson(own, rated),
            pearson=_pearson(reading, self.values),
            ci=(float(low), float(high)),
            control=float(np.quantile(null, 0.95)),
        )

    def fitted(self, readings: np.ndarray, seed: int, n_null: int = 50) -> Correlation:
        """Of ridge regression on ``readings (n, k)``, each group predicted by a fit on the others."""
        wanted = np.column_stack([self.values, self.dealt[:, :n_null]])
        told = cross_predicted(readings, wanted, self.group, seed)
        return self.correlation(told[:, 0], told[:, 1:])


def cross_predicted(z: np.ndarray, y: np.ndarray, group: np.ndarray, seed: int) -> np.ndarray:
    """``(n, m)``: of every column of ``y (n, m)``, ridge predictions from ``z (n, k)`` by fits without the row's group."""
    n_groups = int(group.max()) + 1
    fold = np.random.default_rng([seed, 0xF01D]).permutation(n_groups)[group] % min(N_FOLDS, n_groups)
    out = np.full(y.shape, np.nan)
    for own in np.unique(fold):
        held = fold == own
        fit = Ridge.of(z[~held], y[~held])
        out[held] = fit.predict(z[held])
    return out


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(values)


def _pearson(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    below = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b / below) if below > 0 else 0.0


def _weighted(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Correlations of a and b (n,) in resamples ``weights (r, n)``; ranks are those of all texts."""
    total = weights.sum(axis=1)
    a, b = a - a.mean(), b - b.mean()
    mean_a, mean_b = weights @ a / total, weights @ b / total
    cov = weights @ (a * b) / total - mean_a * mean_b
    var = (weights @ a**2 / total - mean_a**2) * (weights @ b**2 / total - mean_b**2)
    return np.divide(cov, np.sqrt(np.maximum(var, 0)), out=np.full(len(cov), np.nan), where=var > 0)
