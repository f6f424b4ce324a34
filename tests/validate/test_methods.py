"""Methods of reading: standardised by train + val rows, scale-free, and against the other emotions."""

import numpy as np
import pytest

from helpers.planted_study import THREE
from moodlens.core import BadInput
from moodlens.settings.validation import ReadingSettings, TextReading
from moodlens.study.families import Families, Family
from moodlens.validate.methods import Method, Reading, all_methods
from moodlens.validate.readouts import DenseBaselines

ALONE = TextReading(against="nothing")


def _methods(planted, families=None, scale=1.0, settings=None):
    families = families or planted.families
    dev = planted.rows.where("train", "val")
    x = planted.x[dev].astype(np.float64) * scale
    members = families.on_members()[0]
    W_dec = planted.coded.W_dec

    def encode(rows):
        return np.maximum((rows / scale - x.mean(axis=0) / scale) @ W_dec[members].T, 0).astype(np.float32)

    baselines = DenseBaselines.fit(x, planted.rows[dev], 0)
    return all_methods(families, W_dec, encode, baselines, x, settings or ReadingSettings())


def test_scores_are_standardised_by_the_rows_they_were_fitted_on(planted):
    x = planted.x[planted.rows.where("train", "val")]
    for name, method in _methods(planted).items():
        values = method.read(x)
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("rows", ["raw", "unit"])
@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_rows_changes_nothing(planted, scale, rows):
    how = TextReading(rows=rows)
    settings = ReadingSettings(**dict.fromkeys(ReadingSettings.model_fields, how))
    one, other = _methods(planted, settings=settings), _methods(planted, scale=scale, settings=settings)
    test = planted.x[planted.rows.where("test")].astype(np.float64)
    for name in one:
        tolerance = 1e-2 if name == "linear_probe" else 1e-4  # the probe is found step by step
        np.testing.assert_allclose(
            other[name].rows(test * scale), one[name].rows(test), atol=tolerance, err_msg=name
        )


def test_unit_rows_are_as_far_from_the_mean_as_training_rows(planted):
    x = planted.x[:50].astype(np.float64)
    seen = []
    Method.fitted(lambda rows: (seen.append(rows), rows[:, :3])[1], TextReading(rows="unit"), x)
    away = np.linalg.norm(seen[-1] - x.mean(axis=0), axis=1)
    np.testing.assert_allclose(away, np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean()))


def test_an_emotion_stands_against_the_mean_of_the_others_that_are_read():
    x = np.random.default_rng(0).normal(size=(20, 3))
    method = Method.fitted(lambda rows: rows, TextReading(), x)
    values = np.array([[3.0, 1.0, 2.0]])
    np.testing.assert_allclose(method.against(values), [[1.5, -1.5, 0.0]])
    some = np.array([[3.0, np.nan, 2.0]])
    np.testing.assert_allclose(method.against(some), [[1.0, np.nan, -1.0]])
    one = np.array([[3.0, np.nan, np.nan]])
    np.testing.assert_array_equal(method.against(one), one)
    np.testing.assert_array_equal(Method.fitted(lambda rows: rows, ALONE, x).against(values), values)


def test_families_read_along_what_they_add_and_an_empty_one_reads_nothing(planted):
    families = Families(families=(*planted.families.families[:2], Family(emotion=THREE[2])))
    dev = planted.rows.where("train", "val")
    settings = ReadingSettings(family=ALONE, top_feature=ALONE)
    methods = _methods(planted, families, settings=settings)
    test = planted.x[planted.rows.where("test")].astype(np.float64)
    for name, direction in (
        ("family", families.families[0].direction(planted.coded.W_dec)),
        ("top_feature", planted.coded.W_dec[families.families[0].features[0]]),
    ):
        wanted = (test - planted.x[dev].mean(axis=0, dtype=np.float64)) @ direction
        wanted /= (planted.x[dev].astype(np.float64) @ direction).std()
        found = methods[name].rows(test)
        np.testing.assert_allclose(found[:, 0], wanted, atol=1e-4)
        assert np.isnan(found[:, 2]).all()
    assert np.isfinite(methods["difference_in_means"].rows(test)).all()


def test_each_method_reads_its_own_units(planted):
    settings = ReadingSettings(
        family=TextReading(units="tokens", pool="max", against="nothing"),
        linear_probe=TextReading(units="whole", against="nothing"),
        difference_in_means=TextReading(units="sentences", pool="mean", against="nothing"),
    )
    methods = _methods(planted, settings=settings)
    reading = Reading({name: methods[name] for name in ("family", "linear_probe", "difference_in_means")}, 2)
    assert all(reading.wants(units) for units in ("tokens", "sentences", "whole"))
    x = planted.x[:6].astype(np.float64)
    reading.add("tokens", x, np.array([0, 0, 0, 1, 1, 1]), np.zeros(6, bool))
    reading.add("sentences", x[:4], np.array([0, 0, 1, 1]), np.zeros(4, bool))
    reading.add("whole", x[:2], np.arange(2), reading.denied(x[:2]))
    scores = reading.scores()
    np.testing.assert_allclose(scores["family"][1], methods["family"].read(x[3:]).max(axis=0))
    dense = methods["difference_in_means"]
    np.testing.assert_allclose(scores["difference_in_means"][0], dense.read(x[:2]).mean(axis=0))
    np.testing.assert_allclose(scores["linear_probe"], methods["linear_probe"].read(x[:2]))


def test_families_of_other_emotions_are_refused(planted):
    families = Families(families=planted.families.families[:2])
    with pytest.raises(BadInput, match="dense baselines of"):
        _methods(planted, families)


def test_how_a_method_reads_is_said_in_words():
    assert TextReading().words == "tokens, log-mean-exp, against the other emotions"
    assert TextReading(units="whole", rows="unit", against="nothing").words == "the whole text, unit rows"
