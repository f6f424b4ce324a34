"""The training loop: what it keeps, counts, revives and restores."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from moodlens.engine import BadInput
from moodlens.sae import SAESettings, encode_rows, reconstruction_metrics, train
from moodlens.sae.config import SAESettings as Settings
from moodlens.sae.dead import count_silence, dead_features, reinitialise
from moodlens.sae.reference import gradients, step
from moodlens.sae.rows import ArrayRows, measure
from moodlens.sae.schedule import plan
from moodlens.sae.state import initial_state
from moodlens.sae.training import Trainer, prepare

ARCHITECTURES = ["l1", "topk", "batchtopk", "matryoshka"]
QUICK = {"d_sae": 24, "k": 3, "epochs": 6, "batch_size": 32}


def trainer(small, seed=0, **settings):
    data, val, standard, d_in = prepare(*small)
    return Trainer(
        data, val, standard, SAESettings(**{**QUICK, **settings}).resolve(data.rows, d_in), d_in, seed
    )


def weights(sae):
    return {name: tensor.clone() for name, tensor in sae.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("architecture", ["batchtopk", "topk", "matryoshka"])
def test_a_planted_dictionary_is_found(planted, architecture):
    x_train, x_val, dictionary = planted
    settings = SAESettings(
        architecture=architecture, d_sae=64, k=3, epochs=80, batch_size=64, learning_rate=3e-3, prefixes=None
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
        architecture="l1", d_sae=64, l1_coefficient=0.05, epochs=80, batch_size=64, learning_rate=3e-3
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
    found = train(*small, SAESettings(**QUICK, decoder_norm=False), seed=0)
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
    losses = [entry["val_loss"] for entry in found.history]
    assert int(np.argmin(losses)) == found.best_epoch
    measured = reconstruction_metrics(found.sae, x_val, x_train.mean(0))["explained_variance"]
    best, last = (found.history[i]["val_explained_variance"] for i in (found.best_epoch, -1))
    z = measure(ArrayRows(x_train)).apply(x_val)
    about_train_mean = 1 - (1 - best) * np.square(z).sum() / np.square(z).sum()
    assert measured == pytest.approx(about_train_mean, abs=1e-4)
    assert abs(measured - last) > 1e-3


def test_validation_judges_at_the_final_sparsity(small):
    """While k falls from 4 k, an early epoch must not look best because it used more features."""
    t = trainer(small, sparsity_warmup=1.0)
    t.epoch()
    assert t.state.history[0]["sparsity"] > 3
    assert t.state.history[0]["val_l0"] == pytest.approx(3.0, abs=1e-6)


def test_silence_is_counted_in_epochs_of_training_rows(small):
    t = trainer(small, dead_feature_threshold=2, aux_coefficient=0.0)
    t.state.parameters["b_enc"][:5] = -100.0
    for epoch in range(3):
        t.epoch()
        assert (t.state.silent[:5] == epoch + 1).all(), "one per epoch, however many steps it has"
        for _ in range(4):
            t.validate()
        assert (t.state.silent[:5] == epoch + 1).all(), "validation does not age features"
        assert t.state.history[-1]["dead"] == (t.state.silent >= 2).sum()


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
    assert t.state.history[-1]["reborn"] >= 4
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
    reborn = reinitialise(t.state, dead, z, t.settings, seed=0, epoch=0)
    assert reborn.tolist() == [2]
    assert torch.allclose(t.state.parameters["W_dec"][2], torch.ones(12) / np.sqrt(12), atol=1e-4)


def test_never_more_are_reborn_than_there_are_rows(small):
    t = trainer(small, architecture="l1", d_sae=64)
    dead = torch.ones(64, dtype=torch.bool)
    reborn = reinitialise(t.state, dead, t.batch(np.arange(10)), t.settings, seed=0, epoch=0)
    rows = t.state.parameters["W_dec"][reborn]
    assert len(reborn) == 10
    assert torch.linalg.matrix_rank(rows) == 10, "no two are copies"


@pytest.mark.parametrize("architecture", ["topk", "batchtopk"])
def test_the_auxiliary_loss_revives(planted, architecture):
    x_train, x_val, _ = planted
    dead = {}
    for coefficient in (0.0, 1 / 32):
        data, val, standard, d_in = prepare(x_train[:600], x_val)
        settings = SAESettings(
            architecture=architecture, d_sae=96, k=3, epochs=30, batch_size=64,
            dead_feature_threshold=1, aux_coefficient=coefficient,
        ).resolve(600, d_in)  # fmt: skip
        t = Trainer(data, val, standard, settings, d_in, 0)
        t.state.parameters["W_enc"][:30] *= 0.01  # positive now and then, but never among the largest
        for _ in range(15):
            t.epoch()
        dead[coefficient] = int((t.state.silent[:30] > 0).sum())
    assert dead[0.0] == 30
    assert dead[1 / 32] < 15


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka"])
def test_calibrated_l0_on_training_rows_is_k(small, architecture):
    x_train, x_val = small
    found = train(x_train, x_val, SAESettings(**{**QUICK, "k": 4}, architecture=architecture), seed=3)
    active = (encode_rows(found.sae, x_train) > 0).sum()
    assert active == 4 * len(x_train)


def test_topk_codes_have_exactly_k_entries(small):
    found = train(*small, SAESettings(**QUICK, architecture="topk"), seed=0)
    assert ((encode_rows(found.sae, small[1]) > 0).sum(1) == 3).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_seed_same_bytes_other_seed_other_weights(small, architecture):
    settings = SAESettings(**QUICK, architecture=architecture)
    a, b, c = (train(*small, settings, seed=seed) for seed in (1, 1, 2))
    assert same(weights(a.sae), weights(b.sae))
    assert a.history == b.history
    assert not same(weights(a.sae), weights(c.sae))


def test_a_seed_decides_the_order_of_the_data_too(small):
    orders = []
    for seed in (1, 2):
        t = trainer(small, seed=seed)
        seen = []
        original = t.stepper.step

        def watched(data, index, *rest, seen=seen, original=original):
            seen.append(index.copy())
            return original(data, index, *rest)

        t.stepper.step = watched
        t.epoch()
        orders.append(np.concatenate(seen))
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(110)), "each row once an epoch"
    assert not np.array_equal(orders[0], orders[1])


def test_data_init_draws_other_rows_for_other_seeds(small):
    data, _, standard, d_in = prepare(*small)
    settings = SAESettings(**{**QUICK, "d_sae": 10}, data_init=1.0).resolve(110, d_in)
    z = standard.apply(small[0])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    rows = []
    for seed in (1, 2):
        W_dec = initial_state(settings, d_in, seed, data, standard).parameters["W_dec"].numpy()
        cosine = W_dec @ z.T
        assert cosine.max(1) == pytest.approx(np.ones(10), abs=1e-5)
        rows.append(set(cosine.argmax(1)))
    assert rows[0] != rows[1]


def test_nothing_global_is_seeded(small):
    before = torch.random.get_rng_state().clone(), np.random.get_state()[1].copy()
    train(*small, SAESettings(**QUICK), seed=0)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


RESUME = """
import sys, os, signal
import numpy as np
sys.path.insert(0, {here!r})
from conftest import planted_data
import torch
torch.set_num_threads(1)
from moodlens.sae import SAESettings, train
x, _ = planted_data(150, d_in=12, n_features=16)
settings = SAESettings(architecture={architecture!r}, d_sae=24, k=3, epochs=12, batch_size=32, dead_feature_threshold=1)
def die(entry):
    if entry["epoch"] == 7:
        os.kill(os.getpid(), signal.SIGKILL)
train(x[:110], x[110:], settings, seed=5, checkpoint={path!r}, checkpoint_seconds=0.0, on_epoch=die)
"""


@pytest.mark.parametrize("architecture", ["l1", "batchtopk"])
def test_a_killed_training_resumes_to_the_same_bits(small, tmp_path, architecture):
    path = tmp_path / "state.safetensors"
    code = RESUME.format(here=str(Path(__file__).parent), architecture=architecture, path=str(path))
    child = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    settings = SAESettings(
        architecture=architecture, d_sae=24, k=3, epochs=12, batch_size=32, dead_feature_threshold=1
    )
    epochs = []
    resumed = train(
        *small, settings, seed=5, checkpoint=path, on_epoch=lambda entry: epochs.append(entry["epoch"])
    )
    assert epochs == [7, 8, 9, 10, 11], "the killed epoch is done again, the earlier ones are not"
    whole = train(*small, settings, seed=5)
    assert same(weights(resumed.sae), weights(whole.sae))
    assert resumed.history == whole.history
    again = train(*small, settings, seed=5, checkpoint=path)
    assert same(weights(again.sae), weights(whole.sae)), (
        "a finished checkpoint gives the SAE without training"
    )


def test_a_checkpoint_of_another_run_is_refused(small, tmp_path):
    path = tmp_path / "state.safetensors"
    train(*small, SAESettings(**QUICK), seed=0, checkpoint=path)
    for x_train, settings, seed in (
        (small[0], SAESettings(**QUICK), 1),
        (small[0], SAESettings(**QUICK, learning_rate=2e-3), 0),
        (small[0] + 1, SAESettings(**QUICK), 0),
    ):
        with pytest.raises(BadInput, match="other data, settings or seed"):
            train(x_train, small[1], settings, seed=seed, checkpoint=path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BadInput, match="not a readable checkpoint"):
        train(*small, SAESettings(**QUICK), seed=0, checkpoint=path)


def test_progress_counts_epochs(small):
    seen = []
    train(*small, SAESettings(**QUICK), seed=0, progress=lambda *args: seen.append(args))
    assert seen == [("epochs", i + 1, 6) for i in range(6)]


def test_a_store_trains_like_its_array(small):
    class Store:
        def __init__(self, x):
            self.x = x.astype(np.float16)

        @property
        def rows(self):
            return len(self.x)

        def batch(self, row_indices):
            return self.x[row_indices]

    x_train, x_val = (x.astype(np.float16).astype(np.float32) for x in small)
    a = train(Store(small[0]), Store(small[1]), SAESettings(**QUICK), seed=0)
    b = train(x_train, x_val, SAESettings(**QUICK), seed=0)
    assert same(weights(a.sae), weights(b.sae))


class TestBadInput:
    def test_rows(self, small):
        x_train, x_val = small
        settings = SAESettings(**QUICK)
        hole = x_train.copy()
        hole[13, 2] = np.nan
        with pytest.raises(BadInput, match="x_train row 13 holds NaN"):
            train(hole, x_val, settings, seed=0)
        with pytest.raises(BadInput, match="x_val has 11 columns where 12"):
            train(x_train, x_val[:, :11], settings, seed=0)
        with pytest.raises(BadInput, match="x_val is missing"):
            train(x_train, None, settings, seed=0)  # type: ignore[arg-type]
        with pytest.raises(BadInput, match="x_val has no rows"):
            train(x_train, x_val[:0], settings, seed=0)
        with pytest.raises(BadInput, match="all rows are the same"):
            train(np.ones_like(x_train), x_val, settings, seed=0)
        with pytest.raises(BadInput, match="float array"):
            train(np.zeros((3, 4), dtype=int), x_val, settings, seed=0)

    def test_settings(self, small):
        with pytest.raises(BadInput, match=r"'l1_coeff' does not exist; known: .*l1_coefficient"):
            Settings.parse({"l1_coeff": 1})
        with pytest.raises(BadInput, match="learning_rate = -1"):
            Settings.parse({"learning_rate": -1})
        with pytest.raises(ValueError, match="Extra inputs"):
            Settings(l1_coeff=1)  # type: ignore[call-arg]
        with pytest.raises(BadInput, match="lower k"):
            train(*small, SAESettings(d_sae=8, k=9), seed=0)
        with pytest.raises(BadInput, match="must rise and end"):
            train(*small, SAESettings(architecture="matryoshka", d_sae=8, k=2, prefixes=(4, 4, 8)), seed=0)

    def test_divergence_is_named(self, small):
        with pytest.raises(BadInput, match="diverged in epoch"):
            train(*small, SAESettings(**QUICK, decoder_norm=False, learning_rate=1e30), seed=0)


def test_defaults_are_the_roadmaps():
    s = SAESettings()
    assert (s.l1_coefficient, s.expansion_factor, s.learning_rate) == (1e-3, 8, 1e-3)
    assert (s.encoder_init_scale, s.patience, s.decoder_norm) == (0.1, 50, True)
    assert s.resolve(70, 768).d_sae == 6144
    assert s.resolve(70, 768).batch_size == 16


@pytest.mark.parametrize("rows", [70, 1000, 8000, 100_000])
def test_resolved_schedule_suits_the_number_of_rows(rows):
    s = SAESettings().resolve(rows, 384)
    assert s.batch_size is not None
    assert s.epochs is not None
    steps = s.epochs * -(-rows // s.batch_size)
    assert 16 <= s.batch_size <= max(16, rows / 16)
    assert 1000 <= steps <= 5000


def test_schedule():
    s = SAESettings(learning_rate=1.0, warmup=0.1, decay=0.2, sparsity_warmup=0.5, k=10, d_sae=100)
    rates = [plan(s, i, 100).learning_rate for i in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:81] == pytest.approx([1.0] * 72)
    assert 0 < rates[99] == pytest.approx(0.05)
    ks = [plan(s, i, 100).k for i in range(100)]
    assert 38 < ks[0] < 40
    assert ks[49:] == [10] * 51
    l1 = [plan(s.model_copy(update={"l1_coefficient": 2.0}), i, 100).l1 for i in range(100)]
    assert l1[24] == pytest.approx(1.0)
    assert l1[99] == 2.0


def test_augmentation_adds_differences_of_training_rows_and_nothing_else():
    x = np.eye(4, dtype=np.float32)[np.arange(64) % 4] + 5
    data, val, standard, d_in = prepare(x, x[:8])
    settings = SAESettings(d_sae=4, k=1, batch_size=64, epochs=1, augment=1.0).resolve(64, d_in)
    trainer = Trainer(data, val, standard, settings, d_in, seed=3)
    added = trainer.differences(1000, 0) * standard.scale
    assert np.allclose(added.sum(1), 0, atol=1e-5)  # every row has the same sum, so differences have none
    changed = (np.abs(added) > 1e-6).any(1).mean()
    assert 0.25 < changed < 0.5  # half the rows, less those that drew two equal rows
    assert np.abs(added).max() <= 1 + 1e-5
    assert np.array_equal(trainer.differences(5, 3), trainer.differences(5, 3))
