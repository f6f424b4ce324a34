"""The fast steps against the plain ones: gradients, Adam that waits, whole trainings, threads, resuming."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.sae_loop import ARCHITECTURES, quick, same, used, weights
from moodlens.core import BadInput
from moodlens.core.threads import ThreadTeam
from moodlens.sae import kernels_select, plain, reconstruction_metrics, train, train_many
from moodlens.sae.dense import DenseStep
from moodlens.sae.dense import gradients as dense_gradients
from moodlens.sae.plain import StepPlan
from moodlens.sae.rows import ArrayRows, measure
from moodlens.sae.screen import Buffers, Screen
from moodlens.sae.sparse import SparseStep
from moodlens.sae.state import initial_state
from moodlens.sae.steps import make_stepper

RATES = np.full(1000, 1e-3)


def start(n, d_in, d_sae, seed, architecture="batchtopk", **settings):
    """``(data, standard, settings, state)`` with biases that are not zero, and weights without symmetry."""
    rng = np.random.default_rng(seed)
    x = (
        rng.standard_normal((n, 4)) @ rng.standard_normal((4, d_in)) + rng.standard_normal((n, d_in)) + 3
    ).astype(np.float32)
    data = ArrayRows(x)
    standard = measure(data)
    resolved = used(architecture, **{"d_sae": d_sae, "batch_size": n, "epochs": 1, **settings}).resolve(
        n, d_in
    )
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
    expected, seen = plain.gradients(state.parameters, z, settings, now, dead)
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
    state.parameters["b_enc"] -= plain.pre_activations(state.parameters, z).quantile(0.97)
    expected, seen = plain.gradients(state.parameters, z, settings, now, dead)
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
        plain.adam(dense, zero, settings, rates[step])
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
    settings = used(
        architecture, d_sae=d_sae, k=3, epochs=12, batch_size=batch, learning_rate=3e-3, l1_coefficient=0.02,
        dead_feature_threshold=2,
    )  # fmt: skip
    found, expected = (
        reconstruction_metrics(
            train(x_train, x_val, settings, seed=0, plain=definition).sae, x_val, x_train.mean(0)
        )["explained_variance"]
        for definition in (False, True)
    )
    assert expected > 0.5
    assert found == pytest.approx(expected, abs=0.015 if d_sae == 512 else 0.005)


@pytest.fixture
def every_step_shared(monkeypatch):
    """Small steps are shared out among threads like large ones, and their features cut into chunks."""
    monkeypatch.setattr("moodlens.sae.sparse.SMALL", 0)
    monkeypatch.setattr("moodlens.sae.screen.WIDTH", 70)
    monkeypatch.setattr("moodlens.sae.dense.PIECE", 16)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("k", [4, 40])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_threads_do_not_change_a_bit(every_step_shared, architecture, k, bfloat16):
    data, standard, settings, state = start(90, 20, 300, 2, architecture=architecture, k=k, batch_size=30)
    states = [copy.deepcopy(state) for _ in range(2)]
    dead = torch.zeros(300, dtype=torch.bool)
    dead[::5] = True
    for threads, mine in zip((1, 3), states, strict=True):
        stepper = SparseStep(mine, settings, standard, RATES, threads=threads, bfloat16=bfloat16)
        for step in range(6):
            stepper.step(data, np.arange(30) + step, StepPlan(1e-3, 0.01, k), dead)
        stepper.sync()
    assert same(states[0].parameters, states[1].parameters)
    assert same(states[0].square, states[1].square)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_training_is_the_same_on_any_number_of_threads(every_step_shared, small, architecture):
    settings = quick(architecture, d_sae=100, epochs=3, decoder_norm=architecture != "l1")
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            found.append(weights(train(*small, settings, seed=1).sae))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(1)
    assert same(*found)


def test_many_are_the_same_as_each_alone(small):
    jobs = [
        *((quick(d_sae=100, k=2, batch_size=16, patience=3), seed) for seed in range(3)),
        (quick("l1", epochs=4), 0),
        (quick("topk", d_sae=16, k=2, epochs=12, batch_size=16, learning_rate=3e-2, patience=2), 1),
    ]
    seen = []
    torch.set_num_threads(2)
    try:
        together = train_many(*small, jobs, progress=lambda *args: seen.append(args))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    for (settings, seed), found in zip(jobs, together, strict=True):
        alone = train(*small, settings, seed=seed)
        assert (found.seed, found.stopped, found.history) == (seed, alone.stopped, alone.history)
        assert same(weights(found.sae), weights(alone.sae))
    assert [done for _, done, _ in seen] == list(range(len(jobs) + 1))
    assert seen[-1] == ("saes", len(jobs), len(jobs))


def test_no_jobs_is_an_error(small):
    with pytest.raises(BadInput, match="no jobs"):
        train_many(*small, [])


def test_an_error_in_a_member_is_raised_and_the_threads_are_given_back(small):
    bad = quick(decoder_norm=False, learning_rate=1e30)
    torch.set_num_threads(2)
    try:
        with pytest.raises(BadInput, match="diverged"):
            train_many(*small, [(bad, 0), (bad, 1)])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


@pytest.mark.parametrize("architecture", ["topk", "batchtopk", "matryoshka"])
def test_waiting_features_resume_to_the_same_bits(small, tmp_path, architecture, monkeypatch):
    monkeypatch.setattr("moodlens.sae.checkpoint.SECONDS", 0.0)
    settings = quick(
        architecture, d_sae=256, k=2, epochs=6, batch_size=16, dead_feature_threshold=1, augment=0.5
    )
    path = tmp_path / "state.safetensors"

    class Stop(Exception):
        pass

    def stop(entry):
        if entry.epoch == 3:
            raise Stop

    with pytest.raises(Stop):
        train(*small, settings, seed=3, checkpoint=path, on_epoch=stop)
    resumed = train(*small, settings, seed=3, checkpoint=path)
    whole = train(*small, settings, seed=3)
    assert resumed.history == whole.history
    assert same(weights(whole.sae), weights(resumed.sae))


def codes_of(pairs, shape):
    codes = np.zeros(shape, dtype=np.float32)
    for i in range(len(codes)):
        mine = slice(pairs.starts[i], pairs.starts[i + 1])
        assert (np.diff(pairs.feature[mine]) > 0).all(), "rising: none twice"
        assert (pairs.value[mine] > 0).all()
        codes[i, pairs.feature[mine]] = pairs.value[mine]
    return codes


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
    screen = Screen(settings, ThreadTeam(1), Buffers(), bfloat16)
    p = state.parameters
    screen.load(p["W_enc"], p["b_enc"])
    for _ in range(2):  # the second time the threshold of the first is known
        z = screen.read(data, np.arange(n + 1), standard)
        codes = codes_of(screen.largest(z, k, None), (n + 1, d_sae))
        pre = plain.pre_activations(p, torch.from_numpy(z.values))
        expected = plain.activate(settings, pre, k).numpy()
        np.testing.assert_allclose(codes, expected, atol=1e-5)
        assert ((codes > 0) == (expected > 0))[np.maximum(codes, expected) > 1e-5].all()


@pytest.mark.parametrize("known", [1e-3, 0.9, 5.0])
def test_a_threshold_that_misleads_is_found_out(known):
    """Too low it lists much, too high too little; the codes are the same."""
    data, standard, settings, state = start(40, 12, 200, 0, k=5)
    screen = Screen(settings, ThreadTeam(1), Buffers(), True)
    screen.load(state.parameters["W_enc"], state.parameters["b_enc"])
    z = screen.read(data, np.arange(40), standard)
    right = codes_of(screen.largest(z, 5, None), (40, 200))
    screen._threshold *= known
    assert np.array_equal(codes_of(screen.largest(z, 5, None), (40, 200)), right)


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=80), st.data())
def test_kth_largest(values, data):
    k = data.draw(st.integers(1, len(values)))
    array = np.array(values, dtype=np.float32)
    assert kernels_select.kth_largest(array, k) == max(0, np.sort(array)[::-1][k - 1])


def test_kth_largest_of_many():
    values = np.random.default_rng(0).standard_normal(9000).astype(np.float32)
    for k in (1, 2, 77, 4000, 9000):
        assert kernels_select.kth_largest(values, k) == max(0, np.sort(values)[::-1][k - 1])


def test_equal_codes_are_kept_in_order_up_to_the_count():
    rng = np.random.default_rng(0)
    value = rng.integers(1, 6, (1, 2, 5000)).astype(np.float32)
    counts = np.array([[4000, 5000]])
    feature = np.broadcast_to(np.arange(5000, dtype=np.int32), value.shape).copy()
    lists = kernels_select.Lists(counts.copy(), feature, value.copy())
    threshold = np.zeros(1, np.float32)
    kernels_select.keep_largest(0, 1, 2, lists, 3000, threshold)
    listed = np.concatenate([value[0, 0, :4000], value[0, 1]])
    assert threshold[0] == np.sort(listed)[::-1][2999]
    kept = np.zeros(9000, dtype=bool)
    for row, start_of in enumerate((0, 4000)):
        kept[start_of + lists.feature[0, row, : lists.counts[0, row]]] = True
    assert kept.sum() == 3000
    assert kept[listed > threshold[0]].all()
    assert not (np.diff(kept[listed == threshold[0]].astype(int)) > 0).any(), "the first of equals are kept"


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:99", "cudax"])
def test_a_device_that_is_not_there_is_an_error(small, device):
    with pytest.raises(BadInput, match=f"device '{device}' is not available here"):
        train(*small, quick(epochs=1), seed=0, device=device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cuda_trains_as_well_as_the_plain_path(planted, architecture):
    x_train, x_val = planted[0][:700], planted[1][:200]
    settings = used(architecture, d_sae=64, k=3, epochs=12, batch_size=64, learning_rate=3e-3)
    cuda = train(x_train, x_val, settings, seed=0, device="cuda")
    definition = train(x_train, x_val, settings, seed=0, plain=True)
    found, expected = (
        reconstruction_metrics(trained.sae, x_val, x_train.mean(0))["explained_variance"]
        for trained in (cuda, definition)
    )
    assert found == pytest.approx(expected, abs=0.02)
