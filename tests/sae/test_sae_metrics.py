"""Metrics against definitions, and the baselines beside them."""

import numpy as np
import pytest
import torch

from moodlens.core import BadInput
from moodlens.sae import SAE, baseline_metrics, explained_variance, reconstruction_metrics


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((60, 8)) * rng.uniform(0.1, 3, 8) + 5).astype(np.float32)


def test_predicting_the_train_mean_explains_nothing(x):
    train, held_out = x[:40], x[40:]
    mean = train.mean(0)
    assert explained_variance(train, np.broadcast_to(mean, train.shape), mean) == pytest.approx(0, abs=1e-6)
    assert explained_variance(held_out, np.broadcast_to(mean, held_out.shape), mean) == pytest.approx(
        0, abs=1e-12
    )
    assert explained_variance(held_out, held_out, mean) == 1


def test_a_constant_bias_is_not_forgiven(x):
    """Formulas by variance of the residual score this 1; the true value is far below 0."""
    assert explained_variance(x, x + 10, x.mean(0)) < -5


def test_an_sae_that_predicts_the_mean(x):
    mean = x[:40].mean(0)
    sae = SAE(torch.zeros(8, 4), torch.zeros(4, 8), torch.zeros(4), torch.from_numpy(mean), activation="relu")
    found = reconstruction_metrics(sae, x[40:], mean, chunk=7)
    assert found["explained_variance"] == pytest.approx(0, abs=1e-6)
    assert found["mse"] == pytest.approx(np.square(x[40:] - mean).mean(), rel=1e-6)
    assert found["l0"] == found["active_share"] == found["dense_share"] == 0
    assert found["dead_share"] == 1
    assert found["mean_norm_ratio"] == pytest.approx(0, abs=1e-6)


def test_a_perfect_sae(x):
    eye = torch.eye(8)
    sae = SAE(
        torch.cat([eye, -eye], 1),
        torch.cat([eye, -eye]),
        torch.zeros(16),
        torch.from_numpy(x.mean(0)),
        activation="relu",
    )
    found = reconstruction_metrics(sae, x, x.mean(0), chunk=7)
    assert found["explained_variance"] == pytest.approx(1, abs=1e-6)
    assert found["l0"] == pytest.approx(8)
    assert found["active_share"] == pytest.approx(0.5)
    assert found["dead_share"] == 0
    assert found["mean_norm_ratio"] == pytest.approx(1, abs=1e-6)


def test_metrics_do_not_depend_on_the_order_of_features(x):
    rng = np.random.default_rng(1)
    W_enc, W_dec, b_enc = (
        torch.from_numpy(rng.standard_normal(s).astype(np.float32)) for s in ((8, 20), (20, 8), 20)
    )
    b_dec, p = torch.from_numpy(x.mean(0)), torch.from_numpy(rng.permutation(20))
    a = reconstruction_metrics(SAE(W_enc, W_dec, b_enc, b_dec, activation="relu"), x, x.mean(0))
    b = reconstruction_metrics(SAE(W_enc[:, p], W_dec[p], b_enc[p], b_dec, activation="relu"), x, x.mean(0))
    assert a == pytest.approx(b, rel=1e-5)


def test_baselines(x):
    train, held_out = x[:40], x[40:]
    found = baseline_metrics(train, held_out, 3)
    assert found["mean"]["explained_variance"] == pytest.approx(0, abs=1e-12)
    from sklearn.decomposition import PCA

    pca = PCA(3).fit(train.astype(np.float64))
    x_hat = pca.inverse_transform(pca.transform(held_out.astype(np.float64)))
    assert found["pca"]["mse"] == pytest.approx(np.square(held_out - x_hat).mean(), rel=1e-6)
    assert found["pca"]["n_components"] == 3
    assert baseline_metrics(train, held_out, 100)["pca"]["explained_variance"] == pytest.approx(1)


def test_pca_of_fewer_rows_than_columns_agrees_with_the_other_way():
    rng = np.random.default_rng(2)
    few, held_out = rng.standard_normal((10, 30)), rng.standard_normal((5, 30))
    found = baseline_metrics(few, held_out, 50)["pca"]
    assert found["n_components"] == 9
    basis = np.linalg.svd(few - few.mean(0), full_matrices=False)[2][:9]
    centred = held_out - few.mean(0)
    assert found["mse"] == pytest.approx(np.square(centred - centred @ basis.T @ basis).mean())


def test_no_rows_is_an_error(x):
    sae = SAE(torch.zeros(8, 4), torch.zeros(4, 8), torch.zeros(4), torch.zeros(8), activation="relu")
    with pytest.raises(BadInput, match="no rows"):
        reconstruction_metrics(sae, x[:0], x.mean(0))
    with pytest.raises(BadInput, match="same width"):
        baseline_metrics(x, x[:, :4], 2)
