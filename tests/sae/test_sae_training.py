"""The training loop: what it finds, keeps, counts, revives and restores."""

import numpy as np
import pytest
import torch

from helpers.sae_loop import ARCHITECTURES, quick, trainer
from moodlens.sae import encode_rows, reconstruction_metrics, train
from moodlens.sae.plain import gradients, plan, step
from moodlens.sae.rows import ArrayRows, measure
from moodlens.sae.state import count_silence, dead_features, reinitialise
from moodlens.sae.training import Trainer, prepare
from moodlens.settings.sae import SAESettings


@pytest.mark.parametrize("architecture", ["batchtopk", "topk", "matryoshka"])
def test_a_planted_dictionary_is_found(planted, architecture):
    x_train, x_val, dictionary = planted
    settings = SAESettings(
        architecture=architecture, d_sae=64, k=3, epochs=50, batch_size=64, learning_rate=3e-3, prefixes=None
    )
    if architecture == "matryoshka":
        settings = settings.model_copy(update={"prefixes": (48, 64)})
    found = train(x_train, x_val, settings, seed=0)
    cosine = dictionary @ found.sae.W_dec.detach().numpy().T
    assert cosine.max(1).mean() > 0.9
    assert reconstruction_metrics(found.sae, x_val, x_train.mean(0))["explained_variance"] > 0.9


def test_a_planted_dictionary_is_found_by_l1(planted):
    x_train, x_val, dictionary = planted
    settings = SAESettings(
        architecture="l1", d_sae=64, l1_coefficient=0.05, epochs=50, batch_size=64, learning_rate=3e-3
    )
    found = train(x_train, x_val, settings, seed=0)
    assert (dictionary @ found.sae.W_dec.detach().numpy().T).max(1).mean() > 0.9


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_decoder_rows_are_unit_vectors_after_every_step(small, architecture):
    t = trainer(small, architecture=architecture)
    z = t.batch(np.arange(32))
    for i in range(5):
        step(t.state, z, t.settings, plan(t.settings, i, 50), torch.zeros(24, dtype=torch.bool))
        assert torch.allclose(t.state.parameters["W_dec"].norm(dim=-1), torch.ones(24), atol=1e-6)


def test_without_decoder_norm_rows_are_free(small):
    found = train(*small, quick(decoder_norm=False), seed=0)
    assert not torch.allclose(found.sae.W_dec.norm(dim=-1), torch.ones(24), atol=1e-3)


def test_the_decoder_gradient_is_orthogonal_to_its_rows(small):
    t = trainer(small)
    dead = torch.zeros(24, dtype=torch.bool)
    grads, _ = gradients(
        t.state.parameters, t.batch(np.arange(64)), t.settings, plan(t.settings, 0, 10), dead
    )
    along = (grads["W_dec"] * t.state.parameters["W_dec"]).sum(-1)
    assert grads["W_dec"].norm() > 0.01
    assert along.abs().max() < 1e-6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folded_on_raw_rows_equals_trained_on_standardised_rows(small, architecture):
    _, x_val = small
    t = trainer(small, architecture=architecture)
    while not t.finished:
        t.epoch()
    found = t.result(0.0)
    z = torch.from_numpy(t.standard.apply(x_val))
    p = t.state.best
    pre = (z @ p["W_enc"].T + p["b_enc"]) * t.standard.scale
    raw = torch.from_numpy(x_val)
    assert torch.allclose(found.sae.pre_activations(raw), pre, atol=1e-5, rtol=1e-5)
    codes = found.sae.encode(raw) / t.standard.scale
    z_hat = codes @ p["W_dec"] + p["b_dec"]
    expected = z_hat * t.standard.scale + torch.from_numpy(t.standard.mean)
    assert torch.allclose(found.sae(raw), expected, atol=2e-5, rtol=1e-5)


def test_early_stopping_restores_the_best_weights(small):
    x_train, x_val = small
    # Too wide and too fast for 110 rows: it overfits, and the last epochs are worse than the best.
    settings = SAESettings(
        architecture="topk", d_sae=64, k=6, epochs=400, batch_size=16, patience=8, decay=0.0
    )
    found = train(x_train, x_val, settings, seed=0)
    assert found.stopped == "patience"
    assert len(found.history) == found.best_epoch + 1 + 8
    losses = [entry.val_loss for entry in found.history]
    assert int(np.argmin(losses)) == found.best_epoch
    measured = reconstruction_metrics(found.sae, x_val, x_train.mean(0))["explained_variance"]
    best, last = (found.history[i].val_explained_variance for i in (found.best_epoch, -1))
    z = measure(ArrayRows(x_train)).apply(x_val)
    about_train_mean = 1 - (1 - best) * np.square(z).sum() / np.square(z).sum()
    assert measured == pytest.approx(about_train_mean, abs=1e-4)
    assert abs(measured - last) > 1e-3


def test_validation_judges_at_the_final_sparsity(small):
    """While k falls from 4 k, an early epoch must not look best because it used more features."""
    t = trainer(small, sparsity_warmup=1.0)
    t.epoch()
    assert t.state.history[0].sparsity > 3
    assert t.state.history[0].val_l0 == pytest.approx(3.0, abs=1e-6)


def test_silence_is_counted_in_epochs_of_training_rows(small):
    t = trainer(small, dead_feature_threshold=2, aux_coefficient=0.0)
    t.state.parameters["b_enc"][:5] = -100.0
    for epoch in range(3):
        t.epoch()
        assert (t.state.silent[:5] == epoch + 1).all(), "one per epoch, however many steps it has"
        for _ in range(4):
            t.validate()
        assert (t.state.silent[:5] == epoch + 1).all(), "validation does not age features"
        assert t.state.history[-1].dead == (t.state.silent >= 2).sum()


def test_firing_once_ends_the_silence(small):
    t = trainer(small)
    t.state.silent[:] = 7
    fired = torch.zeros(24, dtype=torch.bool)
    fired[3] = True
    count_silence(t.state, fired)
    assert t.state.silent[3] == 0
    assert (t.state.silent[[0, 1, 2, 4]] == 8).all()
    assert dead_features(t.state, t.settings).sum() == 23


def test_revival_of_l1_features(small):
    t = trainer(small, architecture="l1", dead_feature_threshold=2, epochs=40, decay=0.5)
    t.state.parameters["b_enc"][:4] = -100.0
    for _ in range(2):
        t.epoch()
    assert t.state.history[-1].reborn >= 4
    assert (t.state.silent[:4] == 0).all()
    assert (t.state.age[:4] == 0).all()
    assert (t.state.mean["W_enc"][:4] == 0).all()
    assert (t.state.square["W_dec"][:4] == 0).all()
    t.epoch()
    assert (t.state.silent[:4] == 0).sum() >= 3, "reborn features fire"


def test_reborn_features_are_aimed_at_badly_reconstructed_rows(small):
    t = trainer(small, architecture="l1")
    z = t.batch(np.arange(100)) * 0.01
    z[7] = 10 * torch.ones(12) / np.sqrt(12)
    dead = torch.zeros(24, dtype=torch.bool)
    dead[2] = True
    t.state.parameters["b_enc"][:] = -10.0
    reborn = reinitialise(t.state, dead, z, seed=0, epoch=0)
    assert reborn.tolist() == [2]
    assert torch.allclose(t.state.parameters["W_dec"][2], torch.ones(12) / np.sqrt(12), atol=1e-4)


def test_never_more_are_reborn_than_there_are_rows(small):
    t = trainer(small, architecture="l1", d_sae=64)
    dead = torch.ones(64, dtype=torch.bool)
    reborn = reinitialise(t.state, dead, t.batch(np.arange(10)), seed=0, epoch=0)
    rows = t.state.parameters["W_dec"][reborn]
    assert len(reborn) == 10
    assert torch.linalg.matrix_rank(rows) == 10, "no two are copies"


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_the_auxiliary_loss_revives(planted, architecture):
    x_train, x_val, _ = planted
    dead = {}
    for coefficient in (0.0, 1 / 32):
        settings = SAESettings(
            architecture=architecture, d_sae=96, k=3, epochs=30, batch_size=64,
            dead_feature_threshold=1, aux_coefficient=coefficient,
        )  # fmt: skip
        t = Trainer(prepare(x_train[:600], x_val), settings, 0)
        t.state.parameters["W_enc"][:30] *= 0.01  # positive now and then, but never among the largest
        for _ in range(15):
            t.epoch()
        dead[coefficient] = int((t.state.silent[:30] > 0).sum())
    assert dead[0.0] == 30
    assert dead[1 / 32] < 15


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka"])
def test_calibrated_l0_on_training_rows_is_k(small, architecture):
    x_train, x_val = small
    found = train(x_train, x_val, quick(architecture, k=4), seed=3)
    active = (encode_rows(found.sae, x_train) > 0).sum()
    assert active == 4 * len(x_train)


def test_topk_codes_have_exactly_k_entries(small):
    found = train(*small, quick("topk"), seed=0)
    assert ((encode_rows(found.sae, small[1]) > 0).sum(1) == 3).all()


def test_augmentation_adds_differences_of_training_rows_and_nothing_else():
    x = np.eye(4, dtype=np.float32)[np.arange(64) % 4] + 5
    settings = SAESettings(d_sae=4, k=1, batch_size=64, epochs=1, augment=1.0)
    trainer = Trainer(prepare(x, x[:8]), settings, seed=3)
    added = trainer.differences(1000, 0) * trainer.standard.scale
    assert np.allclose(added.sum(1), 0, atol=1e-5)  # every row has the same sum, so differences have none
    changed = (np.abs(added) > 1e-6).any(1).mean()
    assert 0.25 < changed < 0.5  # half the rows, less those that drew two equal rows
    assert np.abs(added).max() <= 1 + 1e-5
    assert np.array_equal(trainer.differences(5, 3), trainer.differences(5, 3))
