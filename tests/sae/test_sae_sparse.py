"""The fast steps against the plain ones: gradients, Adam that waits, whole trainings, threads, resuming."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moodlens.core import BadInput
from moodlens.sae import encode_rows, reconstruction_metrics, reference, select_kernels, train, train_many
from moodlens.sae.batches import Batch, Buffers
from moodlens.sae.dense import DenseStep
from moodlens.sae.dense import gradients as dense_gradients
from moodlens.sae.rows import ArrayRows, measure
from moodlens.sae.schedule import StepPlan
from moodlens.sae.screening import Screen
from moodlens.sae.sparse import SparseStep
from moodlens.sae.state import initial_state
from moodlens.sae.steppers import make_stepper
from moodlens.sae.threads import Crew
from moodlens.settings.sae import SAESettings

ARCHITECTURES = ["l1", "topk", "batchtopk", "matryoshka"]
RATES = np.full(1000, 1e-3)


def start(n, d_in, d_sae, seed, **settings):
    """``(data, standard, settings, state)`` with biases that are not zero, and weights without symmetry."""
    rng = np.random.default_rng(seed)
    x = (
        rng.standard_normal((n, 4)) @ rng.standard_normal((4, d_in)) + rng.standard_normal((n, d_in)) + 3
    ).astype(np.float32)
    data = ArrayRows(x)
    standard = measure(data)
    resolved = SAESettings(**{"d_sae": d_sae, "batch_size": n, "epochs": 1, **settings}).resolve(n, d_in)
    state = initial_state(resolved, d_in, seed, data, standard)
    draw = torch.Generator().manual_seed(seed)
    for name, scale in (("W_enc", 0.3), ("b_enc", 0.02), ("b_dec", 0.05)):
        p = state.parameters[name]
        p += scale * torch.randn(p.shape, generator=draw) / (d_in**0.5 if p.ndim == 2 else 1)
    if not resolved.decoder_norm:
        state.parameters["W_dec"] *= 0.5 + torch.rand(d_sae, 1, generator=draw)
    return data, standard, resolved, state


def relative(a, b):
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


shapes = st.tuples(st.integers(2, 40), st.integers(3, 40), st.integers(8, 150), st.integers(0, 10_000))


@given(
    shapes,
    st.sampled_from(ARCHITECTURES),
    st.integers(1, 8),
    st.booleans(),
    st.sampled_from([0.0, 0.3]),
    st.booleans(),
)
def test_one_step_has_the_plain_gradients(shape, architecture, k, decoder_norm, aux, bfloat16):
    n, d_in, d_sae, seed = shape
    data, standard, settings, state = start(
        n, d_in, d_sae, seed, architecture=architecture, k=k, decoder_norm=decoder_norm, aux_coefficient=aux,
        aux_k=3, l1_coefficient=0.05,
    )  # fmt: skip
    dead = torch.from_numpy(np.random.default_rng(seed).random(d_sae) < 0.2)
    now = StepPlan(1e-3, 0.05, k)
    z = torch.from_numpy(standard.apply(data.array))
    expected, seen = reference.gradients(state.parameters, z, settings, now, dead)
    dense, seen_dense = dense_gradients(state.parameters, z, settings, now, dead)
    for name, gradient in expected.items():
        assert relative(dense[name], gradient) < 1e-4, name
    assert seen_dense.loss == pytest.approx(seen.loss, rel=1e-5)
    if architecture == "l1" and not decoder_norm:
        stepper = make_stepper(state, settings, standard, RATES, "cpu", 1)
        assert isinstance(stepper, DenseStep)
    else:
        stepper = SparseStep(state, settings, standard, RATES, bfloat16=bfloat16)
    result = stepper.step(data, np.arange(n), now, dead)
    stepper.sync()
    # After one step from zero, Adam's first moment is the gradient times 1 - beta1.
    for name, gradient in expected.items():
        assert relative(state.mean[name] / (1 - settings.beta1), gradient) < 1e-4, name
    assert result.loss == pytest.approx(seen.loss, rel=1e-4)
    assert result.unexplained == pytest.approx(seen.unexplained, rel=1e-4)
    assert result.active == seen.active
    assert torch.equal(result.fired, seen.fired)
    assert torch.equal(state.age, torch.ones(d_sae, dtype=torch.int64))


def test_a_sparse_l1_step_too():
    """With few active codes l1 leaves its dense steps."""
    data, standard, settings, state = start(60, 20, 200, 1, architecture="l1", l1_coefficient=0.05)
    dead, now = torch.zeros(200, dtype=torch.bool), StepPlan(1e-3, 0.05, 4)
    z = torch.from_numpy(standard.apply(data.array))
    state.parameters["b_enc"] -= reference.pre_activations(state.parameters, z).quantile(0.97)
    expected, seen = reference.gradients(state.parameters, z, settings, now, dead)
    assert 0 < seen.active < 0.08 * 60 * 200
    result = SparseStep(state, settings, standard, RATES).step(data, np.arange(60), now, dead)
    assert result.loss == pytest.approx(seen.loss, rel=1e-5)
    for name, gradient in expected.items():
        assert relative(state.mean[name] / (1 - settings.beta1), gradient) < 1e-4, name


@pytest.mark.parametrize("skipped", [1, 5, 16])
@pytest.mark.parametrize("age", [1, 30, 3000])
def test_catching_up_equals_dense_adam_without_gradient(skipped, age):
    _, standard, settings, state = start(50, 16, 400, 0, k=1, batch_size=10)
    rng = np.random.default_rng(0)
    for name in ("W_enc", "W_dec", "b_enc"):
        state.square[name] += torch.from_numpy(10 ** rng.uniform(-13, -9, state.square[name].shape)).float()
        noise = torch.from_numpy(rng.standard_normal(state.mean[name].shape)).float()
        state.mean[name] += 0.2 * noise * state.square[name].sqrt()
    W_dec = state.parameters["W_dec"]
    state.mean["W_dec"] -= (state.mean["W_dec"] * W_dec).sum(-1, keepdim=True) * W_dec
    state.age += age
    state.step = age
    before, dense = copy.deepcopy(state), copy.deepcopy(state)
    rates = np.linspace(1e-3, 2e-3, age + skipped)
    lazy = SparseStep(state, settings, standard, rates)
    assert lazy.wait > 1
    for step in range(age, age + skipped):
        zero = {name: torch.zeros_like(p) for name, p in dense.parameters.items()}
        reference.adam(dense, zero, settings, rates[step])
    state.step = dense.step
    lazy.sync()
    for name in ("W_enc", "W_dec", "b_enc"):
        moved = dense.parameters[name] - before.parameters[name]
        # Epsilon at its mean over the steps, and rows normalised once: the difference is a thousandth of the way.
        assert relative(state.parameters[name] - before.parameters[name], moved) < 2e-3, name
        assert relative(state.mean[name], dense.mean[name]) < 1e-5
        assert relative(state.square[name], dense.square[name]) < 1e-5
    assert torch.equal(state.age, dense.age)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("d_sae", "batch"), [(64, 64), (512, 16)])
def test_trainings_end_as_well_as_plain_ones(planted, architecture, d_sae, batch):
    x_train, x_val = planted[0][:700], planted[1][:200]
    settings = SAESettings(
        architecture=architecture, d_sae=d_sae, k=3, epochs=12, batch_size=batch, learning_rate=3e-3,
        l1_coefficient=0.02, dead_feature_threshold=2,
    )  # fmt: skip
    fast, plain = (train(x_train, x_val, settings, seed=0, plain=plain) for plain in (False, True))
    found, expected = (
        reconstruction_metrics(one.sae, x_val, x_train.mean(0))["explained_variance"] for one in (fast, plain)
    )
    assert expected > 0.5
    assert found == pytest.approx(expected, abs=0.015 if d_sae == 512 else 0.005)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_threads_do_not_change_a_bit(monkeypatch, architecture):
    monkeypatch.setattr("moodlens.sae.sparse.SMALL", 0)
    data, standard, settings, state = start(90, 20, 300, 2, architecture=architecture, k=4, batch_size=30)
    states = [copy.deepcopy(state) for _ in range(2)]
    dead = torch.zeros(300, dtype=torch.bool)
    dead[::5] = True
    for threads, one in enumerate(states, 1):
        stepper = SparseStep(one, settings, standard, RATES, threads=threads)
        for step in range(8):
            stepper.step(data, np.arange(30) + step, StepPlan(1e-3, 0.01, 4), dead)
        stepper.sync()
    for name in state.parameters:
        assert torch.equal(states[0].parameters[name], states[1].parameters[name]), name
        assert torch.equal(states[0].square[name], states[1].square[name]), name


def test_members_side_by_side_equal_each_alone(small):
    jobs = [(SAESettings(d_sae=100, k=2, epochs=6, batch_size=16, patience=3), seed) for seed in range(5)]
    alone = [train(*small, settings, seed=seed) for settings, seed in jobs]
    torch.set_num_threads(2)
    try:
        together = train_many(*small, jobs)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    for one, other in zip(alone, together, strict=True):
        assert one.seed == other.seed
        assert len(one.history) == len(other.history)
        np.testing.assert_allclose(
            encode_rows(one.sae, small[1]), encode_rows(other.sae, small[1]), atol=1e-5
        )


def test_an_error_in_a_member_is_raised_and_the_threads_are_given_back(small):
    bad = SAESettings(d_sae=24, k=2, epochs=2, batch_size=16, decoder_norm=False, learning_rate=1e30)
    torch.set_num_threads(2)
    try:
        with pytest.raises(BadInput, match="diverged"):
            train_many(*small, [(bad, 0), (bad, 1)])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
def test_waiting_features_resume_to_the_same_bits(small, tmp_path, architecture):
    settings = SAESettings(
        architecture=architecture,
        d_sae=256,
        k=2,
        epochs=9,
        batch_size=16,
        dead_feature_threshold=1,
        augment=0.5,
    )
    path = tmp_path / "state.safetensors"

    class Stop(Exception):
        pass

    def stop(entry):
        if entry["epoch"] == 5:
            raise Stop

    with pytest.raises(Stop):
        train(*small, settings, seed=3, checkpoint=path, checkpoint_seconds=0.0, on_epoch=stop)
    resumed = train(*small, settings, seed=3, checkpoint=path)
    whole = train(*small, settings, seed=3)
    assert resumed.history == whole.history
    for name, tensor in whole.sae.state_dict().items():
        assert torch.equal(tensor, resumed.sae.state_dict()[name]), name


@given(
    st.integers(1, 30),
    st.integers(4, 300),
    st.integers(1, 12),
    st.booleans(),
    st.booleans(),
    st.integers(0, 999),
)
def test_screening_finds_exactly_the_largest(n, d_sae, k, rowwise, bfloat16, seed):
    k = min(k, d_sae)
    data, standard, settings, state = start(
        n + 1, 12, d_sae, seed, k=k, architecture="topk" if rowwise else "batchtopk"
    )
    screen = Screen(settings, Crew(1), Buffers(), bfloat16)
    p = state.parameters
    screen.load(p["W_enc"], p["b_enc"])
    z = Batch()
    z.read(data, np.arange(n + 1), standard, Crew(1))
    found = screen.largest(z, k, None)
    codes = np.zeros((n + 1, d_sae), dtype=np.float32)
    for i in range(n + 1):
        for a in range(found.starts[i], found.starts[i] + found.counts[i]):
            codes[i, found.feature[a]] = max(found.value[a], 0)
    pre = reference.pre_activations(p, torch.from_numpy(z.values))
    expected = reference.activate(settings, pre, k).numpy()
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    assert ((codes > 0) == (expected > 0)).all()


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=80), st.data())
def test_kth_largest(values, data):
    k = data.draw(st.integers(1, len(values)))
    array = np.array(values, dtype=np.float32)
    assert select_kernels.kth_largest(array.copy(), k) == np.sort(array)[::-1][k - 1]


def test_equal_codes_are_kept_in_order_up_to_the_count():
    rng = np.random.default_rng(0)
    value = rng.integers(1, 6, 9000).astype(np.float32)
    starts, counts = np.array([0, 4000]), np.array([4000, 5000])
    threshold, kept = np.zeros(1, np.float32), value.copy()
    select_kernels.keep_largest(0, 1, 2, starts, counts, 3000, kept, threshold)
    assert (kept > 0).sum() == 3000
    assert threshold[0] == np.sort(value)[::-1][2999]
    assert (kept[value > threshold[0]] > 0).all()
    ties = kept[value == threshold[0]] > 0
    assert not (np.diff(ties.astype(int)) > 0).any(), "the first of equals are kept"


def test_a_device_that_is_not_there_is_an_error(small):
    with pytest.raises(BadInput, match="device 'tpu' is not available here"):
        train(*small, SAESettings(d_sae=24, k=2, epochs=1), seed=0, device="tpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cuda_trains_as_well_as_the_plain_path(planted, architecture):
    x_train, x_val = planted[0][:700], planted[1][:200]
    settings = SAESettings(
        architecture=architecture, d_sae=64, k=3, epochs=12, batch_size=64, learning_rate=3e-3
    )
    cuda = train(x_train, x_val, settings, seed=0, device="cuda")
    plain = train(x_train, x_val, settings, seed=0, plain=True)
    found, expected = (
        reconstruction_metrics(one.sae, x_val, x_train.mean(0))["explained_variance"] for one in (cuda, plain)
    )
    assert found == pytest.approx(expected, abs=0.02)
