"""What a file tells of a feature that nobody claims: its strongest texts and how it fires, for thousands at once."""

import numpy as np

from moodlens.explore.explored import Explored, short, shorts
from moodlens.explore.feature_records import FeaturePage, Histogram, Shown

BINS = 12


class Briefs:
    """Test texts, seen feature by feature."""

    def __init__(self, explored: Explored):
        study = explored.study
        self._test = explored.test
        self._rows = study.rows[explored.test]
        self._codes = explored.codes.tocsr()[explored.test].tocsc()
        self._lean = [None if e is None else study.emotions.index(e) for e in explored.column("emotion")]
        self._size = np.bincount(self._rows.label[self._rows.label >= 0], minlength=len(study.emotions))

    def page(self, feature: int, n: int) -> FeaturePage:
        """The same numbers as :func:`moodlens.explore.feature.feature_page`, of ``n`` texts and fewer bins."""
        part = slice(self._codes.indptr[feature], self._codes.indptr[feature + 1])
        place, value = self._codes.indices[part], self._codes.data[part]
        best = np.lexsort((place, -value))[:n]
        lean = self._lean[feature]
        n_emotion = 0 if lean is None else int(self._size[lean])
        return FeaturePage(
            feature=feature,
            n_rows=len(self._rows),
            n_active=len(place),
            n_emotion=n_emotion,
            n_missed=n_emotion - int((self._rows.label[place] == lean).sum()) if lean is not None else 0,
            histogram=self._histogram(place, value),
            top=tuple(
                Shown(row=int(self._test[place[i]]), activation=short(float(value[i])) or 0.0) for i in best
            ),
        )

    def _histogram(self, place: np.ndarray, value: np.ndarray) -> Histogram:
        if not len(value):
            return Histogram(edges=[], counts={}, silent=len(self._rows))
        edges = np.linspace(0, float(value.max()) * (1 + 1e-6), BINS + 1)
        bins = np.minimum((value / edges[-1] * BINS).astype(int), BINS - 1)
        label = self._rows.label[place]
        names = [*enumerate(self._rows.emotions), (None, "")]
        masks = {name: (label < 0) if c is None else (label == c) for c, name in names}
        return Histogram(
            edges=shorts(edges, 3),
            counts={
                name: np.bincount(bins[own], minlength=BINS).tolist()
                for name, own in masks.items()
                if own.any()
            },
            silent=len(self._rows) - len(value),
        )
