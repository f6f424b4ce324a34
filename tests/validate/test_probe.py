"""Phase 0: the published figures on real T5 embeddings, sums against all pairs, and labels that say nothing."""

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.validate.probe import pca, phase0, signal_to_noise, similarity


def test_real_t5_embeddings_give_the_published_figures(shared):
    x = np.load(shared / "t5_emotion" / "embeddings.npy")
    labels = np.load(shared / "t5_emotion" / "labels.npy")
    out = phase0(
        x,
        labels,
        np.arange(100),
        ("happy", "sad", "calm", "energetic"),
        seed=0,
        n_permutations=200,
        n_shuffles=5,
    )
    assert out["similarity"]["within"]["mean"] == pytest.approx(0.560119, abs=1e-6)
    assert out["similarity"]["between"]["mean"] == pytest.approx(0.494372, abs=1e-6)
    assert out["linear_probe"]["mean"] == pytest.approx(0.96)
    assert out["linear_probe"]["folds"] == pytest.approx([1.0, 0.95, 0.85, 1.0, 1.0])
    assert out["linear_probe"]["shuffled"]["p95"] < 0.5
    assert out["similarity"]["permutation"]["p"] == pytest.approx(1 / 201)


def _rows(seed=0, n=48, d=7, shift=0.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    x = rng.normal(size=(n, d)) + shift * np.eye(d)[labels]
    return x, labels, np.arange(n) // 3 * 3 + labels  # sixteen groups of each emotion, one row each


def test_similarity_equals_all_pairs():
    x, labels, groups = _rows(shift=1.0)
    out = similarity(x, labels, groups, 3, seed=0, n_permutations=20)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    first, second = np.triu_indices(len(x), 1)
    cosine, same = (unit @ unit.T)[first, second], labels[first] == labels[second]
    assert out["within"]["mean"] == pytest.approx(cosine[same].mean())
    assert out["within"]["std"] == pytest.approx(cosine[same].std())
    assert out["between"]["std"] == pytest.approx(cosine[~same].std())
    assert out["between"]["n_pairs"] == (~same).sum()
    assert out["matrix"][0, 1] == pytest.approx((unit[labels == 0] @ unit[labels == 1].T).mean())


def test_permutation_p_is_uniform_without_signal_and_small_with_it():
    p = [similarity(*_rows(seed), 3, seed=seed, n_permutations=99)["permutation"]["p"] for seed in range(60)]
    assert np.mean(np.array(p) <= 0.05) <= 0.12
    assert 0.3 < np.mean(p) < 0.7
    assert similarity(*_rows(0, shift=3.0), 3, seed=0, n_permutations=99)["permutation"]["p"] == 0.01


def test_groups_count_not_rows():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 20)
    labels = groups % 3
    x = rng.normal(size=(6, 8))[groups] + 0.1 * rng.normal(
        size=(120, 8)
    )  # rows of a group are alike, whatever it is
    by_group = similarity(x, labels, groups, 3, seed=0, n_permutations=200)["permutation"]["p"]
    by_row = similarity(x, labels, np.arange(120), 3, seed=0, n_permutations=200)["permutation"]["p"]
    assert by_row < 0.01
    assert by_group > 0.05


def test_shuffled_probe_stays_near_chance_and_neutral_rows_are_left_out():
    x, labels, groups = _rows(n=90, shift=3.0)
    noisy = np.concatenate([x, np.full((5, 7), 9.0)])
    out = phase0(
        noisy, np.append(labels, [-1] * 5), np.append(groups, np.arange(1000, 1005)), ("a", "b", "c"),
        seed=0, n_permutations=20, n_shuffles=10,
    )  # fmt: skip
    assert out["n"] == 90
    assert out["linear_probe"]["group_folds"]["mean"] > 0.8
    assert out["linear_probe"]["shuffled"]["mean"] < 0.5


def test_pca_is_numpys_svd_and_signal_to_noise_points_at_the_planted_dimension():
    x, labels, _ = _rows(shift=0.0)
    x[:, 4] += 3 * labels
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    np.testing.assert_allclose(pca(x)["variance_share"], values / values.sum(), atol=1e-9)
    ratio = signal_to_noise(x, labels, 3)
    assert ratio["dimensions"][0] == 4
    assert ratio["values"][0] > 5 * ratio["chance"]


def test_bad_rows_are_named():
    x, labels, groups = _rows()
    x[5, 0] = np.nan
    with pytest.raises(BadInput, match="row 5"):
        phase0(x, labels, groups, ("a", "b", "c"), seed=0)
    with pytest.raises(BadInput, match="at least two emotions"):
        phase0(_rows()[0], np.zeros(48, dtype=int), groups, ("a", "b"), seed=0)


def test_a_large_probe_reads_whole_groups_of_every_emotion(monkeypatch):
    from moodlens.validate import probe

    monkeypatch.setattr(probe, "PROBE_ROWS", 60)
    groups = np.repeat(np.arange(40), 5)
    labels = groups % 4
    x = np.arange(200, dtype=np.float64)[:, None]
    rows, mine, own = probe._whole_groups(x, labels, groups, seed=0)
    assert 60 <= len(rows) <= 64
    assert all((own == g).sum() == 5 for g in np.unique(own))
    assert set(mine) == {0, 1, 2, 3}
    assert np.array_equal(labels[rows[:, 0].astype(int)], mine)
    assert len(probe._whole_groups(x[:50], labels[:50], groups[:50], seed=0)[0]) == 50
