"""The statistics recover what was planted, refuse decoys, and hold their level: the benchmark in reduced form."""

import importlib.util
import sys
from pathlib import Path

import pytest
from scipy.stats import binom

from moodlens.sae import encode_rows
from moodlens.settings.features import FeatureSettings

_FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def _benchmark(name):
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", _FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def planted():
    return _benchmark("planted")


@pytest.fixture(scope="module")
def world(planted):
    made = planted.make(0)
    return made, planted.fit(made, 0)


SETTINGS = FeatureSettings(n_permutations=500, n_shuffles=1)


def test_planted_directions_are_recovered_and_decoys_are_not_claimed(planted, world):
    made, sae = world
    found = planted.judge(made, planted.make(0, fresh=True), sae, 0, SETTINGS)
    assert found["recovered"] >= 0.9 * found["planted"]
    assert found["decoys_tested"] >= 1  # train + val alone would have been fooled
    assert found["decoys_claimed"] == 0
    assert found["false_claims"] <= 1
    assert found["tested_false"] > found["false_claims"]


@pytest.mark.slow
def test_shuffled_labels_claim_no_more_than_q(planted, world):
    made, sae = world
    codes = encode_rows(sae, made.x)
    repeats = 16
    wrong = sum(planted.null_claims(made, codes, seed, SETTINGS)[0] > 0 for seed in range(repeats))
    # The rate may be q itself: refuse only what that would hardly ever give.
    assert binom.sf(wrong - 1, repeats, SETTINGS.q) > 0.005


@pytest.fixture(scope="module")
def inside():
    """Concepts planted inside emotions, and the core that was found in them."""
    benchmark = _benchmark("planted_concepts")
    made = benchmark.make(0)
    return benchmark, made, benchmark.find_core(made, 0)


def test_concepts_planted_inside_emotions_are_found_by_the_core(inside):
    benchmark, made, core = inside
    found = benchmark.judge(made, core, SETTINGS, 0)
    assert found["concepts_found"] >= 0.9 * found["planted_concepts"]
    assert found["false_claims"] == 0
    assert found["mistaken_concepts"] == 0
    # Only what may be claimed is: atoms at the core's edge are neither judged nor counted.
    assert found["claimable"] == core.core_size <= found["atoms"]
    whole, core.core_size = core.core_size, 7
    few = benchmark.judge(made, core, SETTINGS, 0)
    core.core_size = whole
    assert few["claimed"] <= few["claimable"] == 7 < found["claimed"]
    # What all words of an emotion share is claimed for the emotion, and for no concept.
    assert found["claimed"] >= found["concept_features"] + 3


def test_dictionaries_that_learned_nothing_claim_next_to_nothing(inside):
    benchmark, made, core = inside
    active = float((encode_rows(core, made.x) > 0).sum(axis=1).mean())
    for kind in benchmark.KINDS:
        dull = benchmark.untrained_core(made, kind, 0, active)
        assert dull.d_sae <= 0.1 * core.d_sae
        codes = benchmark.coded(dull, made.x)
        assert not dull.core_size or benchmark.claims(made, codes, SETTINGS, 0).height <= 1
