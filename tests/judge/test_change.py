"""How far a condition moves its generator: 0 at nothing, quadratic in a small step, on the model's own clips, kept when measured."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers.steer_study import EMOTIONS, tiny_study
from helpers.steered import PROMPT, unit
from helpers.tiny_generators import MAKERS, SECONDS
from helpers.tiny_music import tiny_musicgen
from moodlens.core import BadInput, read_table
from moodlens.judge.change import (
    measure_changes,
    measured_by,
    other_seed,
    read_changes,
    references,
    unmeasurable,
)
from moodlens.judge.results import judge_run
from moodlens.judge.words import result_lines
from moodlens.settings.judge import ResultSettings
from moodlens.settings.steer import LayerSettings, SteerSettings
from moodlens.steer import Sampling, Steering, run_steer
from moodlens.steer.batched import RowSampler, generate_rows
from moodlens.steer.build import labelled_texts
from moodlens.steer.clips import read_clip
from moodlens.steer.condition import condition_job, run_how, run_sampling
from moodlens.steer.forcing import answer, own_tokens
from moodlens.steer.generator import Job
from moodlens.steer.run import run_directions

pytest.importorskip("diffusers")
pytest.importorskip("torchsde")
SHARED = [name for name in MAKERS if not name.startswith("stable-audio-3")]
SETTINGS = SteerSettings(
    prompts=("instrumental music", PROMPT),
    methods=("difference_in_means", "sae_family"),
    controls=("random",),
    emotions=EMOTIONS[:2],
    coefficients=(0.01, 2.0),
    control_coefficients=(2.0,),
    seconds=0.6,
    steps=4,
    neutral_words=("audio",),
)
QUICK = ResultSettings(n_resamples=100, methods=("difference_in_means",))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_clip_s_own_tokens_are_those_it_was_decoded_from(channels):
    """Drawn again for a shorter clip they are the same, but for the frames at which that one ends; a batch is no matter."""
    model = tiny_musicgen(channels=channels)
    jobs = [Job(PROMPT, seed) for seed in (1, 2, 3)]
    short = own_tokens(model, jobs, seconds=0.3, sampling=Sampling(), batch=3)
    long = own_tokens(model, jobs, seconds=0.6, sampling=Sampling(), batch=1)
    for a, b in zip(short, long, strict=True):
        assert a.shape == (model.n_codebooks, 15)
        np.testing.assert_array_equal(a[:, :-4], b[:, :11])
    assert "decode" not in vars(model.model.audio_encoder.quantizer)


def test_predictions_are_those_the_clip_is_drawn_from(musicgen, monkeypatch):
    """Steered, guided, with a negative text: what the sampler is given, place by place."""
    sampling = Sampling(top_k=0, negative="sad song")
    job = Job(PROMPT, 1, Steering(unit(musicgen.d_in), 1.0, renorm=True))
    seen = []

    def record(self, ids, scores):
        seen.append(scores.double().log_softmax(-1))
        return draw(self, ids, scores)

    draw = RowSampler.__call__
    monkeypatch.setattr(RowSampler, "__call__", record)
    codes = own_tokens(musicgen, [job, job], seconds=0.3, sampling=sampling, batch=2)[0]
    said = answer(musicgen, job, codes, sampling)
    for k in range(musicgen.n_codebooks):
        for t in range(codes.shape[1]):
            torch.testing.assert_close(said[k, t], seen[t + k][k], atol=1e-4, rtol=1e-4)
    assert len(generate_rows(musicgen, [job], seconds=0.3, sampling=sampling)) == 1


@pytest.mark.parametrize("name", list(MAKERS))
def test_every_generator_is_asked_in_the_same_way(name):
    model = MAKERS[name]()
    seconds = SECONDS.get(name, 0.3)
    how = run_how(SETTINGS.model_copy(update={"seconds": seconds}), model)
    assert measured_by(model, how) == ("velocity" if name.startswith("stable") else "kl")
    plain = Job(PROMPT, 0)
    reference, second = references(model, [plain, Job(PROMPT, 1)], how, run_sampling(how), seconds)

    def asked(amount, seed=3):
        return reference.ask(Job(PROMPT, 0, Steering(unit(model.d_in, seed), amount)))

    change, ratio = zip(*(asked(amount) for amount in (0.005, 0.01, 1.0)), strict=True)
    assert 0 < change[0] < change[1] < change[2]
    # Of itself it says nothing, but for rounding: two clips were made together, and one is asked for.
    nothing = reference.ask(plain)
    assert nothing[0] < 1e-3 * change[0]
    assert abs(nothing[1]) < 1e-3 * abs(ratio[0])
    assert change[1] / change[0] == pytest.approx(4, rel=0.2)  # quadratic
    assert ratio[1] / ratio[0] == pytest.approx(2, rel=0.3)  # where what chance shows is linear
    assert asked(1.0) == (change[2], ratio[2])  # deterministic
    assert second.ask(Job(PROMPT, 0, Steering(unit(model.d_in, 3), 0.005)))[1] != ratio[0]
    edited = reference.ask(Job("a happy piano melody", 0))
    assert edited[0] > 0


def test_the_ratio_s_mean_over_unsteered_clips_is_minus_a_divergence(musicgen):
    """What the floor stands on: on its own clips the unsteered model is likelier, by KL(unsteered, steered)."""
    how = run_how(SETTINGS, musicgen)
    jobs = [Job(PROMPT, seed) for seed in range(40)]
    asked = references(musicgen, jobs, how, run_sampling(how), 0.6)
    steered = Job(PROMPT, 0, Steering(unit(musicgen.d_in), 1.0))
    ratios = np.array([reference.ask(steered)[1] for reference in asked])
    apart = [
        float(
            ((each.base.exp()) * (each.base - answer(musicgen, steered, each.codes, run_sampling(how))))
            .sum(-1)
            .mean()
        )
        for each in asked
    ]
    standard_error = ratios.std() / len(ratios) ** 0.5
    assert ratios.mean() < 0
    assert abs(ratios.mean() + np.mean(apart)) < 3 * standard_error


def test_the_change_is_the_divergence_of_the_steered_from_the_unsteered(musicgen):
    """Not the other way round, which in a small step is the same; and the ratio is that of the clip's own tokens."""
    how = run_how(SETTINGS, musicgen)
    sampling = run_sampling(how)
    (reference,) = references(musicgen, [Job(PROMPT, 0)], how, sampling, 0.6)
    job = Job(PROMPT, 0, Steering(unit(musicgen.d_in), 8.0))
    base, steered = (answer(musicgen, each, reference.codes, sampling) for each in (Job(PROMPT, 0), job))
    forth = float((steered.exp() * (steered - base)).sum(-1).mean())
    back = float((base.exp() * (base - steered)).sum(-1).mean())
    assert abs(forth - back) > 0.02 * forth
    change, ratio = reference.ask(job)
    assert change == pytest.approx(forth, rel=1e-6)
    places = np.indices(reference.codes.shape)
    likelier = (steered - base).numpy()[*places, reference.codes].mean()
    assert ratio == pytest.approx(float(likelier), rel=1e-6)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of the tiny MusicGen, measured."""
    model = tiny_musicgen()
    directions = tiny_study(model).directions()
    few = [item for item in directions if item.method != "random" or item.name < "random/04"]
    out = tmp_path_factory.mktemp("run")
    run = run_steer(replace(directions, items=tuple(few)), out, SETTINGS, model=model)
    return out, run, measure_changes(out, model, 2.0)


def test_a_run_is_measured_once_and_the_same_again(made, tmp_path):
    out, run, table = made
    assert read_table(out / "change.parquet").equals(table)
    assert set(table["key"]) == set(run.keys)
    assert set(table["of"]) == {"kl"}
    told = []
    assert measure_changes(out, run.model, 2.0, lambda *now: told.append(now)).equals(table)
    assert told == []
    assert read_changes(out, 1.0).is_empty()  # over another stretch it is another number
    # Half of it gone: what is measured anew is the same to the last bit.
    from moodlens.study.records.judge import CHANGE

    CHANGE.write(out, table.gather_every(2))
    again = measure_changes(out, run.model, 2.0)
    assert again.sort("key").equals(table.sort("key"))
    CHANGE.write(out, table)


def test_the_floor_is_how_far_two_unsteered_seeds_lie_apart_along_the_condition(made):
    out, run, table = made
    rows = {row["key"]: row for row in table.iter_rows(named=True)}
    clips = [read_clip(out / "clips", key) for key in run.keys]
    clip = next(c for c in clips if c.method == "sae_family" and c.coefficient == 2.0)
    row = rows[clip.key]
    sampling = run_sampling(clip.how)
    plain = [Job(clip.prompt, seed) for seed in (clip.seed, row["other_seed"])]
    one, other = references(run.model, plain, clip.how, sampling, 2.0)
    job = condition_job(clip, run_directions(out), clip.how)
    (change, ratio), (_, second) = one.ask(job), other.ask(job)
    assert row["change"] == pytest.approx(change, rel=1e-9)
    assert row["seed_shift"] == pytest.approx(abs(ratio - second), rel=1e-9)
    assert abs(ratio - second) != pytest.approx(abs(ratio), rel=1e-3)
    for c in clips:  # a control stands beside and has none; unsteered clips are moved by nothing
        assert (rows[c.key]["seed_shift"] is None) == (c.method != "none" and c.emotion is None)
        assert (rows[c.key]["change"] == 0) == (c.method == "none")


def test_a_hundredth_is_below_the_floor_and_two_are_above_it(made):
    """End to end on clips of a real model: nothing at .01 is matched."""
    out, run, _ = made
    peaks = lambda clip: {f"level_{e}": float(abs(clip.mono).mean()) + i for i, e in enumerate(EMOTIONS)}  # noqa: E731
    settings = ResultSettings(n_resamples=100, methods=("difference_in_means",))
    results = judge_run(out, [peaks], settings=settings, model=run.model)
    assert len(results.equal_change) == 2
    for row in results.equal_change:
        assert row.change > 0
        for each in row.methods:
            assert 2.0 not in each.below
            if each.method != "prompt_editing":
                assert each.below == (0.01,)
                assert 0.01 < each.coefficient <= 2.0 + 1e-9
    weak = next(r for r in results.rows if r.coefficient == 0.01)
    assert 0 < weak.change < weak.change_floor
    assert {"change", "seed_shift", "change_of"} <= set(read_table(out / "scores.parquet").columns)
    # Without the model what was measured counts.
    again = judge_run(out, [peaks], settings=settings)
    assert again.equal_change == results.equal_change
    none = judge_run(out, [peaks], settings=settings.model_copy(update={"change_seconds": 0.0}))
    assert none.equal_change == ()


def test_steering_in_layers_is_measured_and_matched_like_any_other(tmp_path):
    """Its own control beside it, and no p from directions of the text."""
    model = tiny_musicgen()
    study = tiny_study(model)
    directions = replace(study.directions(), texts=labelled_texts(study.rows, 3))
    layer = "layer_difference_in_means"
    settings = SETTINGS.model_copy(
        update={
            "methods": ("difference_in_means", layer),
            "controls": ("layer_random",),
            "coefficients": (0.01, 4.0),
            "control_coefficients": (4.0,),
            "layers": LayerSettings(texts=3, seconds=0.3, n_random=4),
        }
    )
    run = run_steer(directions, tmp_path, settings, model=model)
    peaks = lambda clip: {f"level_{e}": float(abs(clip.mono).mean()) + i for i, e in enumerate(EMOTIONS)}  # noqa: E731
    results = judge_run(
        tmp_path, [peaks], settings=ResultSettings(n_resamples=100, methods=()), model=run.model
    )
    rows = {(r.method, r.coefficient): r for r in results.rows if r.emotion == "happy"}
    weak, strong = rows[layer, 0.01], rows[layer, 4.0]
    assert 0 < weak.change < weak.change_floor
    assert strong.change > strong.change_floor
    assert (strong.n_random, rows["difference_in_means", 4.0].n_random) == (4, 0)
    for row in results.equal_change:
        by = {each.method: each for each in row.methods}
        assert {layer, "difference_in_means"} <= set(by)
        assert by[layer].below == (0.01,)
        assert by[layer].effect is not None


def test_what_cannot_be_measured(made, musicgen):
    out, run, _ = made
    other = tiny_musicgen(seed=1)
    other.revision = "another"
    with pytest.raises(BadInput, match="not the same weights"):
        measure_changes(out, other, 2.0)
    how = run_how(SETTINGS, musicgen)
    assert measured_by(musicgen, how.model_copy(update={"schedule": ((0.0, 1.0),)})) is None
    assert unmeasurable(how) is None
    assert "continue_from" in str(unmeasurable(how.model_copy(update={"continued": "a" * 64})))
    denoised = how.model_copy(update={"steps": 4})
    assert unmeasurable(denoised) is None
    assert "the other way" in str(unmeasurable(denoised.model_copy(update={"null": "opposite"})))
    assert other_seed((3,), 3) == 4
    assert [other_seed((3, 5, 9), seed) for seed in (3, 5, 9)] == [5, 9, 3]
    assert run.model is not None


def test_a_run_that_cannot_be_measured_is_not_told_to_be(made, tmp_path, musicgen):
    """Its schedule is the reason, and it stays one however often it is judged."""
    directions = run_directions(made[0])
    changes = {"schedule": ((0.0, 1.0), (1.0, 0.5)), "coefficients": (2.0,), "prompt_editing": False}
    run = run_steer(directions, tmp_path, SETTINGS.model_copy(update=changes), model=musicgen)
    level = lambda clip: {f"level_{e}": float(abs(clip.mono).mean()) + i for i, e in enumerate(EMOTIONS)}  # noqa: E731
    for model in (None, run.model):
        results = judge_run(tmp_path, [level], settings=QUICK, model=model)
        (said,) = (line for line in result_lines(results) if "equal change" in line)
        assert "cannot be measured for this run: its strength changes over time (schedule)" in said
    # Of another run it can be had, and how is said; or it was not wanted.
    results = judge_run(made[0], [level], settings=QUICK.model_copy(update={"change_seconds": 1.0}))
    assert any("was not measured (moodlens judge RUN --change)" in line for line in result_lines(results))
    results = judge_run(made[0], [level], settings=QUICK.model_copy(update={"change_seconds": 0.0}))
    assert any("was not asked for (change_seconds=0)" in line for line in result_lines(results))
