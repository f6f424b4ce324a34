"""What one dictionary claims where nobody asks for agreement: all of it is counted, and as much of it as the study claims
goes through concepts, names and causes, beside the study's own rest."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from helpers.naming_study import EMOTIONS, FEATURES, PLANTED, study
from moodlens.features.select import select_features
from moodlens.sae.model import SAE
from moodlens.sae.untrained import untrained
from moodlens.settings.features import FeatureSettings
from moodlens.settings.names import NameSettings
from moodlens.settings.validation import CausalSettings, StabilitySettings
from moodlens.stats.contrast import unit_rows
from moodlens.study.coded import Coded
from moodlens.study.families import Families, Family
from moodlens.study.rows import Rows
from moodlens.validate.readouts import make_panel
from moodlens.validate.untrained import Rules, _held_out, claims_alone, claims_of_core

PICKED = {"happy": 3, "sad": 2}
RULES = FeatureSettings(n_permutations=400, n_shuffles=1)


def _coded(known: Coded, directions: np.ndarray, active: float = 0.06) -> Coded:
    """Each direction fires in the same share of rows."""
    W = unit_rows(directions).astype(np.float32)
    read = (known.x - known.x.mean(axis=0)) @ W.T
    codes = np.maximum(read - np.quantile(read, 1 - active, axis=0), 0).astype(np.float32)
    return Coded(known.rows, known.x, codes, W)


@pytest.fixture(scope="module")
def made():
    """One dictionary of twelve concepts and thirty random directions, and what stands beside it."""
    prompts, known, _ = study(n_groups=16, copies=0)
    rng = np.random.default_rng(1)
    concept = known.rows.concept
    held = [FEATURES[f] for f in PLANTED]
    means = [known.x[concept == name].mean(axis=0) - known.x.mean(axis=0) for name in held]
    d_in = known.x.shape[1]
    own = _coded(known, np.concatenate([means, rng.standard_normal((30, d_in))]), 0.04)
    rest = _coded(known, rng.standard_normal((150, d_in)))
    table = select_features(rest.codes, known.rows, RULES, seed=0).table
    rules = Rules(
        RULES,
        NameSettings(n_shuffles=10, q=0.1, n_controls=60),
        CausalSettings(n_controls=100, n_random_directions=100, n_bootstrap=100),
        StabilitySettings(),
        prompts,
        make_panel(known.x, known.rows, seed=0),
        rest,
        table.with_columns(core=pl.lit(False)),
        _coded(known, rng.standard_normal((150, d_in))),
    )
    return own, rules


@pytest.fixture(scope="module")
def claims(made):
    own, rules = made
    return claims_alone(own, PICKED, rules, seed=0)


def test_all_claims_of_one_dictionary_are_counted(made, claims):
    own, _ = made
    assert claims.n_features == own.codes.shape[1]
    assert claims.n_claimed == sum(claims.per_emotion.values()) >= 10
    assert claims.stable_share is None  # one alone is compared with nothing


def test_concepts_names_and_causes_are_of_as_many_as_the_study_claims(claims):
    for counts in (claims.concepts_per_emotion, claims.interpretable_per_emotion, claims.causal_per_emotion):
        assert set(counts) == set(EMOTIONS)
        for emotion, n in PICKED.items():
            assert 0 <= counts[emotion] <= n < claims.per_emotion[emotion]


def test_what_is_planted_in_the_few_is_found_in_them(claims):
    assert sum(claims.concepts_per_emotion.values()) == sum(PICKED.values())
    assert sum(claims.interpretable_per_emotion.values()) >= sum(PICKED.values()) - 1
    assert sum(claims.causal_per_emotion.values()) >= 1


def test_the_best_on_train_and_val_are_those_that_go_on(made, claims):
    own, rules = made
    table = select_features(own.codes, own.rows, RULES, seed=0).table.filter("emotion_feature")
    best = [
        f
        for emotion, n in PICKED.items()
        for f in table.filter(pl.col("emotion") == emotion).sort("auroc_dev", descending=True)["feature"][:n]
    ]
    # Any other claimed feature may be taken away, and nothing but the count of claims changes.
    spare = np.setdiff1d(table["feature"].to_numpy(), best)
    codes = own.codes.copy()
    codes[:, spare] = 0
    fewer = claims_alone(replace(own, codes=codes), PICKED, rules, seed=0)
    assert fewer.n_claimed == len(best) < claims.n_claimed
    same = ("concepts_per_emotion", "interpretable_per_emotion", "causal_per_emotion")
    assert fewer.model_dump(include=set(same)) == claims.model_dump(include=set(same))


def test_a_study_that_claims_nothing_asks_nothing_of_it(made, claims):
    own, rules = made
    none = claims_alone(own, dict.fromkeys(EMOTIONS, 0), rules, seed=0)
    assert none.n_claimed == claims.n_claimed
    for counts in (none.concepts_per_emotion, none.interpretable_per_emotion, none.causal_per_emotion):
        assert counts == dict.fromkeys(EMOTIONS, 0)


def test_an_emotion_of_which_it_claims_less_than_the_study_gives_what_there_is(made, claims):
    own, rules = made
    every = claims_alone(own, dict.fromkeys(EMOTIONS, 1000), rules, seed=0)
    for emotion in EMOTIONS:
        assert every.interpretable_per_emotion[emotion] <= every.per_emotion[emotion]
        assert every.concepts_per_emotion[emotion] >= claims.concepts_per_emotion[emotion]


def test_a_core_without_a_claim_is_not_looked_for_elsewhere(made):
    _, rules = made
    x = rules.rest.x
    empty = untrained("random", x, d_sae=40, active=2, seed=3)

    def never() -> list[SAE]:
        raise AssertionError("other cores were made for a core that claims nothing")

    rows = rules.rest.rows
    rng = np.random.default_rng(0)
    strangers = replace(
        rules,
        rest=Coded(replace(rows, label=rng.permutation(rows.label)), x, rules.rest.codes, rules.rest.W_dec),
    )
    found = claims_of_core(empty, never, x, strangers, seed=0)
    assert found.n_claimed == 0
    assert found.stable_share == 0


def test_a_core_that_claims_is_looked_for_in_others_and_found_in_itself(made):
    _, rules = made
    core = untrained("rows", rules.rest.x, d_sae=60, active=3, seed=5)
    found = claims_of_core(core, lambda: [core], rules.rest.x, rules, seed=0)
    assert found.n_claimed > 0
    assert found.stable_share == 1
    other = untrained("random", rules.rest.x, d_sae=60, active=3, seed=6)
    assert claims_of_core(core, lambda: [other], rules.rest.x, rules, seed=0).stable_share == 0


def test_an_emotion_without_a_family_is_no_coin_flip_in_the_mean():
    """It is left out of the study's own mean as well."""
    label = np.repeat([0, 1, 2], 20)
    rows = Rows.of(label, emotions=("happy", "sad", "calm"), split=np.repeat("held_out", 60))
    x = np.eye(3, dtype=np.float32)[label]
    members = ((0,), (), (2,))
    families = Families(
        families=tuple(
            Family(emotion=emotion, features=few, weights=(1.0,) * len(few))
            for emotion, few in zip(rows.emotions, members, strict=True)
        )
    )
    assert _held_out(Coded(rows, x, x, np.eye(3, dtype=np.float32)), families) == 1.0
