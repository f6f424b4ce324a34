"""Values and gradients of every loss term, and the activation functions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from helpers.sae_loop import used
from moodlens.sae.plain import (
    StepPlan,
    auxiliary_loss,
    batch_top_k,
    gradients,
    jump_relu,
    l1_loss,
    loss_terms,
    matryoshka_loss,
    project,
    reconstruction_loss,
    top_k,
)

D_IN, D_SAE, N = 6, 14, 9


def random(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


def unit(x):
    return x / x.norm(dim=-1, keepdim=True)


def check_gradient(function, x):
    """Central differences in float64 against autograd."""
    assert torch.autograd.gradcheck(function, (x.double().requires_grad_(),), eps=1e-6, atol=1e-6)


def test_reconstruction_gradient():
    x = random(N, D_IN)
    check_gradient(lambda x_hat: reconstruction_loss(x, x_hat), random(N, D_IN, seed=1))


def test_l1_value_and_gradient():
    codes, W_dec = random(N, D_SAE).abs(), random(D_SAE, D_IN, seed=1)
    by_hand = sum(codes[i, f] * W_dec[f].square().sum().sqrt() for i in range(N) for f in range(D_SAE)) / N
    assert torch.allclose(l1_loss(codes, W_dec), by_hand)
    check_gradient(lambda c: l1_loss(c, W_dec), codes)
    check_gradient(lambda w: l1_loss(codes, w), W_dec)


def test_matryoshka_is_the_mean_of_its_prefixes():
    x, codes, W_dec, b_dec = random(N, D_IN), random(N, D_SAE).relu(), random(D_SAE, D_IN), random(D_IN)
    short = reconstruction_loss(x, codes[:, :5] @ W_dec[:5] + b_dec)
    full = reconstruction_loss(x, codes @ W_dec + b_dec)
    assert torch.allclose(matryoshka_loss(x, codes, W_dec, b_dec, (5, D_SAE)), (short + full) / 2)
    check_gradient(lambda w: matryoshka_loss(x, codes, w, b_dec, (5, D_SAE)), W_dec)
    check_gradient(lambda b: matryoshka_loss(x, codes, W_dec, b, (5, D_SAE)), b_dec)


class TestAuxiliaryLoss:
    dead = torch.tensor([f % 3 == 0 for f in range(D_SAE)])

    def inputs(self):
        return random(N, D_IN), random(N, D_SAE, seed=1), unit(random(D_SAE, D_IN, seed=2))

    def by_hand(self, residual, pre, W_dec, aux_k):
        total = 0.0
        for e, row in zip(residual, pre, strict=True):
            best = sorted(self.dead.nonzero().flatten().tolist(), key=lambda f: -row[f])[:aux_k]
            total = total + (e - sum(row[f].relu() * W_dec[f] for f in best)).square().sum()
        return total / residual.square().sum()

    def test_value(self):
        residual, pre, W_dec = self.inputs()
        found = auxiliary_loss(residual, pre, self.dead, W_dec, 2)
        assert torch.allclose(found, self.by_hand(residual, pre, W_dec, 2))

    @pytest.mark.parametrize("aux_k", [1, 3, 100])
    def test_gradient_by_finite_differences(self, aux_k):
        residual, pre, W_dec = self.inputs()
        check_gradient(lambda p: auxiliary_loss(residual, p, self.dead, W_dec, aux_k), pre)
        check_gradient(lambda w: auxiliary_loss(residual, pre, self.dead, w, aux_k), W_dec)

    def test_only_dead_features_get_a_gradient(self):
        residual, pre, W_dec = self.inputs()
        pre.requires_grad_()
        W_dec.requires_grad_()
        auxiliary_loss(residual, pre, self.dead, W_dec, 2).backward()
        assert pre.grad is not None
        assert W_dec.grad is not None
        assert (pre.grad[:, ~self.dead] == 0).all()
        assert (W_dec.grad[~self.dead] == 0).all()
        assert (W_dec.grad[self.dead].norm(dim=-1) > 0).any()

    def test_the_residual_is_a_target_not_a_path(self):
        residual, pre, W_dec = self.inputs()
        residual.requires_grad_()
        loss = auxiliary_loss(residual, pre.requires_grad_(), self.dead, W_dec, 2)
        (found,) = torch.autograd.grad(loss, [residual], allow_unused=True)
        assert found is None

    def test_in_the_whole_loss_no_gradient_reaches_the_decoder_bias(self):
        """b_dec is in the residual already; adding it to the dead features' output would count it twice."""
        p, z = parameters(), random(N, D_IN, seed=9)
        now = StepPlan(1e-3, 0.0, 3)
        with_aux = settings("batchtopk", aux_coefficient=0.5)
        without = settings("batchtopk", aux_coefficient=0.0)
        a, _ = gradients(p, z, with_aux, now, self.dead)
        b, _ = gradients(p, z, without, now, self.dead)
        assert torch.equal(a["b_dec"], b["b_dec"])
        assert torch.equal(a["W_dec"][~self.dead], b["W_dec"][~self.dead])
        assert not torch.equal(a["W_dec"], b["W_dec"])
        assert not torch.equal(a["W_enc"], b["W_enc"])

    def test_nothing_dead_is_zero(self):
        residual, pre, W_dec = self.inputs()
        assert auxiliary_loss(residual, pre, torch.zeros(D_SAE, dtype=torch.bool), W_dec, 2) == 0


def settings(architecture, **more):
    base = {"d_sae": D_SAE, "k": 3, "l1_coefficient": 0.1}
    return used(architecture, **{**base, **more}).resolve(100, D_IN)


def parameters():
    return {
        "W_enc": random(D_SAE, D_IN, seed=3),
        "W_dec": unit(random(D_SAE, D_IN, seed=4)),
        "b_enc": random(D_SAE, seed=5) * 0.1,
        "b_dec": random(D_IN, seed=6) * 0.1,
    }


@pytest.mark.parametrize("architecture", ["l1", "topk", "batchtopk", "matryoshka"])
@pytest.mark.parametrize("decoder_norm", [True, False])
def test_gradients_of_the_whole_loss_by_finite_differences(architecture, decoder_norm):
    config = settings(architecture, decoder_norm=decoder_norm, aux_coefficient=0.3)
    p, z, now = parameters(), random(N, D_IN, seed=7), StepPlan(1e-3, 0.1, 3)
    dead = TestAuxiliaryLoss.dead
    found, result = gradients(p, z, config, now, dead)
    # The auxiliary loss aims at a constant: differences must hold the residual where it was.
    codes = loss_terms(p, z, config, now, dead)[2]
    residual = z - codes @ p["W_dec"] - p["b_dec"]

    def loss(q):
        total = loss_terms(q, z, config.model_copy(update={"aux_coefficient": 0.0}), now, dead)[0]
        if architecture != "l1":
            pre = z @ q["W_enc"].T + q["b_enc"]
            total = total + 0.3 * auxiliary_loss(residual, pre, dead, q["W_dec"], config.aux_k)
        return float(total)

    assert result.loss == pytest.approx(loss(p))
    h = 1e-6
    rng = np.random.default_rng(0)
    for name, gradient in found.items():
        numeric = torch.zeros_like(gradient)
        flat = numeric.view(-1)
        for i in rng.permutation(gradient.numel())[:60] if not decoder_norm else range(gradient.numel()):
            up, down = (
                {**p, name: (p[name].reshape(-1) + s * h * torch.eye(p[name].numel())[i]).view_as(p[name])}
                for s in (1, -1)
            )
            flat[i] = (loss(up) - loss(down)) / (2 * h)
            if not decoder_norm:
                assert flat[i] == pytest.approx(float(gradient.view(-1)[i]), abs=1e-5), name
        if decoder_norm:
            expected = project(numeric, p["W_dec"]) if name == "W_dec" else numeric
            assert torch.allclose(gradient, expected, atol=1e-5), name


def test_projection_is_orthogonal_to_the_rows_and_only_removes():
    rows, grad = unit(random(D_SAE, D_IN)), random(D_SAE, D_IN, seed=1)
    left = project(grad, rows)
    assert torch.allclose((left * rows).sum(-1), torch.zeros(D_SAE, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(project(left, rows), left)
    assert (left.norm(dim=-1) <= grad.norm(dim=-1)).all()


arrays = st.tuples(st.integers(1, 8), st.integers(2, 20), st.integers(0, 10_000))


@given(arrays, st.integers(1, 20))
def test_top_k_keeps_exactly_k_positive_entries(shape, k):
    n, width, seed = shape
    k = min(k, width)
    pre = random(n, width, seed=seed).abs() + 0.1
    codes = top_k(pre, k)
    assert ((codes > 0).sum(-1) == k).all()
    assert (codes[codes > 0] == pre[codes > 0]).all()
    kept_least = codes.masked_fill(codes == 0, torch.inf).amin(-1)
    dropped_most = pre.masked_fill(codes > 0, -torch.inf).amax(-1)
    assert (kept_least >= dropped_most).all()


@given(arrays, st.integers(1, 160))
def test_batch_top_k_keeps_exactly_count_over_the_batch(shape, count):
    n, width, seed = shape
    count = min(count, n * width)
    pre = random(n, width, seed=seed).abs() + 0.1
    codes = batch_top_k(pre, count)
    assert (codes > 0).sum() == count
    if count < n * width:
        assert codes[codes > 0].min() >= pre[codes == 0].max()


@given(arrays, st.integers(1, 20))
def test_no_activation_is_ever_negative(shape, k):
    n, width, seed = shape
    pre = random(n, width, seed=seed) - 1
    k = min(k, width)
    for codes in (top_k(pre, k), batch_top_k(pre, k), jump_relu(pre, torch.full((width,), -0.5))):
        assert (codes >= 0).all()


def test_jump_relu_is_off_at_the_threshold_itself():
    pre = torch.tensor([[0.4, 0.5, 0.6]])
    assert torch.equal(jump_relu(pre, torch.full((3,), 0.5)), torch.tensor([[0.0, 0.0, 0.6]]))
