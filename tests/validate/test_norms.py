"""Correlations with people's ratings: planted ones are found, others are not, and no group is fitted and judged."""

import numpy as np
import polars as pl
import pytest

from moodlens.core import BadInput
from moodlens.pipeline.norms import norms_lines, read_rated
from moodlens.report.circumplex import FILES, draw_circumplex
from moodlens.study.records.norms import Norms, Place
from moodlens.validate.norms import Ratings, Ridge, cross_predicted, forms_of, word_group

N = 400


def _planted(seed: int, k: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    readings = rng.normal(size=(N, k))
    return readings, readings[:, 0] + rng.normal(size=N), np.arange(N) // 2


def test_a_planted_correlation_is_found_and_beats_its_control():
    readings, values, group = _planted(0)
    ratings = Ratings.of(values, group, seed=0)
    own, other = ratings.correlation(readings[:, 0]), ratings.correlation(readings[:, 1])
    assert own.spearman == pytest.approx(0.69, abs=0.08)
    assert own.ci[0] < own.spearman < own.ci[1]
    assert own.control < 0.2 < own.spearman
    assert abs(other.spearman) < 0.15
    whole = ratings.fitted(readings, seed=0)
    assert whole.spearman == pytest.approx(own.spearman, abs=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_a_fitted_reading_of_nothing_finds_nothing(seed):
    readings = np.random.default_rng(seed).normal(size=(N, 20))
    values = np.random.default_rng([seed, 1]).normal(size=N)
    found = Ratings.of(values, np.arange(N) // 2, seed).fitted(readings, seed)
    assert found.spearman < 0.15
    assert found.control < 0.3


def test_no_group_is_predicted_by_a_fit_on_itself():
    # Ratings that only the group knows, in a reading that tells groups apart: a fit with the group would know them.
    group = np.arange(N) // 4
    readings = np.eye(N // 4)[group]
    values = np.random.default_rng(0).normal(size=N // 4)[group]
    told = cross_predicted(readings, values[:, None], group, seed=0)[:, 0]
    assert np.isfinite(told).all()
    assert abs(np.corrcoef(told, values)[0, 1]) < 0.3
    assert np.corrcoef(Ridge.of(readings, values[:, None]).predict(readings)[:, 0], values)[0, 1] > 0.9


def test_ridge_reads_scale_and_shift_away():
    readings, values, _ = _planted(1)
    plain = Ridge.of(readings, values[:, None]).predict(readings)
    moved = readings * np.array([1e-3, 1, 10, 1e3, 1]) + 7
    assert np.allclose(Ridge.of(moved, values[:, None]).predict(moved), plain)


def test_what_does_not_vary_has_no_correlation():
    ratings = Ratings.of(np.arange(40.0), np.arange(40), seed=0)
    assert ratings.correlation(np.ones(40)).spearman is None


def test_dealt_ratings_keep_groups_whole():
    group = np.repeat(np.arange(30), 3)
    ratings = Ratings.of(np.repeat(np.arange(30.0), 3), group, seed=0)
    for b in range(5):
        dealt = ratings.dealt[:, b].reshape(30, 3)
        assert (dealt == dealt[:, :1]).all()
        assert sorted(dealt[:, 0]) == list(range(30))


def test_words_are_put_into_forms_and_sentences_are_not():
    assert forms_of("grave") == ("grave", "grave music", "a grave song")
    assert forms_of("a slow and tender piece") == ("a slow and tender piece",)
    assert word_group("bank (river)") == word_group("banks")
    assert word_group("joyful") != word_group("sad")


@pytest.mark.parametrize("names", [("word", "VAL", "AROU"), ("Word", "V.Mean.Sum", "A.Mean.Sum")])
def test_columns_of_published_norms_are_known(tmp_path, names):
    path = tmp_path / "norms.csv"
    pl.DataFrame(
        [[f"w{i}", str(i), str(30 - i)] for i in range(30)], schema=list(names), orient="row"
    ).write_csv(path)
    rated = read_rated(path, {})
    assert rated.columns["valence"] == names[1]
    assert rated.ratings["arousal"].tolist() == [float(30 - i) for i in range(30)]
    assert rated.n_left_out == 0


def test_of_several_known_columns_the_one_that_is_named_is_read(tmp_path):
    path = tmp_path / "norms.csv"
    path.write_text("\n".join(["word,V.Mean.Sum,valence,A", *(f"w{i},{i},{30 - i},{i}" for i in range(30))]))
    rated = read_rated(path, {"valence": "V.Mean.Sum"})
    assert rated.ratings["valence"].tolist() == [float(i) for i in range(30)]
    assert rated.columns == {"text": "word", "valence": "V.Mean.Sum", "arousal": "A"}


def test_rows_without_a_rating_are_left_out_and_counted(tmp_path):
    path = tmp_path / "norms.csv"
    rows = [[f"w{i}", "" if i < 3 else "5"] for i in range(30)]
    pl.DataFrame(rows, schema=["word", "valence"], orient="row").write_csv(path)
    rated = read_rated(path, {})
    assert (len(rated.texts), rated.n_left_out) == (27, 3)
    assert set(rated.ratings) == {"valence"}


@pytest.mark.parametrize(
    ("header", "cell", "asked", "says"),
    [
        ("word,joy", "5", {}, "no column of valence or arousal; name one by --valence-column"),
        ("token,valence", "5", {}, "no column of words or texts; name it by --text-column"),
        ("word,valence", "high", {}, "row 1: column 'valence': 'high' is no number"),
        (
            "word,V.Mean.Sum,valence",
            "5,4",
            {},
            "columns 'valence' and 'V.Mean.Sum' may each hold valence; name one by --valence-column",
        ),
        (
            "word,caption,VAL",
            "a,5",
            {},
            "columns 'word' and 'caption' may each hold text; name one by --text-column",
        ),
        ("word,valence", "5", {"arousal": "calmness"}, "has no column 'calmness'"),
        ("word,valence", "", {}, "0 texts have a rating; 20 or more are needed"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, header, cell, asked, says):
    path = tmp_path / "norms.csv"
    path.write_text("\n".join([header, *(f"w{i},{cell}" for i in range(30))]))
    with pytest.raises(BadInput, match=says) as caught:
        read_rated(path, asked)
    assert "\n" not in str(caught.value)


def test_the_circumplex_is_drawn_whole_and_the_record_is_told(tmp_path):
    rng = np.random.default_rng(0)
    places = tuple(
        Place(emotion=e, concept=c, valence=float(v), arousal=float(a))
        for (e, c), v, a in zip(
            [("happy", ""), ("happy", "joy"), ("sad", ""), ("sad", "grief")],
            rng.normal(size=4),
            rng.normal(size=4),
            strict=True,
        )
    )
    readings, values, group = _planted(2)
    found = Ratings.of(values, group, 0).correlation(readings[:, 0])
    record = Norms(
        table="words.csv",
        columns={"text": "word"},
        sae="main@0",
        n=N,
        n_left_out=0,
        n_groups=N // 2,
        forms=("WORD",),
        positions={},
        correlations={"family": {"happy": {"valence": found}}},
        places=places,
    )
    assert draw_circumplex(tmp_path, record, rng.normal(size=N), rng.normal(size=N)) == list(FILES)
    assert (tmp_path / FILES[0]).stat().st_size > 10_000
    assert "grief" in (tmp_path / FILES[1]).read_text()
    record.write(tmp_path)
    assert Norms.read(tmp_path) == record
    lines = norms_lines(record)
    assert "words.csv: 400 rated texts" in lines[0]
    assert lines[-1].endswith("-")
