"""A training as a whole: seeds, settings and schedule, checkpoints, progress, and input that cannot be used."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.sae_loop import ARCHITECTURES, quick, same, trainer, weights
from moodlens.core import BadInput
from moodlens.sae import train
from moodlens.sae.plain import plan
from moodlens.sae.state import initial_state
from moodlens.sae.training import prepare
from moodlens.settings.base import validate
from moodlens.settings.sae import SAESettings


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_same_seed_same_bytes_other_seed_other_weights(small, architecture):
    settings = quick(architecture)
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
    data, _, standard, d_in, _ = prepare(*small)
    settings = quick(d_sae=10, data_init=1.0).resolve(110, d_in)
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
    train(*small, quick(), seed=0)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])


RESUME = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from helpers.sae_loop import planted_data, quick
import torch
torch.set_num_threads(1)
from moodlens.sae import checkpoint, train
checkpoint.SECONDS = 0.0
x, _ = planted_data(150, d_in=12, n_features=16)
def die(entry):
    if entry.epoch == 5:
        os.kill(os.getpid(), signal.SIGKILL)
settings = quick({architecture!r}, epochs=9, dead_feature_threshold=1)
train(x[:110], x[110:], settings, seed=5, checkpoint={path!r}, on_epoch=die)
"""


@pytest.mark.parametrize("architecture", ["l1", "batchtopk"])
def test_a_killed_training_resumes_to_the_same_bits(small, tmp_path, architecture):
    path = tmp_path / "state.safetensors"
    tests = str(Path(__file__).parent.parent)
    code = RESUME.format(tests=tests, architecture=architecture, path=str(path))
    child = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True)
    assert child.returncode == -signal.SIGKILL, child.stderr
    settings = quick(architecture, epochs=9, dead_feature_threshold=1)
    epochs = []
    resumed = train(
        *small, settings, seed=5, checkpoint=path, on_epoch=lambda entry: epochs.append(entry.epoch)
    )
    assert epochs == [5, 6, 7, 8], "the killed epoch is done again, the earlier ones are not"
    whole = train(*small, settings, seed=5)
    assert same(weights(resumed.sae), weights(whole.sae))
    assert resumed.history == whole.history
    again = train(*small, settings, seed=5, checkpoint=path)
    assert same(weights(again.sae), weights(whole.sae)), (
        "a finished checkpoint gives the SAE without training"
    )


def test_a_checkpoint_of_another_run_is_refused(small, tmp_path):
    path = tmp_path / "state.safetensors"
    train(*small, quick(), seed=0, checkpoint=path)
    for x_train, settings, seed in (
        (small[0], quick(), 1),
        (small[0], quick(learning_rate=2e-3), 0),
        (small[0] + 1, quick(), 0),
    ):
        with pytest.raises(BadInput, match="other data, settings or seed"):
            train(x_train, small[1], settings, seed=seed, checkpoint=path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(BadInput, match="not a readable checkpoint"):
        train(*small, quick(), seed=0, checkpoint=path)


def test_progress_counts_epochs(small):
    seen = []
    train(*small, quick(), seed=0, progress=lambda *args: seen.append(args))
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
    a = train(Store(small[0]), Store(small[1]), quick(), seed=0)
    b = train(x_train, x_val, quick(), seed=0)
    assert same(weights(a.sae), weights(b.sae))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"l1_coeff": 1}, "unknown setting 'l1_coeff'; did you mean 'l1_coefficient'"),
        ({"learning_rate": -1}, "learning_rate: .*-1"),
        ({"learning_rate": float("inf")}, "learning_rate: .*finite"),
        ({"encoder_init_scale": float("nan")}, "encoder_init_scale: .*finite"),
        ({"k": True}, "k: "),
        ({"architecture": "l1", "k": 8}, "k is not used by architecture l1, only by topk, batchtopk, matryoshka"),
        ({"architecture": "l1", "aux_k": 8}, "aux_k is not used by architecture l1"),
        ({"architecture": "l1", "aux_coefficient": 0}, "aux_coefficient is not used by architecture l1"),
        ({"l1_coefficient": 0.1}, "l1_coefficient is not used by architecture batchtopk, only by l1"),
        ({"architecture": "topk", "prefixes": [4, 8]}, "prefixes is not used by .* only by matryoshka"),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_are_one_line(values, message):
    with pytest.raises(BadInput, match=f"sae: {message}"):
        validate(SAESettings, values, "sae")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_settings_survive_being_written_down_with_all_defaults(architecture):
    for settings in (quick(architecture), quick(architecture).resolve(100, 12)):
        assert validate(SAESettings, settings.model_dump(mode="json"), "sae") == settings


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
