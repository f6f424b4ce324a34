"""The field's metrics of dictionaries, for emotions: what others would ask of this SAE.

- k-sparse probing: Gurnee et al. 2023, arXiv:2305.01610; SAEBench's ``sparse_probing``.
- Targeted probe perturbation (TPP) and spurious correlation removal (SCR): Karvonen et al. 2025, SAEBench,
  arXiv:2503.09532; SCR after SHIFT (Marks et al. 2024, arXiv:2403.19647).
- Feature absorption: Chanin et al. 2024, arXiv:2409.14507; here the parent is the emotion, the child what it is about.

Everything is fitted on train + val rows and judged on test rows. Ablation keeps the SAE's error: a removed feature takes
its activation times its decoder row off the embedding. Features are attributed to a probe by mean activation difference
times the probe's reading of the decoder row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from moodlens.core.maps import blocks
from moodlens.settings.validation import MetricSettings
from moodlens.stats.contrast import unit_rows
from moodlens.stats.logistic import fit_many, live_scale
from moodlens.stats.moments import products
from moodlens.stats.ranks import auroc, firings
from moodlens.study.coded import Coded
from moodlens.study.records.metrics import Absorption, DictionaryMetrics, KSparse, Perturbation, Removal
from moodlens.study.rows import DEV

L2 = 1 / 30
"""Inverse strength of the probes, on standardised columns."""
ALONG = 0.025
"""Decoder cosine with the probe from which on a feature may have absorbed (Chanin et al. 2024)."""
MOST = 0.4
"""Share of the probe's reading that the absorbing feature holds (SAEBench)."""
LEAST_ROWS = 10
"""Rows of each cell of a spurious task."""


@dataclass(frozen=True)
class Probes:
    """One linear probe for each of C labellings; above 0 is a yes."""

    weights: np.ndarray
    """(C, d)"""
    bias: np.ndarray
    """(C,)"""

    @classmethod
    def fit(cls, x: np.ndarray, labels: np.ndarray) -> "Probes":
        """Logistic regressions of ``labels`` (C, n) 0 or 1 on ``x (n, d)``; the cut is where both sides err alike."""
        mean, scale = x.mean(axis=0), live_scale(x.std(axis=0))
        weights, _ = fit_many((x - mean) / scale, labels, 2, c=L2)
        weights = (weights[:, 1] - weights[:, 0]) / scale
        score = x @ weights.T
        middle = [(s[y == 1].mean() + s[y == 0].mean()) / 2 for s, y in zip(score.T, labels, strict=True)]
        return cls(weights, -np.array(middle))

    def scores(self, x: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """(n, C), of the rows ``rows`` (int, rising; None: all) of ``x``."""
        return products(x, self.weights, rows=rows) + self.bias


@dataclass(frozen=True)
class Field:
    """A study's labelled rows as the metrics see them; probes on embeddings are fitted once for all dictionaries."""

    coded: Coded
    fit: np.ndarray
    """Numbers of the rows that fit and choose."""
    judge: np.ndarray
    """Numbers of the test rows."""
    factors: Mapping[str, np.ndarray]
    """Column -> (n_rows,) objects, None where unknown."""
    settings: MetricSettings
    probes: Probes

    @classmethod
    def of(
        cls, coded: Coded, factors: Mapping[str, np.ndarray], settings: MetricSettings, *, seed: int
    ) -> "Field | None":
        """None where an emotion has no labelled row to fit or to judge on."""
        rows = coded.rows
        fit, judge = rows.labelled(*DEV), rows.labelled("test")
        if any(len(np.unique(rows.label[part])) < rows.n_emotions for part in (fit, judge)):
            return None
        if len(fit) > settings.max_rows:
            fit = np.sort(np.random.default_rng(seed).choice(fit, settings.max_rows, replace=False))
        probes = Probes.fit(coded.x[fit].astype(np.float64), _each(rows.label[fit], rows.n_emotions))
        return cls(coded, fit, judge, factors, settings, probes)

    @property
    def n_emotions(self) -> int:
        """How many emotions there are."""
        return self.coded.rows.n_emotions

    def dense(self) -> KSparse:
        """The probe on the embedding itself."""
        scores = self.probes.scores(self.coded.x, self.judge)
        return self._k_sparse(self.coded.x.shape[1], scores)

    def _k_sparse(self, k: int, scores: np.ndarray) -> KSparse:
        rows = self.coded.rows
        aurocs = np.diagonal(auroc(scores, rows.label[self.judge], self.n_emotions)).tolist()
        known = [value for value in aurocs if np.isfinite(value)]
        return KSparse(
            k=k,
            auroc=float(np.mean(known)) if known else None,
            per_emotion=dict(zip(rows.emotions, aurocs, strict=True)),
        )

    def measure(self, name: str, codes: np.ndarray, W_dec: np.ndarray) -> DictionaryMetrics:
        """All metrics of one dictionary.

        Args:
            name: of the dictionary.
            codes: (n_rows, d) activations; only the rows of ``fit`` and ``judge`` are read.
            W_dec: (d, d_in) decoder rows.
        """
        label = self.coded.rows.label
        fitted = codes[self.fit]
        hot = _each(label[self.fit], self.n_emotions).astype(np.float64)
        inside = hot @ fitted / hot.sum(axis=1, keepdims=True)
        outside = (1 - hot) @ fitted / (1 - hot).sum(axis=1, keepdims=True)
        differs = inside - outside
        return DictionaryMetrics(
            name=name,
            n_features=codes.shape[1],
            active=float(firings(codes, self.judge).sum() / (len(self.judge) * codes.shape[1])),
            k_sparse=tuple(self._sparse(k, differs, fitted, codes) for k in self.settings.k),
            perturbation=self._perturbation(differs, codes, W_dec),
            removal=self._removal(codes, W_dec),
            absorption=self._absorption(differs, codes, W_dec),
        )

    def _sparse(self, k: int, differs: np.ndarray, fitted: np.ndarray, codes: np.ndarray) -> KSparse:
        scores = np.zeros((len(self.judge), self.n_emotions))
        labels = _each(self.coded.rows.label[self.fit], self.n_emotions)
        for c in range(self.n_emotions):
            chosen = np.argsort(-np.abs(differs[c]), kind="stable")[:k]
            probe = Probes.fit(fitted[:, chosen].astype(np.float64), labels[[c]])
            scores[:, c] = probe.scores(codes[np.ix_(self.judge, chosen)])[:, 0]
        return self._k_sparse(k, scores)

    def _perturbation(self, differs: np.ndarray, codes: np.ndarray, W_dec: np.ndarray) -> Perturbation:
        label = self.coded.rows.label[self.judge]
        before = self.probes.scores(self.coded.x, self.judge)
        reads = W_dec @ self.probes.weights.T
        start = [_balanced(before[:, c], label == c) for c in range(self.n_emotions)]
        own, others = [], []
        for c in range(self.n_emotions):
            chosen = np.argsort(-differs[c] * reads[:, c], kind="stable")[: self.settings.n_removed]
            after = before - codes[np.ix_(self.judge, chosen)] @ reads[chosen]
            fell = [start[e] - _balanced(after[:, e], label == e) for e in range(self.n_emotions)]
            own.append(fell.pop(c))
            others += fell
        return Perturbation(
            n_features=self.settings.n_removed,
            own=float(np.mean(own)),
            others=float(np.mean(others)),
            score=float(np.mean(own) - np.mean(others)),
        )

    def _removal(self, codes: np.ndarray, W_dec: np.ndarray) -> Removal:
        results = [
            self._misled(codes, W_dec, pair, self.factors[factor], values)
            for factor in self.factors
            for values in [_frequent(self.factors[factor][self.fit])]
            if values is not None
            for pair in combinations(range(self.n_emotions), 2)
        ]
        known = np.array([result for result in results if result is not None]).reshape(-1, 3)
        misled, removed, honest = known.mean(axis=0).tolist() if len(known) else (None, None, None)
        score = None
        if misled is not None and honest is not None and removed is not None and honest - misled > 0.01:
            score = (removed - misled) / (honest - misled)
        return Removal(
            n_tasks=len(known),
            n_features=self.settings.n_removed,
            misled=misled,
            removed=removed,
            honest=honest,
            score=score,
        )

    def _misled(
        self,
        codes: np.ndarray,
        W_dec: np.ndarray,
        pair: tuple[int, int],
        values: np.ndarray,
        two: tuple[str, str],
    ) -> tuple[float, float, float] | None:
        """Balanced accuracy of one misled probe, of the same without the factor's features, and of an honest one."""
        label, x = self.coded.rows.label, self.coded.x
        cells = {
            (part, e, v): numbers[(label[numbers] == pair[e]) & (values[numbers] == two[v])]
            for part, numbers in (("fit", self.fit), ("judge", self.judge))
            for e in (0, 1)
            for v in (0, 1)
        }
        if min(map(len, cells.values())) < LEAST_ROWS:
            return None
        n = min(len(cells["fit", e, v]) for e in (0, 1) for v in (0, 1))
        same = np.concatenate([cells["fit", 0, 0][:n], cells["fit", 1, 1][:n]])
        every = np.concatenate([cells["fit", e, v][: n // 2] for e in (0, 1) for v in (0, 1)])
        judge = np.concatenate([cells["judge", e, v] for e in (0, 1) for v in (0, 1)])
        misled, honest = (
            Probes.fit(x[part].astype(np.float64), (label[part] == pair[0])[None].astype(int))
            for part in (same, every)
        )
        # What the factor fires, whatever the emotion.
        of_value = [np.concatenate([cells["fit", 0, v], cells["fit", 1, v]]) for v in (0, 1)]
        differs = codes[of_value[0]].mean(axis=0) - codes[of_value[1]].mean(axis=0)
        reads = W_dec @ misled.weights[0]
        chosen = np.argsort(-differs * reads, kind="stable")[: self.settings.n_removed]
        truth = label[judge] == pair[0]
        before = misled.scores(x, judge)[:, 0]
        after = before - codes[np.ix_(judge, chosen)] @ reads[chosen]
        # The probe's cut moves with what was taken off, by what the rows that fitted it lost.
        after = after + (codes[np.ix_(same, chosen)] @ reads[chosen]).mean()
        return tuple(_balanced(score, truth) for score in (before, after, honest.scores(x, judge)[:, 0]))  # type: ignore[return-value]

    def _absorption(self, differs: np.ndarray, codes: np.ndarray, W_dec: np.ndarray) -> Absorption:
        label = self.coded.rows.label[self.judge]
        scores = self.probes.scores(self.coded.x, self.judge)
        along = unit_rows(W_dec) @ unit_rows(self.probes.weights).T
        reads = W_dec @ self.probes.weights.T
        n_rows = n_silent = n_absorbed = 0
        for c in range(self.n_emotions):
            main = np.argsort(-differs[c], kind="stable")[: self.settings.n_main]
            for right in blocks(codes, self.judge[(label == c) & (scores[:, c] > 0)]):
                silent = right[~(right[:, main] > 0).any(axis=1)]
                holds = np.maximum(silent * reads[:, c], 0)
                total, best = holds.sum(axis=1), holds.argmax(axis=1)
                largest = holds[np.arange(len(silent)), best]
                n_absorbed += int(((largest > MOST * total) & (along[best, c] >= ALONG)).sum())
                n_rows += len(right)
                n_silent += len(silent)
        return Absorption(
            n_main=self.settings.n_main,
            n_rows=n_rows,
            silent=n_silent / n_rows if n_rows else None,
            absorbed=n_absorbed / n_rows if n_rows else None,
        )


def _each(label: np.ndarray, n_emotions: int) -> np.ndarray:
    """(C, n) 1 where a row is of the emotion."""
    return (label == np.arange(n_emotions)[:, None]).astype(np.int64)


def _balanced(score: np.ndarray, truth: np.ndarray) -> float:
    return float(((score[truth] > 0).mean() + (score[~truth] <= 0).mean()) / 2)


def _frequent(values: np.ndarray) -> tuple[str, str] | None:
    """The two most frequent values of a factor; None with fewer."""
    known = np.array([value for value in values if value is not None], dtype=object).astype(str)
    names, counts = np.unique(known, return_counts=True)
    if len(names) < 2:
        return None
    first, second = names[np.argsort(-counts, kind="stable")[:2]].tolist()
    return first, second
