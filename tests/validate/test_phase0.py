"""Phase 0: the published figures on real T5 embeddings, sums against all pairs, and labels that say nothing."""

import numpy as np
import pytest

from moodlens.core import BadInput
from moodlens.core.labels import UNKNOWN
from moodlens.settings.validation import Phase0Settings
from moodlens.study.rows import Rows
from moodlens.validate.phase0 import pca, phase0, signal_to_noise
from moodlens.validate.similarity import similarity


def test_real_t5_embeddings_give_the_published_figures(shared):
    x = np.load(shared / "t5_emotion" / "embeddings.npy")
    labels = np.load(shared / "t5_emotion" / "labels.npy")
    rows = Rows.of(labels, emotions=("happy", "sad", "calm", "energetic"))
    out = phase0(x, rows, Phase0Settings(n_permutations=200, n_shuffles=5), seed=0)
    assert out.similarity.within.mean == pytest.approx(0.560119, abs=1e-6)
    assert out.similarity.between.mean == pytest.approx(0.494372, abs=1e-6)
    assert out.linear_probe.mean == pytest.approx(0.96)
    assert out.linear_probe.folds == pytest.approx([1.0, 0.95, 0.85, 1.0, 1.0])
    assert out.linear_probe.shuffled.p95 < 0.5
    assert out.similarity.permutation.p == pytest.approx(1 / 201)


QUICK = Phase0Settings(n_permutations=20, n_shuffles=3)


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e6])
def test_the_scale_of_the_embeddings_does_not_matter(shared, scale):
    x = np.load(shared / "t5_emotion" / "embeddings.npy")
    rows = Rows.of(
        np.load(shared / "t5_emotion" / "labels.npy"), emotions=("happy", "sad", "calm", "energetic")
    )
    one, other = (phase0(k * x, rows, QUICK, seed=0) for k in (1.0, scale))
    assert other.linear_probe == one.linear_probe
    assert other.similarity.within.mean == pytest.approx(one.similarity.within.mean, abs=1e-6)
    assert other.similarity.permutation.p == one.similarity.permutation.p
    assert other.signal_to_noise.dimensions == one.signal_to_noise.dimensions
    np.testing.assert_allclose(
        other.pca.coordinates, scale * np.array(one.pca.coordinates), rtol=1e-3, atol=1e-5 * scale
    )


@pytest.mark.parametrize("rounding", [0.0, 2e-7])
def test_rows_that_are_equal_hold_nothing(rounding):
    """The last digits of equal rows go with the labels here, and are no signal."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 3, 60)
        x = (rng.normal(size=16) * (1 + rounding * labels[:, None])).astype(np.float32)
        out = phase0(x, Rows.of(labels, emotions=("a", "b", "c")), QUICK, seed=seed)
        assert out.similarity.permutation.p == 1
        assert out.similarity.t_p == 1
        assert out.linear_probe.mean == pytest.approx(out.linear_probe.chance, abs=0.1)
        assert out.signal_to_noise.mean == 0
        assert not np.any(out.pca.coordinates)


def test_one_group_two_emotions_and_fifty_are_measured():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6))
    one_group = phase0(x[:20], Rows.of(np.arange(20) % 2, emotions=("a", "b"), group=[0] * 20), QUICK, seed=0)
    assert one_group.linear_probe.group_folds is None
    assert one_group.n_groups == 1
    many = Rows.of(np.arange(200) % 50, emotions=tuple(f"e{i}" for i in range(50)))
    assert len(phase0(x, many, QUICK, seed=0).similarity.matrix) == 50
    absent = Rows.of(np.arange(200) % 2, emotions=("a", "b", "mean"))
    assert phase0(x, absent, QUICK, seed=0).n_per_emotion == {"a": 100, "b": 100, "mean": 0}
    assert phase0(x[:, :1], absent, QUICK, seed=0).pca.coordinates[0][1] == 0


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
    assert out.within.mean == pytest.approx(cosine[same].mean())
    assert out.within.std == pytest.approx(cosine[same].std())
    assert out.between.std == pytest.approx(cosine[~same].std())
    assert out.between.n_pairs == (~same).sum()
    assert out.matrix[0][1] == pytest.approx((unit[labels == 0] @ unit[labels == 1].T).mean())


def test_permutation_p_is_uniform_without_signal_and_small_with_it():
    p = [similarity(*_rows(seed), 3, seed=seed, n_permutations=99).permutation.p for seed in range(60)]
    assert np.mean(np.array(p) <= 0.05) <= 0.12
    assert 0.3 < np.mean(p) < 0.7
    assert similarity(*_rows(0, shift=3.0), 3, seed=0, n_permutations=99).permutation.p == 0.01


def test_groups_count_not_rows():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(6), 20)
    labels = groups % 3
    x = rng.normal(size=(6, 8))[groups] + 0.1 * rng.normal(
        size=(120, 8)
    )  # rows of a group are alike, whatever it is
    by_group = similarity(x, labels, groups, 3, seed=0, n_permutations=200).permutation.p
    by_row = similarity(x, labels, np.arange(120), 3, seed=0, n_permutations=200).permutation.p
    assert by_row < 0.01
    assert by_group > 0.05


def test_shuffled_probe_stays_near_chance_and_neutral_rows_are_left_out():
    x, labels, groups = _rows(n=90, shift=3.0)
    noisy = np.concatenate([x, np.full((5, 7), 9.0)])
    rows = Rows.of(
        np.append(labels, [-1, -1, UNKNOWN, UNKNOWN, 0]),
        emotions=("a", "b", "c"),
        group=np.append(groups, np.arange(1000, 1005)),
        kind=["plain"] * 90 + ["neutral"] * 2 + ["unlabelled"] * 2 + ["mixed"],
    )
    out = phase0(noisy, rows, Phase0Settings(n_permutations=20, n_shuffles=10), seed=0)
    assert out.n == 90
    assert out.rows == tuple(range(90))
    assert out.linear_probe.group_folds.mean > 0.8
    assert out.linear_probe.shuffled.mean < 0.5


def test_pca_is_numpys_svd_and_signal_to_noise_points_at_the_planted_dimension():
    x, labels, _ = _rows(shift=0.0)
    x[:, 4] += 3 * labels
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    np.testing.assert_allclose(pca(x).variance_share, values / values.sum(), atol=1e-9)
    ratio = signal_to_noise(x, labels, 3)
    assert ratio.dimensions[0] == 4
    assert ratio.values[0] > 5 * ratio.chance


def test_bad_rows_are_named():
    x, labels, groups = _rows()
    x[5, 0] = np.nan
    with pytest.raises(BadInput, match="row 5"):
        phase0(x, Rows.of(labels, emotions=("a", "b", "c"), group=groups), QUICK, seed=0)
    with pytest.raises(BadInput, match="at least two emotions"):
        phase0(_rows()[0], Rows.of(np.zeros(48), emotions=("a", "b")), QUICK, seed=0)
    with pytest.raises(BadInput, match="do not fit"):
        phase0(x[1:], Rows.of(labels, emotions=("a", "b", "c")), QUICK, seed=0)
    with pytest.raises(BadInput, match="single row"):
        phase0(_rows(n=7)[0], Rows.of([0, 0, 0, 1, 1, 1, 2], emotions=("a", "b", "c")), QUICK, seed=0)


def test_a_large_probe_reads_whole_groups_of_every_emotion(monkeypatch):
    from moodlens.validate import phase0 as room

    monkeypatch.setattr(room, "PROBE_ROWS", 60)
    groups = np.repeat(np.arange(40), 5)
    labels = groups % 4
    few = room._whole_groups(labels, groups, seed=0)
    assert 60 <= len(few) <= 64
    assert all((groups[few] == g).sum() == 5 for g in np.unique(groups[few]))
    assert set(labels[few]) == {0, 1, 2, 3}
    assert len(room._whole_groups(labels[:50], groups[:50], seed=0)) == 50


def test_rows_that_take_no_part_change_nothing():
    x, label, group = _rows()
    n, draw = 3 * len(x), np.random.default_rng(1)
    place = np.sort(draw.choice(n, len(x), replace=False))
    among, groups, wide = np.full(n, UNKNOWN), 1000 + np.arange(n), 5 * draw.normal(size=(n, x.shape[1]))
    among[place], groups[place], wide[place] = label, group, x
    emotions = ("a", "b", "c")
    alone = phase0(x, Rows.of(label, emotions=emotions, group=group), QUICK, seed=0)
    beside = phase0(wide, Rows.of(among, emotions=emotions, group=groups), QUICK, seed=0)
    assert beside.rows == tuple(place.tolist())
    assert beside.model_copy(update={"rows": alone.rows}) == alone
