"""The dense baselines: what they are by definition, and what they survive."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from moodlens.core import BadInput
from moodlens.validate.baselines import DenseBaselines

EMOTIONS = ("a", "b", "c")


def _rows(n=120, d=6, neutral=True, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4 - 1 if neutral else np.arange(n) % 3
    x = rng.normal(size=(n, d)) + 5
    x[labels >= 0] += 2 * np.eye(d)[labels[labels >= 0]]
    return x, labels


def test_directions_are_differences_of_means_with_neutral_rows_among_the_others():
    x, labels = _rows()
    fit = DenseBaselines.fit(x, labels, EMOTIONS, 0)
    np.testing.assert_allclose(fit.directions[1], x[labels == 1].mean(axis=0) - x[labels != 1].mean(axis=0))
    scores = fit.scores(x)["difference_in_means"]
    unit = fit.directions[1] / np.linalg.norm(fit.directions[1])
    np.testing.assert_allclose(scores[:, 1], (x - x.mean(axis=0)) @ unit)


def test_the_probe_is_sklearns_on_standardised_rows():
    x, labels = _rows()
    fit = DenseBaselines.fit(x, labels, EMOTIONS, 0)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    model = LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced").fit(z, labels % 4)
    p = model.predict_proba(z)[:, 1]
    np.testing.assert_allclose(fit.scores(x)["linear_probe"][:, 1], np.log(p / (1 - p)), atol=1e-2)


def test_two_emotions_without_neutral_rows_mirror_each_other():
    x, labels = _rows(neutral=False)
    keep = labels < 2
    scores = DenseBaselines.fit(x[keep], labels[keep], ("a", "b"), 0).scores(x)["linear_probe"]
    np.testing.assert_allclose(scores[:, 0], -scores[:, 1], atol=1e-9)


def test_a_dimension_of_rounding_noise_is_left_alone():
    x, labels = _rows()
    dead = np.concatenate([x, 1e-33 * np.random.default_rng(1).normal(size=(len(x), 1))], axis=1)
    fit = DenseBaselines.fit(dead, labels, EMOTIONS, 0)
    assert np.abs(fit.probe_weights).max() < 100
    other = dead.copy()
    other[:, -1] = 1e-9  # another machine rounds otherwise
    np.testing.assert_allclose(fit.scores(other)["linear_probe"], fit.scores(dead)["linear_probe"], atol=1e-4)


def test_bad_input_is_named():
    x, labels = _rows()
    with pytest.raises(BadInput, match="'c'"):
        DenseBaselines.fit(x, np.where(labels == 2, -1, labels), EMOTIONS, 0)
    with pytest.raises(BadInput, match="another encoder"):
        DenseBaselines.fit(x, labels, EMOTIONS, 0).scores(x[:, :3])
