"""Two generators beside each other: what both show, what one shows, and what chance shows."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from helpers.tiny_generators import MAKERS
from moodlens.core import BadInput, read_table, write_table
from moodlens.judge.score import SCORES, score_run
from moodlens.judge.together import compare_runs
from moodlens.report.together import draw_together
from moodlens.settings.steer import DirectionSettings, SteerSettings
from moodlens.steer.run import run_steer

pytest.importorskip("diffusers")
pytest.importorskip("torchsde")
EMOTIONS = ("happy", "sad")
PROMPTS = ("instrumental music", "a simple melody")


def loud(clip):
    """A score of the sound alone, with a column for every emotion."""
    level = float(np.log(np.square(clip.mono).mean() + 1e-12))
    rough = float(np.log(np.abs(np.diff(clip.mono)).mean() + 1e-12))
    return {"level_happy": level, "level_sad": rough}


@pytest.fixture(scope="module")
def runs(tiny, tmp_path_factory):
    """The same directions in a tiny MusicGen and a tiny Stable Audio Open, really made and scored."""
    folder = tmp_path_factory.mktemp("two")
    settings = SteerSettings(
        prompts=PROMPTS,
        emotions=EMOTIONS,
        methods=("difference_in_means", "prompt_difference"),
        controls=("random",),
        coefficients=(1.0,),
        prompt_editing=False,
        seeds=(0,),
        seconds=2.0,
        steps=3,
        directions=DirectionSettings(n_random=6, n_matched=0, n_shuffled=0, n_components=0),
    )
    for name in ("musicgen", "stable-audio"):
        run_steer(tiny.directions(settings.directions), folder / name, settings, model=MAKERS[name]())
        score_run(folder / name, [loud])
    return folder / "musicgen", folder / "stable-audio"


def planted(run: Path, out: Path, moved: dict[str, float], noise=0.1) -> Path:
    """The run with scores in which random directions do nothing but noise, and ``moved`` ones so many sd."""
    out.mkdir(parents=True)
    for file in run.iterdir():
        if file.name != SCORES:
            (out / file.name).symlink_to(file)
    scores = read_table(run / SCORES)
    rng = np.random.default_rng(0)
    for emotion in EMOTIONS:
        values = rng.standard_normal(len(scores)) * noise
        values[scores["method"].to_numpy() == "none"] = np.linspace(-1, 1, 2)  # sd 1.41
        base = dict(zip(scores["prompt"], values, strict=True))
        base = {
            p: v for p, v, m in zip(scores["prompt"], values, scores["method"], strict=True) if m == "none"
        }
        for i, (name, prompt, method) in enumerate(
            scores.select("direction", "prompt", "method").iter_rows()
        ):
            if method == "random":
                values[i] += base[prompt]
            elif method != "none":  # without noise, so that what did not move lies amid the random directions
                values[i] = base[prompt] + (moved.get(name, 0.0) if (name or "").endswith(emotion) else 0.0)
        scores = scores.with_columns(pl.Series(f"level_{emotion}", values))
    write_table(out / SCORES, scores)
    return out


def test_what_each_generator_makes_of_its_own_reading_is_not_compared(runs):
    assert {row.method for row in compare_runs(runs).rows} == {"difference_in_means", "random"}


def test_two_real_runs_are_laid_side_by_side(runs, tmp_path):
    found = compare_runs(runs)
    assert found.models == ("tiny", "tiny")
    assert (found.readout, found.n_random, found.emotions) == ("level", 6, EMOTIONS)
    assert len(found.rows) == 2 + 6 * 2  # each emotion's direction on its own, each random one on both
    own = [row for row in found.rows if row.p is not None]
    assert {row.direction for row in own} == {"difference_in_means/happy", "difference_in_means/sad"}
    for row in own:
        assert row.p_both == max(row.p)
        assert row.q >= row.p_both
    assert all(-1 <= value <= 1 for value in found.agreement.values())
    for ending in ("png", "svg"):
        draw_together(found, tmp_path / f"two.{ending}")
        assert (tmp_path / f"two.{ending}").stat().st_size > 2000


def test_only_what_both_show_is_claimed(runs, tmp_path):
    both, one = (
        {"difference_in_means/happy": 3.0, "difference_in_means/sad": 3.0},
        {"difference_in_means/happy": 3.0},
    )
    found = compare_runs((planted(runs[0], tmp_path / "a", both), planted(runs[1], tmp_path / "b", one)))
    q = {row.direction: row.q for row in found.rows if row.p is not None}
    assert q["difference_in_means/happy"] < 0.01
    assert q["difference_in_means/sad"] > 0.05
    effect = next(row.effects for row in found.rows if row.direction == "difference_in_means/happy")
    assert effect == pytest.approx((3 / 2**0.5, 3 / 2**0.5), abs=0.15)


def test_each_model_is_judged_beside_its_own_random_directions(runs, tmp_path):
    """The same shift in both, which in the second any direction may give."""
    moved = {"difference_in_means/happy": 3.0}
    quiet, loud = planted(runs[0], tmp_path / "a", moved), planted(runs[1], tmp_path / "b", moved, noise=10.0)
    for order in ((quiet, loud), (loud, quiet)):
        row = next(r for r in compare_runs(order).rows if r.direction == "difference_in_means/happy")
        p = dict(zip(order, row.p, strict=True))
        assert p[quiet] < 0.001
        assert p[loud] > 0.1
        assert row.p_both == p[loud]


def test_agreement_is_that_of_ranks(runs, tmp_path):
    found = compare_runs([planted(run, tmp_path / run.name, {}, noise=1 + i) for i, run in enumerate(runs)])
    for emotion, value in found.agreement.items():
        drawn = np.array([r.effects for r in found.rows if r.method == "random" and r.emotion == emotion])
        assert value == pytest.approx(spearmanr(*drawn.T).statistic)
        assert value != pytest.approx(np.corrcoef(drawn.T)[0, 1], abs=1e-3)
        assert len(drawn) == found.n_random


def test_nothing_is_claimed_beside_random_directions_that_all_do_the_same(runs, tmp_path):
    moved = {"difference_in_means/happy": 3.0}
    found = compare_runs([planted(run, tmp_path / run.name, moved, noise=0.0) for run in runs])
    own = [row for row in found.rows if row.p is not None]
    assert own
    assert all((row.p_both, row.q) == (None, None) for row in own)


def test_what_cannot_be_compared_is_one_line(runs, tiny, tmp_path):
    with pytest.raises(BadInput, match="compare two runs, not 1"):
        compare_runs(runs[:1])
    with pytest.raises(BadInput, match="a coefficient for each"):
        compare_runs(runs, coefficients=(1.0,))
    with pytest.raises(BadInput, match="0 random directions at 2 and 1"):
        compare_runs(runs, coefficients=(2.0, 1.0))
    with pytest.raises(BadInput, match="readout clap: both runs have level"):
        compare_runs(runs, readout="clap")
    with pytest.raises(BadInput, match=r"has no scores; run: moodlens judge"):
        bare = tmp_path / "bare"
        bare.mkdir()
        for file in runs[1].iterdir():
            if file.name != SCORES:
                (bare / file.name).symlink_to(file)
        compare_runs((runs[0], bare))


def test_the_verb(runs, tmp_path, capsys):
    from typer.testing import CliRunner

    from moodlens.cli.app import app

    out = tmp_path / "two.png"
    made = CliRunner().invoke(app, ["together", *map(str, runs), "--out", str(out), "--json"])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["n_random"] == 6
    assert out.is_file()
    made = CliRunner().invoke(app, ["together", *map(str, runs)])
    assert "6 random directions beside" in made.stdout
    assert "difference_in_means/happy" in made.stdout
