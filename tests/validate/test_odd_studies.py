"""Studies that are small, flat or oddly named go through every measure, or end in one line."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from moodlens.core import BadInput
from moodlens.core.labels import UNKNOWN
from moodlens.features import gather_families, select_features
from moodlens.features.inspect import inspect_feature, render_inspect
from moodlens.features.names.judge import name_features
from moodlens.settings.features import FeatureSettings
from moodlens.settings.names import NameSettings
from moodlens.settings.validation import CausalSettings, PairSettings, StabilitySettings, TransferSettings
from moodlens.study.coded import Coded
from moodlens.study.records.pairs import Pairs
from moodlens.study.records.transfer import Transfer
from moodlens.study.rows import Rows
from moodlens.validate.agreement import SeedFamilies, family_agreement
from moodlens.validate.causal import causality
from moodlens.validate.criterion import Measured
from moodlens.validate.methods import all_methods
from moodlens.validate.pairs import compositionality, orthogonality
from moodlens.validate.readouts import DenseBaselines
from moodlens.validate.stability import Dictionary, stability
from moodlens.validate.transfer import generalization
from moodlens.validate.verdict import judge

FEATURES = FeatureSettings(n_permutations=50, n_shuffles=3)
SPLITS = ("train", "train", "val", "test", "test", "held_out", "held_out")
pytestmark = pytest.mark.filterwarnings("error")


def _study(emotions=("a", "b", "c"), *, neutral=True, groups=7, rows=3, d_sae=30, d_in=12, splits=SPLITS):
    """Groups of each emotion; the first features fire mostly for one."""
    rng = np.random.default_rng(0)
    first = -1 if neutral else 0
    label = np.repeat(np.arange(first, len(emotions)), groups * rows)
    group = np.arange(len(label)) // rows
    split = np.array(splits)[group % len(splits)]
    codes = np.where(rng.random((len(label), d_sae)) < 0.2, rng.random((len(label), d_sae)) + 0.1, 0)
    for feature in range(min(10, d_sae)):
        own = (label == feature % len(emotions)) & (rng.random(len(label)) < 0.7)
        codes[:, feature] = np.where(own, 1, 0.1 * codes[:, feature])
    W = rng.normal(size=(d_sae, d_in))
    x = codes @ W + 0.1 * rng.normal(size=(len(label), d_in))
    texts = [f"word{c} in text {i % 5}" for i, c in enumerate(label)]
    study = Rows.of(label, emotions=emotions, group=group, split=split, texts=texts)
    return Coded(study, x.astype(np.float32), codes.astype(np.float32), W.astype(np.float32))


def _measure(coded, *, claim=True):
    """The verdict over every measure; ``claim``: take the first features for emotion features, whatever was found."""
    rows, codes = coded.rows, coded.codes
    selected = select_features(codes, rows, FEATURES, seed=0)
    table = selected.table
    if claim:
        strong = pl.col("emotion").is_not_null() & (pl.col("feature") < 10)
        table = table.with_columns(emotion_feature=strong, tested=strong)
    families = gather_families(table, coded, FEATURES)
    named = name_features(table, coded, None, NameSettings(n_shuffles=3, n_controls=5), seed=0)
    for line in render_inspect(inspect_feature(0, table, codes, rows, seed=0, decoder=coded.W_dec)):
        assert "nan" not in line
    few = CausalSettings(n_controls=100, n_random_directions=100, n_bootstrap=100)
    causal = causality(coded, table, families, few, seed=0)
    pair_settings = PairSettings(n_controls=100, n_bootstrap=100)
    dev = rows.where("train", "val")
    baselines = DenseBaselines.fit(coded.x[dev], rows[dev], 0)
    settings, members = TransferSettings(n_bootstrap=100), families.on_members()[0]
    methods = all_methods(
        families,
        coded.W_dec,
        lambda x: np.zeros((len(x), len(members)), np.float32),
        baselines,
        coded.x[dev],
        settings.reading,
    )
    same = Dictionary(coded.W_dec, codes)
    twin = SeedFamilies(families, coded.W_dec, np.ones(len(coded.W_dec)))
    measured = Measured(
        rows.emotions,
        selection=selected.summary,
        features=table.join(named.table, on="feature").join(causal.features, on="feature"),
        causal=causal.summary,
        stability=stability(same, [same], coded.x, StabilitySettings(), seed=0),
        agreement=family_agreement(twin, [twin], coded.x, seed=0),
        names=named.summary,
        transfer=Transfer(
            held_out=generalization(
                coded, methods, families, FEATURES, settings, n_claimable=len(coded.W_dec), seed=0
            ),
            special=(),
            sets=(),
        ),
        pairs=Pairs(
            compositionality=compositionality(coded, table, families, pair_settings, seed=0),
            orthogonality=orthogonality(coded.W_dec, codes[rows.where("test")], table, pair_settings, seed=0),
        ),
    )
    return judge("main", measured)


def _relabel(coded, label):
    return replace(coded, rows=replace(coded.rows, label=label))


MEASURED = {
    "two emotions, one against the other": lambda: _study(("a", "b"), neutral=False),
    "fifty emotions": lambda: _study(tuple(f"e{i}" for i in range(50)), d_sae=60),
    "nothing held out": lambda: _study(splits=("train", "train", "val", "test", "test")),
    "one text a group": lambda: _study(rows=1, groups=14),
    "one feature": lambda: _study(d_sae=1),
    "one dimension": lambda: _study(d_in=1),
    "features that always fire alike": lambda: replace(_study(), codes=np.ones((84, 30), np.float32)),
    "features that never fire": lambda: replace(_study(), codes=np.zeros((84, 30), np.float32)),
    "labels that are words of the program": lambda: _study(("(none)", "neutral", "")),
    "a very small scale": lambda: _scaled(_study(), 1e-20),
}


def _scaled(coded, scale):
    return replace(coded, x=coded.x * np.float32(scale), codes=coded.codes * np.float32(scale))


@pytest.mark.parametrize("name", MEASURED)
def test_odd_studies_are_measured(name):
    for claim in (False, True):
        verdict = _measure(MEASURED[name](), claim=claim)
        assert not verdict.go


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_no_verdict_depends_on_the_scale(scale):
    """But for reconstruction, which the roadmap wants in units of the embedding."""
    one, other = _measure(_study()), _measure(_scaled(_study(), scale))
    for a, b in zip(one.criteria, other.criteria, strict=True):
        assert (a.id, a.passed, a.state) == (b.id, b.passed, b.state)
        if a.value is not None:
            assert b.value == pytest.approx(a.value, rel=1e-3)
        for one, other in zip(a.controls, b.controls, strict=True):
            assert other.value == pytest.approx(one.value, rel=2e-2)


def test_pairs_need_two_families():
    verdict = _measure(replace(_study(), codes=np.zeros((84, 30), np.float32)))
    notes = {c.id: c.note for c in verdict.criteria}
    assert notes["compositionality"] == "fewer than two emotions have a family"


def test_what_cannot_be_measured_is_one_line():
    coded = _study()
    equal = np.ones_like(coded.x) * (1 + 2e-7 * coded.rows.label[:, None]).astype(np.float32)
    with pytest.raises(BadInput, match="equal but for rounding"):
        _measure(replace(coded, x=equal))
    rows = coded.rows
    absent = np.where((rows.split == "test") & (rows.label == 1), UNKNOWN, rows.label)
    with pytest.raises(BadInput, match="no test rows are labelled 'b'"):
        _measure(_relabel(coded, absent))
    with pytest.raises(BadInput, match=r"no train \+ val rows are labelled 'a'"):
        _measure(_relabel(coded, np.full(len(rows), UNKNOWN)))
    with pytest.raises(BadInput, match="called 'mean'"):
        _measure(_study(("mean", "b", "c")))
