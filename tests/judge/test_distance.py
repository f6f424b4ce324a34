"""Distances between sets of clips, and what a step leaves of an embedding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.core import BadInput
from moodlens.judge import embedding_preservation, mmd_test
from moodlens.judge.distance import median_bandwidth


def gaussian(n, d, seed, shift=0.0):
    return np.random.default_rng(seed).standard_normal((n, d)) + shift


def test_mmd_is_unbiased_at_any_sample_size():
    """Mean over many draws of one distribution is 0, also with 10 samples in 64 dimensions."""
    for n in (10, 40):
        values = [
            mmd_test(gaussian(n, 64, 2 * i), gaussian(n, 64, 2 * i + 1), n_permutations=1).mmd2
            for i in range(200)
        ]
        assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_mmd_is_the_definition():
    x, y, width = gaussian(4, 3, 0), gaussian(5, 3, 1, 1.0), 1.7
    k = lambda a, b: np.exp(-np.sum((a - b) ** 2) / (2 * width**2))  # noqa: E731
    within_x = np.mean([k(x[i], x[j]) for i in range(4) for j in range(4) if i != j])
    within_y = np.mean([k(y[i], y[j]) for i in range(5) for j in range(5) if i != j])
    across = np.mean([k(a, b) for a in x for b in y])
    found = mmd_test(x, y, bandwidth=width, n_permutations=5)
    assert found.mmd2 == pytest.approx(within_x + within_y - 2 * across)
    assert (found.n_x, found.n_y) == (4, 5)


def test_p_is_uniform_under_the_null_and_small_under_a_shift():
    p = [
        mmd_test(gaussian(12, 8, 2 * i), gaussian(12, 8, 2 * i + 1), n_permutations=99, seed=i).p
        for i in range(120)
    ]
    assert np.mean(np.array(p) <= 0.05) < 0.12
    assert 0.4 < np.mean(p) < 0.6
    moved = mmd_test(gaussian(20, 8, 0), gaussian(20, 8, 1, 1.5), n_permutations=199)
    assert moved.p == pytest.approx(1 / 200)
    assert moved.mmd2 > moved.null_p95


def test_pairs_see_a_small_shift_that_prompts_would_hide():
    prompts = 2 * gaussian(16, 6, 0)
    x = prompts + 0.1 * gaussian(16, 6, 1)
    y = prompts + 0.1 * gaussian(16, 6, 2) + np.eye(6)[0]
    null = prompts + 0.1 * gaussian(16, 6, 3)
    paired = mmd_test(x, y, paired=True)
    assert paired.p < 0.01 < mmd_test(x, y).p
    assert mmd_test(x, null, paired=True).p > 0.05


@given(st.integers(2, 8), st.integers(2, 8), st.integers(0, 99))
def test_mmd_is_symmetric_and_bounded(n, m, seed):
    x, y = gaussian(n, 3, seed), gaussian(m, 3, seed + 100)
    there, back = mmd_test(x, y, n_permutations=1), mmd_test(y, x, n_permutations=1)
    assert there.mmd2 == pytest.approx(back.mmd2)
    assert -2 <= there.mmd2 <= 2


def test_mmd_bad_input_and_equal_rows():
    with pytest.raises(BadInput, match="equally wide"):
        mmd_test(gaussian(3, 2, 0), gaussian(3, 4, 0))
    with pytest.raises(BadInput, match="two rows"):
        mmd_test(gaussian(1, 2, 0), gaussian(3, 2, 0))
    with pytest.raises(BadInput, match="no pairs"):
        mmd_test(gaussian(3, 2, 0), gaussian(4, 2, 0), paired=True)
    assert median_bandwidth(np.ones((4, 2))) == 1.0
    assert mmd_test(np.ones((4, 2)), np.ones((4, 2))).p == 1.0


def test_embedding_preservation_falls_with_the_amount():
    x = gaussian(40, 16, 0)
    classes = np.where(x[:, 0] > 0, "piano", "guitar")
    along, across = np.eye(16)[0], np.eye(16)[1]
    none = embedding_preservation(x, along, 0.0, {"instrument": classes})
    assert none == {"cosine": pytest.approx(1), "retrieved": 1.0, "factor_instrument": 1.0}
    steps = [embedding_preservation(x, across, a, {"instrument": classes}) for a in (0.5, 2, 8)]
    assert steps[0]["cosine"] > steps[1]["cosine"] > steps[2]["cosine"]
    assert steps[0]["retrieved"] > steps[2]["retrieved"]
    # A direction that carries the instrument destroys it; one that does not leaves more of it.
    assert embedding_preservation(x, along, 4.0, {"instrument": classes})["factor_instrument"] < 0.7
    assert steps[1]["factor_instrument"] > 0.8


def test_factors_without_classes_are_no_number():
    x = gaussian(4, 3, 0)
    found = embedding_preservation(x, np.eye(3)[0], 1.0, {"genre": np.array([None, None, "pop", "pop"])})
    assert np.isnan(found["factor_genre"])
    with pytest.raises(BadInput, match="classes for 4 rows"):
        embedding_preservation(x, np.eye(3)[0], 1.0, {"genre": np.array(["pop"])})
    with pytest.raises(BadInput, match="direction"):
        embedding_preservation(x, np.ones(4), 1.0)
