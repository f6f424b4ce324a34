"""The field's metrics find what was planted, and nothing in a dictionary that holds none of it."""

import numpy as np
import pytest

from moodlens.core.labels import UNKNOWN
from moodlens.settings.validation import MetricSettings
from moodlens.study.coded import Coded
from moodlens.study.rows import Rows
from moodlens.validate.field import Field, Probes

EMOTIONS = ("a", "b", "c")
SETTINGS = MetricSettings(n_removed=2, n_main=1)


def planted(seed=0, *, misleads=1.0):
    """Rows that are an emotion, a factor and noise; features 0-2 hold the emotions, 3-4 the factor's values, 5 is what emotion
    a is about in a third of its rows, in which feature 0 is silent; 6-11 fire by chance. Returns the field and the two."""
    rng = np.random.default_rng(seed)
    n, d_in = 1800, 24
    directions = np.linalg.qr(rng.standard_normal((d_in, 12)))[0].T
    label, factor = rng.integers(0, 3, n), rng.integers(0, 2, n)
    codes = np.zeros((n, 12))
    codes[np.arange(n), label] = 1
    codes[np.arange(n), 3 + factor] = misleads
    about = (label == 0) & (rng.random(n) < 1 / 3)
    codes[about, 5], codes[about, 0] = 1.2, 0
    codes[:, 6:] = (rng.random((n, 6)) < 0.1) * rng.random((n, 6))
    W = directions.copy()
    W[5] = 0.8 * directions[0] + 0.6 * directions[5]
    x = codes @ W + 0.15 * rng.standard_normal((n, d_in))
    split = np.array(["train", "val", "test"])[np.arange(n) % 3]
    rows = Rows.of(label, emotions=EMOTIONS, split=split, texts=["t"] * n)
    values = np.array(["piano", "drums"], dtype=object)[factor]
    coded = Coded(rows, x.astype(np.float32), codes.astype(np.float32), W.astype(np.float32))
    field = Field.of(coded, {"instrument": values}, SETTINGS, seed=0)
    assert field is not None
    return field, coded


def unrelated(coded, seed=1):
    """A dictionary of as many features that has to do with nothing."""
    rng = np.random.default_rng(seed)
    W = rng.standard_normal(coded.W_dec.shape)
    codes = (rng.random(coded.codes.shape) < 0.2) * rng.random(coded.codes.shape)
    return codes.astype(np.float32), (W / np.linalg.norm(W, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def found():
    field, coded = planted()
    return (
        field,
        field.measure("sae", coded.codes, coded.W_dec),
        field.measure("untrained", *unrelated(coded)),
    )


def test_few_features_read_what_they_hold_and_unrelated_ones_do_not(found):
    field, sae, untrained = found
    aurocs = [sparse.auroc for sparse in sae.k_sparse]
    assert aurocs[0] > 0.85
    assert aurocs == sorted(aurocs) or aurocs[-1] > 0.95
    assert field.dense().auroc > 0.95
    assert all(abs(sparse.auroc - 0.5) < 0.1 for sparse in untrained.k_sparse)


def test_removing_an_emotions_features_hurts_its_own_probe(found):
    _, sae, untrained = found
    assert sae.perturbation.own > 0.1
    assert sae.perturbation.score > 0.1
    assert abs(untrained.perturbation.score) < 0.02


def test_removing_a_factors_features_mends_a_misled_probe(found):
    _, sae, untrained = found
    assert sae.removal.n_tasks == 3
    assert sae.removal.removed > sae.removal.misled
    assert sae.removal.score > 0.3
    assert untrained.removal.score < 0.1


def test_a_factor_that_misleads_nobody_gives_no_score():
    field, coded = planted(misleads=0.0)
    assert field.measure("sae", coded.codes, coded.W_dec).removal.score is None


def test_a_study_without_factors_has_no_task():
    field, coded = planted()
    bare = Field(field.coded, field.fit, field.judge, {}, SETTINGS, field.probes)
    removal = bare.measure("sae", coded.codes, coded.W_dec).removal
    assert (removal.n_tasks, removal.score) == (0, None)


def test_a_feature_that_speaks_for_another_is_absorption(found):
    _, sae, _ = found
    assert 0.05 < sae.absorption.absorbed < 0.25  # a third of one of three emotions
    assert sae.absorption.absorbed <= sae.absorption.silent


def test_without_rows_of_an_emotion_nothing_is_asked():
    _, coded = planted()
    label = np.where(coded.rows.label == 2, UNKNOWN, coded.rows.label)
    rows = Rows.of(label, emotions=EMOTIONS, split=coded.rows.split, texts=coded.rows.texts)
    other = Coded(rows, coded.x, coded.codes, coded.W_dec)
    assert Field.of(other, {}, SETTINGS, seed=0) is None


def test_a_probe_cuts_where_both_sides_err_alike():
    rng = np.random.default_rng(0)
    truth = rng.random(3000) < 0.1
    x = rng.standard_normal((3000, 4)) + truth[:, None]
    yes = Probes.fit(x, truth[None].astype(int)).scores(x)[:, 0] > 0
    assert abs(yes[truth].mean() - (~yes[~truth]).mean()) < 0.05


def test_absorption_is_asked_of_the_rows_that_the_probe_reads_right():
    _, coded = planted(1)
    draw = np.random.default_rng(2)
    x = (coded.x + 0.6 * draw.standard_normal(coded.x.shape)).astype(np.float32)
    noisy = Field.of(Coded(coded.rows, x, coded.codes, coded.W_dec), {}, SETTINGS, seed=0)
    assert noisy is not None
    label, scores = coded.rows.label[noisy.judge], x[noisy.judge] @ noisy.probes.weights.T + noisy.probes.bias
    right = sum(int(((label == c) & (scores[:, c] > 0)).sum()) for c in range(3))
    assert 0.5 * len(label) < right < 0.98 * len(label)
    assert noisy.measure("sae", coded.codes, coded.W_dec).absorption.n_rows == right
