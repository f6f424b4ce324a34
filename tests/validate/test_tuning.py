"""What an SAE's settings should become, from how it does on rows that it has not seen."""

from helpers.measured import rebuilt
from moodlens.settings.sae import SAESettings
from moodlens.validate.tuning import advice

TOPK = SAESettings(architecture="batchtopk", k=100)
L1 = SAESettings(architecture="l1", l1_coefficient=1e-3)
FINE = {"explained_variance": 0.9, "mse": 0.002, "l0": 100.0, "active_share": 0.016, "dead_share": 0.01}


def fit(train=0.92, **held_out):
    return rebuilt(held_out=FINE | held_out, train=FINE | {"explained_variance": train})


def test_nothing_is_said_of_an_sae_that_does_well():
    assert advice(fit(), TOPK) == advice(fit(), L1) == []


def test_nothing_can_be_set_where_others_trained_it():
    assert advice(fit(active_share=0.1, explained_variance=0.1), None) == []


def test_too_sparse_and_not_sparse_enough_turn_the_setting_of_the_architecture():
    (text,) = advice(fit(active_share=0.002, l0=12.0), L1)
    assert text == "too sparse: 12 features active, 0.2% of all: lower l1_coefficient (now 0.001)"
    (text,) = advice(fit(active_share=0.1, l0=600.0), L1)
    assert text == "not sparse enough: 600 features active, 10.0% of all: raise l1_coefficient (now 0.001)"
    (text,) = advice(fit(active_share=0.1, l0=600.0), TOPK)
    assert "lower k (now 100)" in text


def test_what_is_rebuilt_poorly_on_all_rows_is_told_from_what_is_memorised():
    (text,) = advice(fit(explained_variance=0.5, train=0.55), TOPK)
    assert text.startswith("poor reconstruction")
    assert "raise k (now 100), raise expansion_factor" in text
    (text,) = advice(fit(explained_variance=0.5, train=1.0), TOPK)
    assert text.startswith("overfits")
    assert "add prompts" in text


def test_dead_features_are_counted():
    (text,) = advice(fit(dead_share=0.4), TOPK)
    assert text.startswith("40% of the features are dead")
