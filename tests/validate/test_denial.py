"""A gate that opens for denials of other words, and what passes it then."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from moodlens.settings.validation import TextReading
from moodlens.study.rows import Rows
from moodlens.validate import denial
from moodlens.validate.denial import L2_STRENGTH, Denial
from moodlens.validate.methods import Method

D_IN = 16


@pytest.fixture(scope="module")
def made():
    """Two emotions along axes 0 and 1; denied texts lie among those they name, but for axis 2."""
    rng = np.random.default_rng(0)
    n = 1200
    label = np.arange(n) % 2
    negated = np.arange(n) % 6 == 0
    x = rng.normal(size=(n, D_IN)) + 5
    x[np.arange(n), label] += 3
    x[negated, 2] += 6
    split = np.array(["train", "val", "test", "held_out"])[rng.integers(0, 4, n)]
    rows = Rows.of(
        np.where(negated, -2, label),
        emotions=("a", "b"),
        kind=np.where(negated, "negation", "plain"),
        split=split,
    )
    return x, rows, label


def test_denials_of_unseen_rows_are_heard_and_plain_rows_are_not(made):
    x, rows, _ = made
    gate = Denial.fit(x, rows)
    unseen = np.isin(rows.split, ("test", "held_out"))
    said = gate.says(x)
    assert said[unseen & (rows.kind == "negation")].mean() > 0.9
    assert said[unseen & (rows.kind == "plain")].mean() < 0.03


def test_only_train_and_val_rows_are_learnt_from_and_too_few_teach_nothing(made):
    x, rows, _ = made
    spoiled = x.copy()
    spoiled[np.isin(rows.split, ("test", "held_out"))] = np.nan
    one, other = Denial.fit(x, rows), Denial.fit(spoiled, rows)
    np.testing.assert_array_equal(one.direction, other.direction)
    assert one.threshold == other.threshold
    few = np.flatnonzero((rows.kind == "plain") | (np.cumsum(rows.kind == "negation") < denial.LEAST))
    assert Denial.fit(x[few], rows[few]) is None


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_rows_changes_nothing(made, scale):
    x, rows, _ = made
    np.testing.assert_array_equal(Denial.fit(scale * x, rows).says(scale * x), Denial.fit(x, rows).says(x))


def test_what_is_denied_speaks_against_its_emotion_and_nothing_else_moves(made):
    x, rows, label = made
    family = Method.fitted(lambda r: r[:, :2], TextReading(), x[rows.where("train", "val")])
    gated = family.gated(Denial.fit(x, rows), x, rows)
    before, after = family.rows(x), gated.rows(x)
    shut = ~gated.gate.says(x)
    np.testing.assert_array_equal(after[shut], before[shut])
    open_ = np.flatnonzero(~shut & (rows.kind == "negation") & (before[np.arange(len(x)), label] > 1))
    assert len(open_) > 20
    own = label[open_]
    assert (after[open_, own] < gated.ceiling[own] + 1e-9).all()
    assert (after[open_, own] < before[open_, own]).all()


def test_an_emotion_that_nothing_reads_stays_unread(made):
    x, rows, _ = made

    def score(r):
        return np.stack([r[:, 0], np.full(len(r), np.nan)], axis=1)

    gated = Method.fitted(score, TextReading(), x[rows.where("train", "val")]).gated(
        Denial.fit(x, rows), x, rows
    )
    out = gated.rows(x)
    assert np.isfinite(out[:, 0]).all()
    assert np.isnan(out[:, 1]).all()


def test_the_gate_is_the_regression_on_rows_standardised_by_the_plain_ones(made):
    x, rows, _ = made
    plain, denied = rows.where("train", "val"), rows.where("train", "val", kinds=("negation",))
    spread = x[plain].std(axis=0, dtype=np.float64)
    seen = x[np.concatenate([plain, denied])] / spread
    model = LogisticRegression(C=1 / L2_STRENGTH, class_weight="balanced", max_iter=1000)
    model.fit(seen - seen[: len(plain)].mean(axis=0), np.arange(len(seen)) >= len(plain))
    np.testing.assert_allclose(Denial.fit(x, rows).direction, model.coef_[0] / spread, rtol=1e-3, atol=1e-6)
