"""What is fitted and judged on embeddings reads them a block of rows at a time: the same result, and no copy of them."""

import tracemalloc

import numpy as np
import pytest

from helpers.naming_study import study as naming_study
from helpers.planted_study import make_planted
from moodlens.core import maps
from moodlens.features.concepts import concept_features
from moodlens.features.names.judge import name_features
from moodlens.features.names.make import Material
from moodlens.sae.cores import effective_rank
from moodlens.sae.metrics import baseline_metrics
from moodlens.settings.features import FeatureSettings
from moodlens.settings.names import NameSettings
from moodlens.settings.validation import (
    MetricSettings,
    PairSettings,
    Phase0Settings,
    ReadingSettings,
    StabilitySettings,
    TextReading,
)
from moodlens.stats.contrast import difference_in_means, principal_components
from moodlens.stats.correlation import UnitColumns
from moodlens.study.rows import Rows
from moodlens.validate.agreement import SeedFamilies, family_agreement
from moodlens.validate.denial import Denial
from moodlens.validate.field import Field
from moodlens.validate.methods import Method, all_methods
from moodlens.validate.pairs import orthogonality
from moodlens.validate.phase0 import phase0, signal_to_noise
from moodlens.validate.readouts import DenseBaselines
from moodlens.validate.similarity import similarity
from moodlens.validate.stability import Dictionary, stability


def _numbers(value):
    """Every number of a record, a table or an array, in order."""
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if hasattr(value, "to_dicts"):
        value = value.to_dicts()
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [number for item in value for number in _numbers(item)]
    if isinstance(value, np.ndarray):
        return value.ravel().tolist()
    return [float(value)] if isinstance(value, (int, float, np.number)) else []


@pytest.fixture
def in_blocks(monkeypatch):
    """Runs something with all rows at once and with a few at a time, and compares every number."""

    def compare(make, atol=1e-6):
        whole = _numbers(make())
        monkeypatch.setattr(maps, "BLOCK", 5000)
        parts = _numbers(make())
        monkeypatch.undo()
        assert len(whole) > 0
        np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=atol)

    return compare


@pytest.fixture(scope="module")
def planted():
    return make_planted()


def test_phase_0(planted, in_blocks):
    in_blocks(
        lambda: phase0(planted.x, planted.rows, Phase0Settings(n_permutations=50, n_shuffles=3), seed=0)
    )


def test_readouts_and_methods(planted, in_blocks):
    dev = planted.rows.where("train", "val")
    x, rows = planted.x[dev], planted.rows[dev]
    members = planted.families.on_members()[0]

    def scores():
        baselines = DenseBaselines.fit(x, rows, 0)
        encode = lambda some: np.maximum(some @ planted.coded.W_dec[members].T, 0)  # noqa: E731
        methods = all_methods(planted.families, planted.coded.W_dec, encode, baselines, x, ReadingSettings())
        return [method.rows(planted.x, planted.rows.where("test")) for method in methods.values()]

    in_blocks(scores)


def test_denials(in_blocks):
    draw = np.random.default_rng(0)
    denies = np.arange(900) % 3 == 0
    x = draw.normal(size=(900, 40)).astype(np.float32)
    x[denies, 0] += 4
    rows = Rows.of(
        draw.integers(0, 2, 900),
        emotions=("a", "b"),
        split=["train"] * 900,
        kind=np.where(denies, "negation", "plain"),
    )
    in_blocks(lambda: [gate.direction for gate in [Denial.fit(x, rows)] if gate])
    in_blocks(lambda: [Denial.fit(x, rows).threshold])
    family = Method.fitted(lambda some: some[:, :2], TextReading(), x)
    in_blocks(lambda: [family.gated(Denial.fit(x, rows), x, rows).rows(x)])


def test_names(in_blocks):
    frame, coded, table = naming_study()
    settings = NameSettings(n_shuffles=20, q=0.1)
    in_blocks(lambda: name_features(table, coded, frame, settings, seed=0).table.drop("name_evidence"))
    in_blocks(lambda: Material.of(coded, frame, settings).reader.directions)


def test_concepts(in_blocks):
    _, coded, table = naming_study()
    settings = FeatureSettings(n_permutations=100, n_shuffles=2)
    in_blocks(lambda: concept_features(table, coded.codes, coded.x, coded.rows, settings, seed=0).summary)


def test_families_of_other_pipelines(planted, in_blocks):
    own = SeedFamilies(planted.families, planted.coded.W_dec, np.ones(len(planted.coded.W_dec)))
    order = np.random.default_rng(0).permutation(len(planted.coded.W_dec))
    other = SeedFamilies(planted.families, planted.coded.W_dec[order], own.sizes)
    in_blocks(lambda: family_agreement(own, [other], planted.x, seed=0))


def test_stability_pairs_and_the_fields_metrics(planted, in_blocks):
    own = Dictionary(planted.coded.W_dec, planted.codes)
    order = np.random.default_rng(0).permutation(len(own.W_dec))
    other = Dictionary(own.W_dec[order], np.maximum(own.codes[:, order] - 0.1, 0))
    in_blocks(lambda: stability(own, [other], planted.x, StabilitySettings(), seed=0).table)
    test = planted.rows.where("test")
    in_blocks(lambda: orthogonality(own.W_dec, own.codes, planted.table, PairSettings(), seed=0, rows=test))
    settings = MetricSettings(n_removed=2, n_main=1)

    def measured():
        field = Field.of(planted.coded, {}, settings, seed=0)
        assert field is not None
        return [field.measure("sae", planted.codes, own.W_dec), field.dense()]

    in_blocks(measured)


@pytest.mark.parametrize("density", [0.02, 0.5])
def test_columns_of_a_part_are_those_of_its_copy(density, in_blocks):
    draw = np.random.default_rng(0)
    codes = ((draw.random((900, 30)) < density) * draw.random((900, 30))).astype(np.float32)
    rows, columns = np.flatnonzero(draw.random(900) < 0.5), np.array([1, 4, 20, 29])

    def correlations():
        part = UnitColumns.of(codes, rows, columns)
        return part.correlations(part)

    copied = UnitColumns.of(codes[np.ix_(rows, columns)])
    np.testing.assert_array_equal(correlations(), copied.correlations(copied))
    in_blocks(correlations)


N, D = 60_000, 64


@pytest.fixture(scope="module")
def many():
    draw = np.random.default_rng(0)
    label = draw.integers(0, 3, N)
    x = draw.normal(size=(N, D)).astype(np.float32)
    x[np.arange(N), label] += 1
    return x, Rows.of(label, emotions=("a", "b", "c"), split=draw.choice(["train", "test"], N))


WORK = {
    "means": lambda x, rows: difference_in_means(x, rows.label, 3),
    "components": lambda x, rows: principal_components(x),
    "similarity": lambda x, rows: similarity(x, rows.label, rows.label, 3, seed=0, n_permutations=2),
    "signal_to_noise": lambda x, rows: signal_to_noise(x, rows.label, 3),
    "rank": lambda x, rows: effective_rank(x),
    "baselines": lambda x, rows: baseline_metrics(x, x, 4),
    "method": lambda x, rows: Method.fitted(lambda some: some[:, :3], TextReading(rows="unit"), x),
}


@pytest.mark.parametrize("name", WORK)
def test_no_copy_is_made_of_the_rows(name, many, monkeypatch):
    monkeypatch.setattr(maps, "BLOCK", 2**19)
    x, rows = many
    WORK[name](x[:100], rows[:100])  # what is loaded on first use does not count
    tracemalloc.start()
    try:
        WORK[name](x, rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < x.nbytes / 2, f"{peak / x.nbytes:.2f} copies"
