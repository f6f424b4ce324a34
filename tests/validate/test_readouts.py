"""The dense readouts: what they are by definition, what they survive, and whom they judge."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from moodlens.core import BadInput
from moodlens.core.labels import UNKNOWN
from moodlens.study.rows import Rows
from moodlens.validate.readouts import DenseBaselines, make_panel

EMOTIONS = ("a", "b", "c")


def _fit(x, labels, emotions=EMOTIONS):
    return DenseBaselines.fit(x, Rows.of(labels, emotions=emotions), 0)


def _rows(n=120, d=6, neutral=True, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4 - 1 if neutral else np.arange(n) % 3
    x = rng.normal(size=(n, d)) + 5
    x[labels >= 0] += 2 * np.eye(d)[labels[labels >= 0]]
    return x, labels


def test_directions_are_differences_of_means_with_neutral_rows_among_the_others():
    x, labels = _rows()
    fit = _fit(x, labels)
    np.testing.assert_allclose(fit.directions[1], x[labels == 1].mean(axis=0) - x[labels != 1].mean(axis=0))
    scores = fit.means(x)
    unit = fit.directions[1] / np.linalg.norm(fit.directions[1])
    np.testing.assert_allclose(scores[:, 1], (x - x.mean(axis=0)) @ unit)


def test_the_probe_is_sklearns_on_standardised_rows():
    x, labels = _rows()
    fit = _fit(x, labels)
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    model = LogisticRegression(C=0.1, max_iter=1000, class_weight="balanced").fit(z, labels % 4)
    p = model.predict_proba(z)[:, 1]
    np.testing.assert_allclose(fit.probe(x)[:, 1], np.log(p / (1 - p)), atol=1e-2)


def test_two_emotions_without_neutral_rows_mirror_each_other():
    x, labels = _rows(neutral=False)
    keep = labels < 2
    scores = _fit(x[keep], labels[keep], ("a", "b")).probe(x)
    np.testing.assert_allclose(scores[:, 0], -scores[:, 1], atol=1e-9)


def test_a_dimension_of_rounding_noise_is_left_alone():
    x, labels = _rows()
    dead = np.concatenate([x, 1e-33 * np.random.default_rng(1).normal(size=(len(x), 1))], axis=1)
    fit = _fit(dead, labels)
    assert np.abs(fit.probe_weights).max() < 100
    other = dead.copy()
    other[:, -1] = 1e-9  # another machine rounds otherwise
    np.testing.assert_allclose(fit.probe(other), fit.probe(dead), atol=1e-4)


def test_bad_input_is_named():
    x, labels = _rows()
    with pytest.raises(BadInput, match="'c'"):
        _fit(x, np.where(labels == 2, -1, labels))
    with pytest.raises(BadInput, match="another encoder"):
        _fit(x, labels).means(x[:, :3])
    with pytest.raises(BadInput, match="equal but for rounding"):
        _fit(x[:1] * (1 + 2e-7 * labels[:, None]), labels)
    with pytest.raises(BadInput, match="do not fit"):
        _fit(x[1:], labels)


def test_texts_of_unknown_emotion_are_no_negatives():
    x, labels = _rows()
    both, unknown = np.concatenate([x, x[labels == 0] + 9]), np.full((labels == 0).sum(), UNKNOWN)
    fit, alone = _fit(both, np.append(labels, unknown)), _fit(x, labels)
    for name in ("mean", "directions", "probe_weights", "probe_bias"):
        np.testing.assert_array_equal(getattr(fit, name), getattr(alone, name))


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_scale_of_embeddings_does_not_matter(planted, scale):
    one, other = (_fit(k * planted.x, planted.rows.label, planted.rows.emotions) for k in (1.0, scale))
    x = planted.x
    np.testing.assert_allclose(other.probe(scale * x), one.probe(x), atol=1e-2)
    np.testing.assert_allclose(other.means(scale * x), scale * one.means(x), rtol=1e-4, atol=1e-4 * scale)
    panels = [make_panel(k * planted.x, planted.rows, seed=0).folds[0].seen for k in (1.0, scale)]
    np.testing.assert_allclose(panels[1][:, :4], panels[0][:, :4], atol=2e-2)


def test_readouts_never_see_the_groups_they_judge(planted):
    split = planted.rows.split
    panel = make_panel(planted.x, planted.rows, seed=0)
    np.testing.assert_array_equal(panel.rows, np.flatnonzero(split == "test"))
    moved = planted.x + 100 * (split != "held_out")[:, None].astype(np.float32)
    again = make_panel(moved, planted.rows, seed=0)
    np.testing.assert_array_equal(panel.folds[0].readout.vectors, again.folds[0].readout.vectors)


def _without(planted, dropped):
    """The planted embeddings and rows, some left out."""
    return planted.x[~dropped], planted.rows[~dropped]


def test_cross_fitting_keeps_groups_apart_and_says_so(planted):
    x, rows = _without(planted, planted.rows.split == "held_out")
    panel = make_panel(x, rows, seed=0)
    first, second = panel.folds
    assert not np.intersect1d(rows.group[first.rows], rows.group[second.rows]).size
    assert len(panel.rows) == (rows.split == "test").sum()
    assert "half of the test groups" in panel.note


def test_a_single_test_row_of_an_emotion_is_an_error(planted):
    joy = np.flatnonzero((planted.rows.label == 0) & (planted.rows.split == "test"))
    dropped = planted.rows.split == "held_out"
    dropped[joy[1:]] = True
    with pytest.raises(BadInput, match="'joy'"):
        make_panel(*_without(planted, dropped), seed=0)


def test_in_the_probe_a_group_of_many_rows_counts_as_one_row_does():
    """Every word once; then one word of each emotion stands there thirty times, and the probe hardly moves."""
    x, labels = _rows()
    group = np.arange(len(x))
    many = np.concatenate([group, *[np.flatnonzero(labels == c)[:1].repeat(30) for c in range(3)]])

    def probe(numbers, by_group):
        rows = Rows.of(labels[numbers], emotions=EMOTIONS, group=group[numbers])
        weights = DenseBaselines.fit(x[numbers], rows, 0, by_group=by_group).probe_weights
        return weights / np.linalg.norm(weights)

    once = probe(group, True)
    by_group, by_row = ((probe(many, how) * once).sum() for how in (True, False))
    assert by_group > 0.98
    assert by_row < by_group - 0.02
