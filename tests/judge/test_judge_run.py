"""From a real steering run of the tiny model to its result table, and scores on folders from elsewhere."""

from dataclasses import replace

import numpy as np
import pytest

from helpers.steer_study import EMOTIONS
from helpers.tiny_clap import extractor, save_tiny_clap, tiny_clap_model
from helpers.tiny_music import word_tokenizer
from moodlens.core import BadInput, read_json, read_table
from moodlens.judge import Clap, ClapScore, OfflineScore, PreservationScore, score_folder, score_run
from moodlens.judge.results import judge_run, write_results
from moodlens.judge.words import result_lines
from moodlens.settings.judge import ResultSettings
from moodlens.settings.steer import SteerSettings
from moodlens.steer import run_steer
from moodlens.steer.clips import write_wav

SETTINGS = SteerSettings(
    prompts=("instrumental music", "a simple piano melody"),
    methods=("sae_family", "difference_in_means"),
    controls=("random",),
    emotions=EMOTIONS[:2],
    coefficients=(1.0,),
    control_coefficients=(1.0,),
    seeds=(0,),
    seconds=0.15,
    neutral_words=("recorded", "audio", "demo"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory, musicgen, directions):
    out = tmp_path_factory.mktemp("steer")
    kept = [item for item in directions if item.method != "random" or item.name < "random/05"]
    run_steer(replace(directions, items=tuple(kept)), out, SETTINGS, model=musicgen)
    return out


def test_a_run_is_scored_and_judged(run, musicgen, directions):
    clap = Clap(tiny_clap_model(), word_tokenizer(), extractor(), "tiny")
    vectors = {e: directions[f"difference_in_means/{e}"].vector for e in EMOTIONS}
    offline = OfflineScore(musicgen, vectors, directions.unit, prompt=None, seconds=0.15)
    seen = []
    frame = score_run(
        run,
        [ClapScore(clap, EMOTIONS), PreservationScore(clap), offline],
        progress=lambda what, done, total: seen.append((done, total)),
    )
    n = len(read_json(run / "run.json")["clips"])
    assert frame.height == n
    assert seen[-1] == (n, n)
    assert read_table(run / "scores.parquet").equals(frame)
    plain = frame.filter(frame["method"] == "none")
    np.testing.assert_allclose(plain["kept"], 1, atol=1e-5)
    results = write_results(run, EMOTIONS[:2], ResultSettings(n_resamples=200))
    assert results.coefficient == 1.0
    assert set(results.readouts) == {"clap", "clap_logit", "offline"}
    assert {r.method for r in results.rows} == {"sae_family", "difference_in_means", "prompt_editing"}
    assert {(r.method, r.n_directions) for r in results.controls} == {("random", 5), ("neutral_editing", 3)}
    assert np.shape(results.specificity[0].table) == (2, 2)
    assert not any(r.moved for r in results.rows)  # two prompts cannot show anything
    assert "use more prompts" in result_lines(results)[-1]


def test_judging_a_run_needs_one_call(tmp_path, musicgen, directions):
    settings = SETTINGS.model_copy(
        update={"emotions": EMOTIONS, "prompt_editing": False, "controls": (), "methods": ("sae_family",)}
    )
    run_steer(directions, tmp_path / "run", settings, model=musicgen)
    save_tiny_clap(tmp_path / "clap")
    judging = ResultSettings(n_resamples=200)
    results = judge_run(tmp_path / "run", clap=str(tmp_path / "clap"), acoustics=False, settings=judging)
    assert results.emotions == EMOTIONS
    assert np.shape(results.specificity[0].table) == (4, 4)
    assert results.distance
    assert (tmp_path / "run" / "results.json").is_file()
    with pytest.raises(BadInput, match="nothing to judge by"):
        judge_run(tmp_path / "run", clap=None, acoustics=False)


def test_two_scores_of_one_name_and_none_at_all_are_refused(tmp_path):
    write_wav(tmp_path / "a.wav", np.ones(800), 8000)
    score = lambda clip: {"mean": float(clip.mono.mean())}  # noqa: E731  any callable is a score
    assert score_folder(tmp_path, [score])["mean"].to_list() == [1.0]
    with pytest.raises(BadInput, match="are called mean"):
        score_folder(tmp_path, [score, score])
    with pytest.raises(BadInput, match="are called seed"):
        score_folder(tmp_path, [lambda clip: {"seed": 1}])
    with pytest.raises(BadInput, match="at least one score"):
        score_folder(tmp_path, [])
    with pytest.raises(BadInput, match="no such folder"):
        score_folder(tmp_path / "nothing", [score])


def test_what_was_measured_once_is_not_measured_again(tmp_path, musicgen, directions):
    """A stop costs nothing that was done, and another score is measured alone."""
    settings = SETTINGS.model_copy(
        update={"prompt_editing": False, "controls": (), "methods": ("sae_family",)}
    )
    run_steer(directions, tmp_path / "run", settings, model=musicgen)
    asked = []

    class Peak:
        def __init__(self, name, factor=1.0):
            self.name, self.cache_key = name, f"{name} {factor}"

        def __call__(self, clip):
            asked.append((self.name, clip.path.name))
            if len(asked) == 4:
                raise KeyboardInterrupt
            return {self.name: float(abs(clip.mono).max())}

    with pytest.raises(KeyboardInterrupt):
        score_run(tmp_path / "run", [Peak("loudest")])
    n = len(read_json(tmp_path / "run" / "run.json")["clips"])
    first = score_run(tmp_path / "run", [Peak("loudest")])
    assert len(asked) == n + 1  # the one that was stopped is asked again
    both = score_run(tmp_path / "run", [Peak("loudest"), Peak("other")])
    assert len(asked) == 2 * n + 1
    assert both["loudest"].equals(first["loudest"])
    again = score_run(tmp_path / "run", [Peak("loudest", factor=2.0)])  # set otherwise: not what was kept
    assert len(asked) == 3 * n + 1
    assert again.height == n
    kept = next((tmp_path / "run" / "scores").glob("*.json"))
    kept.write_text("{")
    assert score_run(tmp_path / "run", [Peak("loudest"), Peak("other"), Peak("third")]).height == n
