"""The result table on made-up scores whose truth is known."""

import re

import numpy as np
import polars as pl
import pytest

from helpers.scored_clips import EMOTIONS, QUICK, made
from moodlens.core import BadInput, read_json, write_table
from moodlens.judge.results import steer_results, write_results
from moodlens.judge.shifts import Shifts, readouts, specificity, trend
from moodlens.judge.words import result_lines, statements
from moodlens.settings.judge import ResultSettings
from moodlens.study.records.judge import Results


@pytest.fixture(scope="module")
def scores():
    return made({"sae_family": 0.1, "difference_in_means": 0.2, "prompt_editing": 0.3})


@pytest.fixture(scope="module")
def results(scores):
    return steer_results(scores, EMOTIONS, QUICK)


def test_effects_are_the_planted_ones_with_intervals_around_them(results):
    assert results.coefficient == 1.0  # all that random directions share with the rest
    planted = {"sae_family": 0.1, "difference_in_means": 0.2, "prompt_editing": 0.3}
    rows = [r for r in results.rows if r.readout == "clap"]
    assert len(rows) == 3 * (4 + 4 + 1)
    for row in rows:
        dose = 1.0 if row.coefficient is None else row.coefficient
        truth = planted[row.method] * dose
        assert row.effect == pytest.approx(truth, abs=0.02)
        assert row.ci[0] - 0.01 < truth < row.ci[1] + 0.01
        assert row.prompt_p == pytest.approx(1 / 256)
        if row.coefficient == 1.0 or row.method == "prompt_editing":
            assert row.random_p < 0.001
            assert row.p == row.prompt_p  # the larger of the two
            assert row.n_random == (20 if row.coefficient else 10)
            assert abs(row.random_p95) < 0.03
        else:
            assert (row.p, row.n_random, row.random_p95) == (None, 0, None)
        named = row.coefficient == 1.0 and row.method in ("sae_family", "difference_in_means")
        assert row.confirmatory == row.moved == named
        assert (row.q is not None) == named
    assert results.readout == "clap"
    assert results.n_confirmatory == 6
    assert not any(row.confirmatory for row in results.rows if row.readout != "clap")


def test_q_is_over_the_confirmatory_table_alone(scores):
    """More exploratory methods, coefficients and readouts cost the claims nothing."""
    few = scores.filter(
        pl.col("method").is_in(["none", "random", "sae_family", "difference_in_means"])
        & (pl.col("coefficient").is_in([0.0, 1.0]))
    )
    alone, among = (
        {(r.method, r.emotion): r.q for r in steer_results(table, EMOTIONS, QUICK).rows if r.confirmatory}
        for table in (few, scores)
    )
    assert alone == among
    whole = steer_results(scores, EMOTIONS, ResultSettings(n_resamples=400, methods=()))
    assert whole.n_confirmatory == 9
    assert {r.method for r in whole.rows if r.moved} == {
        "sae_family",
        "difference_in_means",
        "prompt_editing",
    }


def test_the_readout_is_named_beforehand(scores):
    other = steer_results(scores, EMOTIONS, ResultSettings(n_resamples=400, readout="acoustic"))
    assert {r.readout for r in other.rows if r.confirmatory} == {"acoustic"}
    assert all(line.startswith("acoustic: ") for line in other.statements)
    with pytest.raises(BadInput, match=r"readout nothing: not among what was scored \(clap, acoustic\)"):
        steer_results(scores, EMOTIONS, ResultSettings(readout="nothing"))


def test_a_vector_that_does_as_much_as_random_ones_claims_nothing():
    """Consistent over prompts is what every vector is: that alone is no claim."""
    rng = np.random.default_rng(3)
    rows = made({"sae_family": 0.0, "difference_in_means": 0.0}).to_dicts()
    moves: dict[tuple, float] = {}
    for row in (row for row in rows if row["method"] != "none"):
        for e in EMOTIONS:
            row[f"clap_{e}"] += moves.setdefault((row["direction"], e), 0.2 * rng.standard_normal())
    found = steer_results(pl.DataFrame(rows, infer_schema_length=None), EMOTIONS, QUICK)
    assert min(r.prompt_p for r in found.rows if r.readout == "clap") < 0.005
    assert not any(r.moved for r in found.rows)
    assert not any(r.winner for r in found.comparisons)
    assert not any(r.specific for r in found.specificity)


@pytest.mark.parametrize("controls", [{"n_random": 0}, {"n_random": 2}])
def test_without_random_directions_there_is_no_claim(controls):
    found = steer_results(made({"sae_family": 0.3, "difference_in_means": 0.1}, **controls), EMOTIONS, QUICK)
    assert all(r.q is None and not r.moved for r in found.rows)
    assert not any(r.winner for r in found.comparisons)
    assert not any(r.specific for r in found.specificity)
    assert all(r.p is None for r in found.dose)
    assert any("too few random directions" in line for line in found.statements)


def test_losses_are_said_plainly(results):
    rows = {(r.readout, r.baseline): r for r in results.comparisons}
    lost = rows["clap", "difference_in_means"]
    assert lost.winner == "baseline"
    assert lost.difference == pytest.approx(-0.1, abs=0.02)
    text = "\n".join(results.statements)
    assert re.search(r"clap: difference_in_means beats sae_family \(sae_family \+0\.(1|09)", text)
    assert "clap: prompt_editing beats sae_family" in text
    assert any("prompt_editing beats" in line for line in result_lines(results))


def test_a_win_and_a_draw_are_told_apart():
    won = steer_results(made({"sae_family": 0.3, "difference_in_means": 0.1}), EMOTIONS, QUICK)
    assert won.comparisons[0].winner == "method"
    assert any(s.startswith("clap: sae_family beats difference_in_means") for s in won.statements)
    drawn = steer_results(made({"sae_family": 0.2, "difference_in_means": 0.2}), EMOTIONS, QUICK)
    assert next(r for r in drawn.comparisons if r.readout == "clap").winner is None
    assert any("within chance" in s for s in drawn.statements)


def test_what_was_not_tested_is_not_called_chance():
    """Without neutral words an edited prompt has nothing to stand beside, whatever the random directions say."""
    strengths = {"sae_family": 0.1, "difference_in_means": 0.3, "prompt_editing": 0.3}
    said = "\n".join(steer_results(made(strengths, n_words=0), EMOTIONS, QUICK).statements)
    assert re.search(r"prompt_editing is ahead of .*, no q, .*; not tested: no neutral words\.", said)
    assert "difference_in_means beats sae_family" in said
    said = "\n".join(steer_results(made(strengths, n_words=0, n_random=0), EMOTIONS, QUICK).statements)
    assert "; not tested: no random directions and no neutral words." in said
    assert "; not tested: no random directions." in said
    said = "\n".join(steer_results(made(strengths, n_random=2, n_words=2), EMOTIONS, QUICK).statements)
    assert "; not tested: too few random directions and too few neutral words." in said
    assert "within chance" not in said


def test_a_difference_behind_the_gate_is_not_called_chance():
    """Both push the readout the wrong way, one further: the difference is sure, and nothing moved."""
    away = steer_results(made({"sae_family": -0.2, "difference_in_means": -0.1}), EMOTIONS, QUICK)
    row = next(r for r in away.comparisons if r.readout == "clap")
    assert row.q <= QUICK.alpha
    assert row.winner is None
    (said,) = (s for s in away.statements if "is ahead of" in s)
    assert said.endswith(
        "; not claimed, since neither sae_family nor difference_in_means moved anything beyond chance."
    )


def test_nothing_is_claimed_where_nothing_moved():
    claims = 0
    for seed in range(6):
        null = steer_results(
            made({"sae_family": 0.0, "difference_in_means": 0.0}, seed=seed, n_random=5), EMOTIONS, QUICK
        )
        claims += sum(row.moved for row in null.rows)
        claims += sum(row.winner is not None for row in null.comparisons)
        assert "moved: nothing" in "\n".join(null.statements) or claims
    assert claims == 0


def test_an_sae_feature_must_beat_features_that_mean_nothing():
    """Matched features that do as much as the family take its claim away, but not that of another method."""
    rng = np.random.default_rng(5)
    rows = made({"sae_family": 0.1, "difference_in_means": 0.1}).to_dicts()
    for row in [r for r in rows if r["method"] == "random"]:
        moved = {k: v + 0.15 for k, v in row.items() if k.startswith("clap_") and k != "clap_embedding"}
        name = row["direction"].replace("random", "matched_random_feature")
        rows.append(row | moved | {"method": "matched_random_feature", "direction": name})
    rng.shuffle(rows)
    found = steer_results(pl.DataFrame(rows, infer_schema_length=None), EMOTIONS, QUICK)
    at = [r for r in found.rows if r.confirmatory]
    assert all(r.matched_p95 > 0.1 and not r.moved for r in at if r.method == "sae_family")
    assert all(r.matched_p95 is None and r.moved for r in at if r.method != "sae_family")


@pytest.mark.parametrize("kept", [("happy", "sad"), ("happy",)])
def test_a_method_without_an_emotion_is_compared_on_those_it_has(scores, kept):
    """An emotion without a family, or `--emotion happy`, must not empty the tables."""
    some = pl.col("emotion").is_null() | (pl.col("method") != "sae_family") | pl.col("emotion").is_in(kept)
    few = steer_results(scores.filter(some), EMOTIONS, QUICK)
    rows = {(r.readout, r.baseline): r for r in few.comparisons}
    assert {baseline for _, baseline in rows} == {"difference_in_means", "prompt_editing"}
    lost = rows["clap", "difference_in_means"]
    assert lost.emotions == kept
    assert (lost.winner, lost.n_prompts) == ("baseline", 8)
    assert lost.difference == pytest.approx(-0.1, abs=0.02)
    assert any(
        f"over {', '.join(kept)}" in s and s.startswith("clap: difference_in_means beats")
        for s in few.statements
    )
    tables = {(r.readout, r.method): r for r in few.specificity}
    assert (("clap", "sae_family") in tables) == (len(kept) > 1)
    assert tables["clap", "difference_in_means"].emotions == EMOTIONS
    if len(kept) > 1:
        assert np.shape(tables["clap", "sae_family"].table) == (2, 2)


def test_dose_response(results):
    rows = [r for r in results.dose if r.readout == "clap"]
    assert {r.method for r in rows} == {"sae_family", "difference_in_means"}
    for row in rows:
        assert row.coefficients == (-1, 0, 0.5, 1, 2)
        assert row.spearman > 0.95
        assert row.monotone_share == 1
        assert row.slope == pytest.approx(
            {"sae_family": 0.1, "difference_in_means": 0.2}[row.method], abs=0.02
        )
        assert row.prompt_p < 0.01
        assert (row.p, row.q) == (None, None)  # random directions were made at 1 alone
    whole = made({"sae_family": 0.1}, random_at=(-1.0, 0.5, 1.0, 2.0), n_prompts=6)
    rows = [r for r in steer_results(whole, EMOTIONS, QUICK).dose if r.readout == "clap"]
    assert all(row.p < 0.01 and row.q is None for row in rows)


def test_trend_under_the_null_and_on_a_falling_curve():
    rng = np.random.default_rng(0)
    at = np.array([-1.0, 0, 1, 2])
    p = [trend(rng.standard_normal((5, 4)), at, 99, i)["p"] for i in range(200)]
    assert np.mean(np.array(p) <= 0.05) < 0.1
    down = trend(-np.tile(at, (5, 1)), at, 99, 0)
    assert (down["spearman"], down["monotone_share"], down["p"]) == (pytest.approx(-1), 0, 1)
    assert trend(np.zeros((5, 4)), at, 99, 0)["spearman"] == 0


def test_specificity_table(results):
    row = next(r for r in results.specificity if r.readout == "clap" and r.method == "difference_in_means")
    table = np.array(row.table)
    assert table.shape == (3, 3)
    np.testing.assert_allclose(np.diag(table), 0.2, atol=0.02)
    np.testing.assert_allclose(table[~np.eye(3, dtype=bool)], 0, atol=0.02)
    assert row.difference == pytest.approx(0.2, abs=0.02)
    assert row.q < 0.01
    assert row.specific
    assert any("moves its own emotion more than the others: " in line for line in results.statements)


def test_moving_all_readouts_alike_is_not_specific():
    rng = np.random.default_rng(1)
    cube = 1.0 + 0.1 * rng.standard_normal((8, 4, 4))
    found = specificity(cube, 400, 0)
    assert found.difference == pytest.approx(0, abs=0.05)
    assert found.p > 0.05
    own = specificity(np.eye(4) + 0.1 * rng.standard_normal((8, 4, 4)), 400, 0)
    assert own.p == pytest.approx(1 / 401)
    # Two directions with each other's name are worse than chance.
    swapped = specificity(np.eye(2)[::-1] + 0.1 * rng.standard_normal((8, 2, 2)), 400, 0)
    assert swapped.p > 0.9


def test_acoustics_are_judged_against_the_hypotheses(results):
    assert results.readouts["acoustic"] == ("happy", "sad", "calm")
    happy = [r for r in results.hypotheses if r.emotion == "happy" and r.method == "sae_family"]
    assert {r.measure: r.agrees for r in happy} == dict.fromkeys(("mode", "tempo", "centroid"), True)
    shifts = {r.measure: r.shift for r in happy}
    assert shifts.pop("tempo") == pytest.approx(np.log2(15.5 / 13.5), abs=0.03)  # octaves
    assert all(shift == pytest.approx(2, abs=0.2) for shift in shifts.values())
    row = next(
        r
        for r in results.rows
        if (r.readout, r.method, r.emotion, r.coefficient) == ("acoustic", "sae_family", "sad", 1.0)
    )
    assert row.effect > 0.5  # the sound went down, as sad should


def test_distance_of_the_clips(results):
    by = {r.method: r for r in results.distance}
    assert by["prompt_editing"].mmd2 > by["random"].mmd2
    assert len([r for r in results.distance if r.method == "random"]) == 20
    assert results.equal_change == ()  # kept is in the scores, and no measure of what was done
    assert any("--change" in line for line in result_lines(results))


def test_too_few_prompts_are_said_to_be_too_few():
    few = steer_results(made({"sae_family": 0.3}, n_prompts=3), EMOTIONS, QUICK)
    assert not any(row.moved for row in few.rows)
    assert "use more prompts" in few.statements[-1]
    one = steer_results(made({"sae_family": 0.3}, n_prompts=1), EMOTIONS, QUICK)
    assert one.rows[0].ci is None
    assert result_lines(one)


def test_results_are_written_as_strict_json(tmp_path, scores, results):
    write_table(tmp_path / "scores.parquet", scores)
    write_results(tmp_path, EMOTIONS, QUICK)
    assert Results.read(tmp_path) == results  # not a digit is lost
    assert read_json(tmp_path / "results.json")["statements"] == list(results.statements)
    with pytest.raises(BadInput, match=r"scores\.parquet: not there yet; score the clips: moodlens judge"):
        write_results(tmp_path / "nothing", EMOTIONS)


def test_bad_input(scores):
    with pytest.raises(BadInput, match="no score has a column"):
        steer_results(scores.drop([c for c in scores.columns if c.startswith("clap_")]).drop(
            "mode", "tempo", "centroid", "loudness", "onset_strength"), EMOTIONS)  # fmt: skip
    with pytest.raises(BadInput, match="no unsteered clip of prompt"):
        steer_results(scores.slice(1), EMOTIONS)
    with pytest.raises(BadInput, match=r"coefficient 0\.5 was not made for every method"):
        steer_results(scores, EMOTIONS, ResultSettings(coefficient=0.5))
    with pytest.raises(BadInput, match="need unsteered clips"):
        Shifts.of_clips(scores.filter(pl.col("method") != "none"), ["clap_happy"])


def test_small_pieces(results):
    frame = pl.DataFrame({"clap_happy": [0.1], "clap_sad": [0.2], "mine_happy": [1.0], "tempo": [1.0]})
    assert readouts(frame, ("happy", "sad")) == {"clap": {"happy": "clap_happy", "sad": "clap_sad"}}
    nothing = {"comparisons": (), "readouts": {}, "rows": (), "specificity": (), "n_prompts": 9}
    (line,) = statements(results.model_copy(update=nothing))
    assert line.startswith("no clip of a confirmatory method (sae_family, difference_in_means)")


def test_tempi_are_compared_without_octaves():
    """A beat counted at twice its rate is the same beat; one that is a tenth faster is faster."""
    rows = []
    for i, (before, after) in enumerate([(100.0, 200.0), (100.0, 110.0), (80.0, 36.0), (120.0, None)]):
        for method, tempo in (("none", before), ("sae_family", after)):
            row = {"prompt": str(i), "seed": 0, "method": method, "direction": None, "coefficient": 1.0}
            rows.append(row | {"emotion": None if method == "none" else "happy", "tempo": tempo})
    frame = pl.DataFrame(rows, infer_schema_length=None)
    shifts = Shifts.of_clips(frame, ["tempo"])
    found = shifts.of("tempo", "sae_family", "happy", 1.0)
    np.testing.assert_allclose(found, [0, np.log2(1.1), np.log2(0.9), np.nan], atol=1e-9)
    acoustic = shifts.with_acoustics(frame, ("happy",)).of("acoustic_happy", "sae_family", "happy", 1.0)
    turns = np.exp(2j * np.pi * np.log2([100, 100, 80, 120]))
    spread = np.sqrt(-2 * np.log(abs(turns.mean()))) / (2 * np.pi)
    assert acoustic[1] == pytest.approx(np.log2(1.1) / spread)
