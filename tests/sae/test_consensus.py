"""What dictionaries agree on: planted features are found whatever their order, nothing is in those that learned nothing."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.sae_loop import planted_data, used
from moodlens.core import BadInput
from moodlens.sae import SAE, encode_rows, load_sae, save_sae, train
from moodlens.sae.consensus import _comparable, _partners, consensus, empty_core, join
from moodlens.sae.training import train_rest
from moodlens.sae.untrained import untrained
from moodlens.settings.sae import CoreSettings

BAR = {"similarity": 0.6, "least": 0.5}


def member(dictionary, order, rng, *, noise=0.05, extra=8):
    """An SAE that knows the planted directions in an order of its own, roughly, and some that nobody else knows."""
    own = rng.standard_normal((extra, dictionary.shape[1]))
    W = np.concatenate([dictionary[order], own / np.linalg.norm(own, axis=1, keepdims=True)])
    W = W + noise * rng.standard_normal(W.shape)
    W = torch.from_numpy((W / np.linalg.norm(W, axis=1, keepdims=True)).astype(np.float32))
    b_dec = torch.from_numpy(rng.normal(0, 0.1, W.shape[1]).astype(np.float32))
    bias = torch.full((len(W),), -0.4) - 0.1 * torch.rand(len(W), generator=torch.manual_seed(0))
    return SAE(W.T.contiguous(), W, bias, b_dec, activation="relu")


@pytest.fixture(scope="module")
def seeds():
    """``(members, rows, dictionary)``: eight orders of the same 24 planted directions."""
    rng = np.random.default_rng(0)
    x, dictionary = planted_data(1500, n_features=24)
    x = x - x.mean(0)
    members = [member(dictionary, rng.permutation(24), rng) for _ in range(8)]
    return members, x.astype(np.float32), dictionary


def test_planted_features_are_found_and_those_of_one_seed_are_not(seeds):
    members, x, dictionary = seeds
    found = consensus(members, x, **BAR)
    assert found.sae.d_sae == 24
    assert (found.found >= 4).all()
    W = found.sae.W_dec.detach().numpy()
    cosine = dictionary @ W.T
    assert np.array_equal(np.sort(cosine.argmax(1)), np.arange(24)), "each is found once"
    single = (dictionary @ members[0].W_dec.detach().numpy().T).max(1)
    assert cosine.max(1).mean() > single.mean(), "the mean is closer than a member"
    assert np.allclose(np.linalg.norm(W, axis=1), 1, atol=1e-5)


@settings(max_examples=6, deadline=None)
@given(st.permutations(range(8)), st.integers(0, 2**16))
def test_the_order_of_members_and_of_their_features_does_not_matter(seeds, order, seed):
    members, x, _ = seeds
    rng = np.random.default_rng(seed)

    def mixed(sae):
        o = torch.from_numpy(rng.permutation(sae.d_sae))
        return SAE(
            sae.W_enc[:, o].detach(),
            sae.W_dec[o].detach(),
            sae.b_enc[o].detach(),
            sae.b_dec,
            activation="relu",
        )

    first = consensus(members, x, **BAR)
    second = consensus([mixed(members[i]) for i in order], x, **BAR)
    assert np.array_equal(first.found, second.found)
    for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold"):
        assert torch.allclose(getattr(first.sae, name), getattr(second.sae, name), atol=1e-5), name


def test_a_stricter_share_keeps_fewer_and_never_one_seed_alone(seeds):
    members, x, _ = seeds
    partly = [*members[:4], *(untrained("random", x, d_sae=24, active=3, seed=i) for i in range(4))]
    assert consensus(partly, x, similarity=0.6, least=0.5).sae.d_sae == 24
    assert consensus(partly, x, similarity=0.6, least=0.75).sae.d_sae == 0
    alone = [members[0], *(untrained("random", x, d_sae=24, active=3, seed=i) for i in range(3))]
    assert consensus(alone, x, similarity=0.6, least=0.01).sae.d_sae == 0


def test_what_stands_at_the_edge_stays_in_the_core_and_is_not_claimed(seeds):
    members, x, dictionary = seeds
    half = np.random.default_rng(0).permutation(24)
    few = [member(dictionary, half[:12], np.random.default_rng(i)) for i in range(4)]
    mixed = [*members[:4], *few]
    everything, edge = (consensus(mixed, x, similarity=0.6, least=0.5, claim=claim) for claim in (0.5, 0.55))
    assert (everything.sae.d_sae, everything.sae.core_size) == (24, 24)
    assert (edge.sae.d_sae, edge.sae.core_size) == (24, int((edge.found > 4).sum()))
    assert 0 < edge.sae.core_size < 24
    assert (np.diff(edge.found) <= 0).all(), "those of the most members come first"
    rest = train_rest(
        x[:1200], x[1200:], used("batchtopk", d_sae=40, k=3, epochs=1, batch_size=64), edge.sae, seed=3
    )
    assert join(edge.sae, rest.sae).core_size == edge.sae.core_size


def test_a_claim_below_what_every_feature_reaches_is_refused():
    with pytest.raises(ValueError, match=r"claim: 0\.4 is below least, 0\.5"):
        CoreSettings(claim=0.4)


def test_dictionaries_that_learned_nothing_agree_on_next_to_nothing():
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((2000, 64)) * np.linspace(2, 0.2, 64) + 3).astype(np.float32)
    for kind, most in (("random", 0), ("rows", 6)):
        members = [untrained(kind, x, d_sae=256, active=8, seed=i) for i in range(8)]
        assert consensus(members, x, **BAR).sae.d_sae <= most, kind


def test_an_untrained_dictionary_has_the_sparsity_that_is_asked_for():
    x = np.random.default_rng(2).normal(3, 1, (3000, 32)).astype(np.float32)
    for kind in ("rows", "random"):
        sae = untrained(kind, x, d_sae=200, active=7, seed=0)
        assert (encode_rows(sae, x) > 0).sum(1).mean() == pytest.approx(7, rel=0.02)
        again = untrained(kind, x / 1000, d_sae=200, active=7, seed=0)
        assert torch.allclose(sae.W_dec, again.W_dec, atol=1e-4), "scale is not a fact of directions"
        assert (encode_rows(again, x / 1000) > 0).sum(1).mean() == pytest.approx(7, rel=0.02)
    with pytest.raises(BadInput, match="all training rows are the same"):
        untrained("rows", np.ones((9, 4), np.float32), d_sae=3, active=1, seed=0)


def test_joining_leaves_the_core_as_it_was(seeds, tmp_path):
    members, x, _ = seeds
    core = consensus(members, x, **BAR).sae
    narrow = used("batchtopk", d_sae=40, k=3, epochs=3, batch_size=64)
    rest = train_rest(x[:1200], x[1200:], narrow, core, seed=3).sae
    both = join(core, rest)
    assert (both.core_size, both.d_sae, both.activation) == (24, 64, "jumprelu")
    alone, joined = encode_rows(core, x), encode_rows(both, x)
    assert np.allclose(joined[:, :24], alone, atol=1e-5)
    assert np.allclose(joined[:, 24:], encode_rows(rest, x), atol=1e-6)
    with torch.no_grad():
        added = torch.from_numpy(joined) @ both.W_dec + both.b_dec
        apart = torch.from_numpy(alone) @ core.W_dec + rest(torch.from_numpy(x))
    assert torch.allclose(added, apart, atol=1e-5), "the two add up"
    save_sae(both, tmp_path)
    again = load_sae(tmp_path)
    assert again.core_size == 24
    assert np.array_equal(encode_rows(again, x), joined)


def test_the_rest_rebuilds_what_the_core_leaves(seeds):
    members, x, dictionary = seeds
    half = [
        SAE(m.W_enc.detach(), m.W_dec.detach(), m.b_enc.detach(), m.b_dec, activation="relu") for m in members
    ]
    core = consensus(half, x, **BAR).sae
    some = SAE(
        core.W_enc[:, :12].detach(), core.W_dec[:12].detach(), core.b_enc[:12].detach(), core.b_dec.detach(),
        activation="jumprelu", threshold=torch.zeros(12),
    )  # fmt: skip
    quick = used("batchtopk", d_sae=32, k=3, epochs=30, batch_size=64, learning_rate=5e-3)
    rest = train_rest(x[:1200], x[1200:], quick, some, seed=0).sae
    cosine = np.abs(dictionary @ rest.W_dec.detach().numpy().T).max(1)
    known = (dictionary @ some.W_dec.detach().numpy().T).max(1) > 0.9
    assert cosine[~known].mean() > cosine[known].mean() + 0.1, "it learns what is missing"


def test_a_core_of_nothing_changes_nothing(tmp_path):
    x, _ = planted_data(300)
    nothing = empty_core(x.mean(0))
    quick = used("batchtopk", d_sae=24, k=3, epochs=2, batch_size=64)
    alone = train(x[:250], x[250:], quick, seed=1).sae
    beside = train_rest(x[:250], x[250:], quick, nothing, seed=1).sae
    assert torch.equal(alone.W_dec, beside.W_dec)
    both = join(nothing, beside)
    assert (both.core_size, both.d_sae) == (0, 24)
    assert np.allclose(encode_rows(both, x), encode_rows(alone, x))
    save_sae(nothing, tmp_path)
    assert encode_rows(load_sae(tmp_path), x).shape == (300, 0)


def test_what_cannot_be_joined_or_compared_is_said(seeds):
    members, x, _ = seeds
    with pytest.raises(BadInput, match="at least two"):
        consensus(members[:1], x, **BAR)
    topk = train(x[:200], x[200:300], used("topk", d_sae=24, k=2, epochs=1), seed=0).sae
    with pytest.raises(BadInput, match="not topk"):
        join(empty_core(x.mean(0)), topk)
    with pytest.raises(BadInput, match="topk SAEs"):
        consensus([topk, topk], x, **BAR)


def test_partners_are_each_others_best_and_no_feature_has_two(seeds):
    """Where two features of one SAE are nearest to the same one of another, the nearer has it and the other has none."""
    members, x, _ = seeds
    rng = np.random.default_rng(4)
    one = members[0]
    W = one.W_dec.detach().numpy()
    twins = W + 0.03 * rng.standard_normal(W.shape)
    both = np.concatenate([W, twins / np.linalg.norm(twins, axis=1, keepdims=True)]).astype(np.float32)
    W_both = torch.from_numpy(both)
    bias = torch.cat([one.b_enc.detach(), one.b_enc.detach()])
    double = SAE(W_both.T.contiguous(), W_both, bias, one.b_dec.detach(), activation="relu")
    parts = [
        _comparable(sae, x, one.b_dec.detach().numpy().astype(np.float64)) for sae in (double, members[1])
    ]
    (here, score), (there, back) = _partners(*parts, 0.6)
    assert (here >= 0).sum() == (there >= 0).sum() >= 20
    for i in np.flatnonzero(here >= 0):
        assert there[here[i]] == i
        assert score[i] == back[here[i]] >= 0.6


def test_a_consensus_on_disk_is_the_one_in_memory(seeds, monkeypatch):
    members, x, _ = seeds
    here = consensus(members, x, **BAR)
    monkeypatch.setattr(sys.modules["moodlens.sae.consensus"], "HELD", 100)
    there = consensus(members, x, **BAR)
    for name, tensor in here.sae.state_dict().items():
        assert torch.equal(tensor, there.sae.state_dict()[name])
    assert here.live == there.live
