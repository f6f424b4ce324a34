"""Trainings that diverge, numbers that are none, and the smallest of everything: one line or an SAE, never a crash."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.sae_loop import ARCHITECTURES, planted_data, quick, used
from moodlens.core import BadInput
from moodlens.sae import encode_rows, kernels_select, reconstruction_metrics, train
from moodlens.sae.plain import StepPlan
from moodlens.sae.rows import ArrayRows, measure
from moodlens.sae.screen import Buffers
from moodlens.sae.sparse import SparseStep
from moodlens.sae.state import initial_state


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    "wild",
    [
        {"learning_rate": 1e15},
        {"learning_rate": 1e38},
        {"encoder_init_scale": 1e30},
        {"learning_rate": 1e15, "decoder_norm": False},
        {"learning_rate": 1e15, "d_sae": 200, "batch_size": 8, "k": 1},
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_divergence_is_one_line(small, architecture, wild, plain):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadInput, match=r"diverged in epoch \d+: .*lower learning_rate \(\S+\)") as caught:
            train(*small, quick(architecture, epochs=40, **wild), seed=0, plain=plain)
    assert "\n" not in str(caught.value)


ODD = [np.nan, np.inf, -np.inf, 3e38, -3e38, 1e30, 1e-45, 0.0]


class Fenced(Buffers):
    """Buffers between fences that nobody may touch."""

    def __init__(self):
        super().__init__()
        self.whole = []

    def get(self, name, *shape, dtype=np.float32):
        size = int(np.prod(shape))
        whole = np.full(size * np.dtype(dtype).itemsize + 256, 0x5A, dtype=np.uint8)
        self.whole.append(whole)
        return whole[128:-128].view(dtype).reshape(shape)

    def check(self):
        for whole in self.whole:
            assert (whole[:128] == 0x5A).all()
            assert (whole[-128:] == 0x5A).all()
        self.whole.clear()


@given(
    st.sampled_from(ARCHITECTURES),
    st.integers(1, 12),
    st.integers(1, 90),
    st.integers(1, 30),
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(["W_enc", "W_dec", "b_enc", "b_dec", "x"]), st.sampled_from(ODD)), max_size=4),
    st.integers(0, 999),
)  # fmt: skip
def test_no_number_leads_out_of_an_array(architecture, n, d_sae, k, bfloat16, odd, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n + 1, 5)).astype(np.float32)
    data = ArrayRows(x)
    standard = measure(data)
    settings = used(architecture, d_sae=d_sae, k=min(k, d_sae), batch_size=n + 1, l1_coefficient=0.01)
    state = initial_state(settings.resolve(n + 1, 5), 5, 0, data, standard)
    for name, value in odd:
        flat = x.reshape(-1) if name == "x" else state.parameters[name].numpy().reshape(-1)
        flat[rng.random(flat.size) < rng.choice([0.05, 1.0])] = value
    stepper = SparseStep(state, settings.resolve(n + 1, 5), standard, np.full(9, 1e-3), bfloat16=bfloat16)
    stepper.buffers = stepper.screen.buffers = fenced = Fenced()
    dead = torch.from_numpy(rng.random(d_sae) < 0.3)
    with np.errstate(all="ignore"):
        for _ in range(3):
            stepper.step(data, np.arange(n + 1), StepPlan(1e-3, 0.01, min(k, d_sae)), dead)
            fenced.check()
        stepper.errors(data, np.arange(n + 1), min(k, d_sae))
    fenced.check()


@given(st.lists(st.sampled_from([*ODD, 1.0, -1.0, 2.0]), min_size=1, max_size=60), st.data())
def test_ranking_takes_anything(values, data):
    array = np.array(values, dtype=np.float32)
    count = data.draw(st.integers(1, len(values)))
    ranked = np.sort(np.where(array > 0, array, 0).astype(np.float32))[::-1]
    assert kernels_select.kth_largest(array, count) == ranked[count - 1]
    many = np.tile(array, 5000 // len(array) + 1)  # the other way of finding it
    assert kernels_select.kth_largest(many, count * (len(many) // len(array))) == ranked[count - 1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("rows", "held_out", "small"),
    [
        (40, 9, {"batch_size": 500}),
        (40, 9, {"d_sae": 1, "k": 1}),
        (40, 9, {"d_sae": 7, "k": 7}),
        (2, 1, {}),
        (40, 1, {"batch_size": 1}),
        (3, 9, {"d_sae": 200, "k": 200, "batch_size": 2}),
    ],
)
def test_the_smallest_of_everything_trains(architecture, rows, held_out, small):
    x, _ = planted_data(60, d_in=8, n_features=10)
    settings = quick(architecture, **{"epochs": 3, **small})
    found = train(x[:rows], x[-held_out:], settings, seed=0)
    assert np.isfinite(encode_rows(found.sae, x)).all()
    assert np.isfinite(reconstruction_metrics(found.sae, x, x.mean(0))["mse"])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_column_trains(architecture):
    x = np.random.default_rng(0).standard_normal((50, 1)).astype(np.float32)
    assert train(x, x[:5], quick(architecture, epochs=2), seed=0).sae.d_in == 1


@pytest.mark.parametrize("scale", [1e-25, 1e-3, 1e25])
def test_scale_does_not_matter(small, scale):
    """The same codes in the units of the embedding, up to rounding."""
    plain = train(*small, quick(), seed=0)
    scaled = train(*((x * np.float32(scale)).astype(np.float32) for x in small), quick(), seed=0)
    one, other = (t.history[-1].val_explained_variance for t in (plain, scaled))
    assert other == pytest.approx(one, abs=1e-3)


def test_a_held_out_row_that_is_the_mean_leaves_nothing_to_explain(small):
    x = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float32)
    found = train(x, np.zeros((1, 2), dtype=np.float32), quick(d_sae=4, k=1, epochs=2), seed=0)
    assert found.history[-1].val_explained_variance is None


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((30, 4), 7.0), "all rows are the same to rounding"),
        (np.full((1, 4), 7.0), "all rows are the same to rounding"),
        (np.zeros((30, 4)), "all rows are the same to rounding"),
        (
            1000 + 1e-6 * np.random.default_rng(0).standard_normal((30, 4)),
            "all rows are the same to rounding",
        ),
        (
            1e-38 * np.random.default_rng(0).standard_normal((30, 4)),
            "multiply them into the range of float32",
        ),
        (1e35 * np.random.default_rng(0).standard_normal((30, 4)), "multiply them into the range of float32"),
        (np.where(np.eye(4) > 0, np.nan, 1.0), "x_train row 0 holds NaN or infinity"),
        (np.where(np.arange(16).reshape(4, 4) == 14, np.inf, 1.0), "x_train row 3 holds NaN or infinity"),
        (np.full((4, 4), 1e300), "x_train row 0 holds NaN or infinity"),
        (np.zeros((0, 4)), "has no rows"),
        (np.zeros((4, 0)), "no columns"),
        (np.zeros(4), "float array of shape"),
        (np.zeros((2, 2, 2)), "float array of shape"),
        (np.array([["a", "b"]]), "float array of shape"),
        (np.zeros((3, 4), dtype=complex), "float array of shape"),
        (None, "x_train is missing"),
    ],
)
def test_rows_that_cannot_be_trained_on_are_one_line(x, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadInput, match=message):
            train(x, np.ones((3, 4)), quick(), seed=0)


def test_settings_that_do_not_fit_the_rows(small):
    with pytest.raises(BadInput, match="lower k"):
        train(*small, quick(d_sae=8, k=9), seed=0)
    with pytest.raises(BadInput, match="must rise and end"):
        train(*small, quick("matryoshka", d_sae=8, k=2, prefixes=(4, 4, 8)), seed=0)


def test_a_threshold_that_is_counted_is_the_one_that_is_found_by_sorting(monkeypatch):
    from moodlens.sae import model
    from moodlens.sae.rows import ArrayRows

    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 8)).astype(np.float32)
    W_enc = rng.standard_normal((8, 40)).astype(np.float32)
    parts = W_enc, np.ascontiguousarray(W_enc.T), np.zeros(40, np.float32), np.zeros(8, np.float32)
    sae = model.SAE(*map(torch.from_numpy, parts), activation="relu")
    for k in (0.002, 1, 3.3, 19, 25, 40):  # the last two: no more are positive
        sorting = model.calibrated_threshold(sae, ArrayRows(x), k)
        with monkeypatch.context() as patch:
            patch.setattr(model, "MANY", 0)
            assert model.calibrated_threshold(sae, ArrayRows(x), k) == sorting, k
    twice = ArrayRows(np.concatenate([x, x]))  # the two numbers that are looked for are one
    sorting = model.calibrated_threshold(sae, twice, 1.0005)
    monkeypatch.setattr(model, "MANY", 0)
    assert model.calibrated_threshold(sae, twice, 1.0005) == sorting


def test_what_a_core_leaves_is_the_same_in_memory_and_on_disk(monkeypatch, tmp_path):
    from moodlens.core import maps
    from moodlens.sae import left
    from moodlens.sae.training import train_rest
    from moodlens.sae.untrained import untrained
    from moodlens.settings.sae import SAESettings

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    x = np.random.default_rng(1).standard_normal((300, 12)).astype(np.float32)
    core = untrained("random", x, d_sae=4, active=1, seed=0)
    settings = SAESettings(d_sae=24, k=3, epochs=2)
    made = []
    for held in (left.HELD, 0):
        monkeypatch.setattr(left, "HELD", held)
        monkeypatch.setattr(maps, "HELD", held)
        monkeypatch.setattr(maps, "_LOOK", held)
        made.append(train_rest(x[:250], x[250:], settings, core, seed=0))
    assert made[0].history == made[1].history
    for name, tensor in made[0].sae.state_dict().items():
        assert torch.equal(tensor, made[1].sae.state_dict()[name]), name
    assert not list(tmp_path.iterdir())
