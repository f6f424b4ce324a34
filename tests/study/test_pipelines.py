"""What a stage hands to the pipelines, trained or not: seeds of their own, the rows they may see, sizes that are alike."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from moodlens.pipeline.stages import proof
from moodlens.pipeline.stages import sae as training
from moodlens.pipeline.stages import untrained as controls
from moodlens.sae import cores
from moodlens.sae.consensus import Consensus, empty_core
from moodlens.sae.model import encode_rows
from moodlens.settings.features import FeatureSettings
from moodlens.settings.names import NameSettings
from moodlens.settings.sae import CoreSettings, SAESettings
from moodlens.settings.validation import CausalSettings, StabilitySettings
from moodlens.study.records.sae import Core
from moodlens.study.records.selection import SELECTION, Selection
from moodlens.study.records.untrained import Claims
from moodlens.study.rows import Rows

N, D_IN = 240, 12
ATOMS = 5


def _quietly(*_args) -> None:
    pass


def _rows() -> Rows:
    """Groups of four rows: two emotions, dealt to the splits in turn."""
    group = np.arange(N) // 4
    split = np.array(["train", "train", "val", "test", "held_out"])[group % 5]
    return Rows.of(group % 2, emotions=("a", "b"), group=group, split=split)


class FakeStudy:
    """Rows, embeddings and an SAE, and what the stages write."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.path = self.home = Path("nowhere")
        self.seed, self.rows, self.memory = 3, _rows(), 2.0
        self.x = rng.standard_normal((N, D_IN)).astype(np.float32)
        self._codes = np.maximum(rng.standard_normal((N, 40)) - 1, 0).astype(np.float32)
        self.prompts, self.written = pl.DataFrame(), []

    def x_of(self, rows) -> np.ndarray:
        return self.x[rows]

    def codes(self) -> np.ndarray:
        return self._codes

    def sae(self) -> SimpleNamespace:
        return SimpleNamespace(d_sae=40)

    def W_dec(self) -> np.ndarray:
        return np.eye(40, D_IN, dtype=np.float32)

    def cached(self, _name, _stage, make):
        return make()

    def write(self, record) -> str:
        self.written.append(record)
        return record.file

    def read(self, record):
        return {Core: CORE, Selection: SimpleNamespace(per_emotion={"a": 2, "b": 1})}[record]

    def table(self, schema) -> pl.DataFrame:
        assert schema is SELECTION
        return pl.DataFrame(
            {"feature": range(40), "core": [f < ATOMS for f in range(40)], "edge": [False] * 40, "emotion_feature": [f < 3 for f in range(40)]}
        )  # fmt: skip


CORE = Core(members=4, atoms=ATOMS, claimable=ATOMS, member_size=20, member_active=2.5)


@pytest.fixture
def asked(monkeypatch):
    """What the stage ``train`` asks of :func:`find_cores`: pipeline -> rows and seeds."""
    study, found = FakeStudy(), {}

    def find_cores(x_train, _x_val, seeds, *_args, **_kwargs):
        nothing = Consensus(empty_core(x_train.mean(axis=0)), np.zeros(0, np.int64), ())
        found.update({name: (x_train, own) for name, own in seeds.items()})
        return {name: cores.Core(nothing, own, (), None) for name, own in seeds.items()}

    monkeypatch.setattr(cores, "find_cores", find_cores)
    study.saved = {}
    monkeypatch.setattr(
        training, "_save", lambda _s, name, sae, *_args: study.saved.update({name: sae}) or []
    )
    section = training.TrainSection(
        seeds=3,
        core=CoreSettings(members=4, d_sae=20, bootstraps=3),
        control="untrained-random",
        imported=None,
    )
    splits = tuple(study.x[study.rows.where(name, kinds=None)] for name in ("train", "val", "test"))
    chosen = SAESettings(architecture="batchtopk", d_sae=16, k=2)
    training._with_core(study, chosen, section, splits, _quietly)  # type: ignore[arg-type]
    return study, found


def test_where_members_agree_on_nothing_nothing_may_be_claimed(asked):
    """The dictionary is then the rest alone, and the rest is never claimed."""
    study, _ = asked
    assert study.saved["main"].d_sae == 16
    assert study.saved["main"].core_size == 0


def test_no_two_members_of_a_study_share_a_seed(asked):
    _, found = asked
    assert set(found) == {"main", *(f"{kind}-{i}" for kind in ("seed", "bootstrap") for i in (1, 2, 3))}
    seeds = [seed for _, own in found.values() for seed in own]
    assert len(seeds) == len(set(seeds)) == 7 * 4


def test_pipelines_share_the_rows_and_bootstraps_draw_whole_groups_of_their_own(asked):
    study, found = asked
    train = study.rows.where("train", kinds=None)
    group = study.rows.group[train]
    for name in ("main", "seed-1", "seed-2", "seed-3"):
        np.testing.assert_array_equal(found[name][0], study.x[train])
    times = []
    for i in (1, 2, 3):
        drawn = found[f"bootstrap-{i}"][0]
        times.append((drawn[:, None, 0] == study.x[train][None, :, 0]).sum(axis=0))
        assert all(len(set(times[-1][group == g])) == 1 for g in np.unique(group)), "whole groups"
        assert (times[-1] == 0).any(), "some are left out"
    assert not any(np.array_equal(times[i], times[j]) for i in range(3) for j in range(i)), "others each time"


@pytest.mark.parametrize("kind", ["rows", "random"])
def test_an_untrained_dictionary_is_as_large_and_as_active_as_the_studys(kind):
    study = FakeStudy()
    train = study.rows.where("train", kinds=None)
    made = proof.untrained_coded(study, kind)  # type: ignore[arg-type]
    assert made.codes.shape == study.codes().shape
    own, its = ((codes[train] > 0).sum(axis=1).mean() for codes in (study.codes(), made.codes))
    assert its == pytest.approx(own, rel=0.05)


@pytest.fixture
def told(monkeypatch):
    """What the stage ``untrained`` makes: untrained cores by their seeds, and the rules by which they are judged."""
    study, cores_made, rules_of, alone = FakeStudy(), [], [], {}
    nothing = Claims(n_features=0, active_share=0.0, n_claimed=0, per_emotion={}, held_out_auroc=None)

    def untrained_core(kind, x_train, seeds, settings, *, d_sae, active):
        cores_made.append((kind, tuple(seeds), d_sae, active, len(x_train), settings))
        return empty_core(x_train.mean(axis=0))

    def claims_of_core(_sae, others, _x, rules, *, seed):
        others()
        rules_of.append(rules)
        return nothing

    def claims_alone(coded, per_emotion, rules, *, seed):
        alone[len(alone)] = coded, dict(per_emotion)
        rules_of.append(rules)
        return nothing

    monkeypatch.setattr(cores, "untrained_core", untrained_core)
    monkeypatch.setattr("moodlens.validate.untrained.claims_of_core", claims_of_core)
    monkeypatch.setattr("moodlens.validate.untrained.claims_alone", claims_alone)
    monkeypatch.setattr(controls, "panel", lambda _study: None)
    section = controls.UntrainedSection(
        core=CoreSettings(members=4, least=0.75, claim=0.8), features=FeatureSettings(), names=NameSettings(), causal=CausalSettings(),
        stability=StabilitySettings(),
    )  # fmt: skip
    list(controls.untrained.work(study, section, _quietly))
    return study, cores_made, rules_of, alone


def test_untrained_pipelines_are_like_the_studys_and_share_no_seed(told):
    study, made, _, _ = told
    n_train = len(study.rows.where("train", kinds=None))
    assert [kind for kind, *_ in made] == ["rows", "rows", "random", "random"]
    assert {tuple(rest[:3]) for _, _, *rest in made} == {(CORE.member_size, CORE.member_active, n_train)}
    assert {settings.least for *_, settings in made} == {0.75}
    for kind in ("rows", "random"):
        first, second = (seeds for name, seeds, *_ in made if name == kind)
        assert len(first) == len(second) == CORE.members
        assert len({*first, *second}) == 2 * CORE.members


def test_rivals_and_controls_of_untrained_claims_are_the_studys_own_rest_and_a_third_dictionary(told):
    study, _, rules, alone = told
    assert len(rules) == 4
    for one in rules:
        np.testing.assert_array_equal(one.rest.codes, study.codes()[:, ATOMS:])
        assert one.rest_table["feature"].to_list() == list(range(ATOMS, 40))
        for coded, _ in alone.values():
            assert not np.array_equal(one.other.W_dec, coded.W_dec)
    assert [per for _, per in alone.values()] == [{"a": 2, "b": 1}] * 2


def test_untrained_cores_of_other_seeds_are_others():
    study = FakeStudy()
    first, second = (
        cores.untrained_core("rows", study.x, seeds, CoreSettings(members=2, least=0.5, similarity=0.01), d_sae=30, active=3)
        for seeds in ((1, 2), (3, 4))
    )  # fmt: skip
    assert first.d_sae > 0
    assert not np.array_equal(encode_rows(first, study.x), encode_rows(second, study.x))
