"""Clips made together are the clips made alone."""

import numpy as np
import pytest
import torch

from helpers.steered import unit
from helpers.tiny_music import tiny_musicgen
from moodlens.core import BadInput
from moodlens.settings.steer import DirectionSettings, SteerSettings
from moodlens.steer import Sampling, Steering
from moodlens.steer.batched import generate_rows
from moodlens.steer.clips import read_clip
from moodlens.steer.generator import Job, NoNumbers, OutOfMemory, make_clips
from moodlens.steer.run import run_steer

PROMPTS = (
    "a simple piano melody",
    "music",
    "slow ambient synth with soft strings and a quiet bass",
    "techno beat, loud and fast",
)
SAMPLING = Sampling()


def mixed(musicgen, n: int, **changes) -> list[Job]:
    """Jobs that differ in prompt, direction, amount, sign and seed; every fourth is plain."""
    jobs = []
    for i in range(n):
        steering = Steering(unit(musicgen.d_in, i), (-4.0, -1.0, 0.5, 1.0, 4.0)[i % 5], **changes)
        jobs.append(Job(PROMPTS[i % 3 if i % 2 else 3], i // 2, None if i % 4 == 0 else steering))
    return jobs


def alone(musicgen, job: Job, seconds: float, sampling: Sampling = SAMPLING) -> np.ndarray:
    return musicgen.generate(
        job.text, seconds=seconds, seed=job.seed, steering=job.steering, sampling=sampling
    )


def assert_same(musicgen, jobs, seconds=0.3, sampling=SAMPLING):
    together = generate_rows(musicgen, jobs, seconds=seconds, sampling=sampling)
    for job, clip in zip(jobs, together, strict=True):
        np.testing.assert_array_equal(clip, alone(musicgen, job, seconds, sampling))
    return together


@pytest.mark.parametrize(
    "sampling",
    [SAMPLING, Sampling(guidance=1.0), Sampling(temperature=0.7, top_k=5), Sampling(top_k=0)],
    ids=["default", "no guidance", "cold", "all tokens"],
)
def test_a_batch_of_one_is_generate_to_the_byte(musicgen, sampling):
    for job in mixed(musicgen, 4):
        assert_same(musicgen, [job], sampling=sampling)


@pytest.mark.parametrize(
    "sampling", [SAMPLING, Sampling(guidance=1.0), Sampling(temperature=0.7, top_k=5)], ids=["3", "1", "cold"]
)
def test_mixed_rows_are_their_clips_alone(musicgen, sampling):
    clips = assert_same(musicgen, mixed(musicgen, 12), sampling=sampling)
    assert len({clip.tobytes() for clip in clips}) == 12


@pytest.mark.slow
def test_208_mixed_clips_have_the_bytes_they_have_alone(musicgen):
    """The same tokens, and decoded row by row; 52 at once."""
    jobs = mixed(musicgen, 208)
    for start in range(0, 208, 52):
        assert_same(musicgen, jobs[start : start + 52], seconds=0.3)


@pytest.mark.parametrize(
    "changes",
    [
        {"renorm": True},
        {"null": "opposite"},
        {"schedule": ((0.0, 0.0), (0.1, 1.0))},
        {"schedule": ((0.0, 1.0), (0.1, 1.0), (0.1, -1.0)), "null": "opposite"},
    ],
    ids=["renorm", "opposite", "ramp", "turn"],
)
def test_ways_of_steering_stay_with_their_rows(musicgen, changes):
    """Beside constant and plain rows in the same call."""
    jobs = [*mixed(musicgen, 6, **changes), *mixed(musicgen, 3)]
    assert_same(musicgen, jobs)


def test_a_negative_prompt_longer_than_the_prompts(musicgen):
    sampling = Sampling(negative="quiet gentle soft ambient music with strings and a slow beat")
    clips = assert_same(musicgen, mixed(musicgen, 5), sampling=sampling)
    assert not np.array_equal(clips[0], alone(musicgen, mixed(musicgen, 1)[0], 0.3))


def test_stereo():
    musicgen = tiny_musicgen(channels=2)
    clips = assert_same(musicgen, mixed(musicgen, 5))
    assert clips[0].shape[0] == 2


def test_neighbours_seeds_and_order_do_not_matter(musicgen):
    jobs = mixed(musicgen, 6)
    clips = generate_rows(musicgen, jobs, seconds=0.3, sampling=SAMPLING)
    turned = generate_rows(musicgen, jobs[::-1][:4], seconds=0.3, sampling=SAMPLING)
    for one, other in zip(clips[::-1][:4], turned, strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_seed_is_one_clip_and_another_seed_another(musicgen):
    first, again, other = generate_rows(
        musicgen, [Job("music", 1), Job("music", 1), Job("music", 2)], seconds=0.3, sampling=SAMPLING
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_global_random_states_and_the_codec_are_put_back(musicgen):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    generate_rows(musicgen, mixed(musicgen, 2), seconds=0.2, sampling=SAMPLING)
    assert torch.equal(torch.rand(1), expected)
    assert "decode" not in vars(musicgen.model.audio_encoder)
    assert not musicgen.model.decoder._forward_pre_hooks


def test_a_row_that_breaks_is_named(musicgen):
    jobs = mixed(musicgen, 3)
    jobs[1] = Job("music", 0, Steering(np.full(musicgen.d_in, 1.0, dtype=np.float32), 3e38))
    with pytest.raises(NoNumbers, match="no longer numbers") as caught:
        generate_rows(musicgen, jobs, seconds=0.2, sampling=SAMPLING)
    assert caught.value.job is jobs[1]
    made = []
    with pytest.raises(NoNumbers):
        for now, clips in make_clips(musicgen, jobs, seconds=0.2, sampling=SAMPLING, batch=3):
            made.append((now, clips))
    ((now, clips),) = made  # what came before it is kept
    assert list(now) == [0]
    np.testing.assert_array_equal(clips[0], alone(musicgen, jobs[0], 0.2))


# -- how many at once ----------------------------------------------------------------------------------------------------


class Small:
    """A real generator on a machine where more than ``fits`` clips are too many."""

    def __init__(self, musicgen, fits: int) -> None:
        self.musicgen, self.fits, self.asked = musicgen, fits, []

    def __getattr__(self, name):
        return getattr(self.musicgen, name)

    def batch(self, jobs, **how):
        self.asked.append(len(jobs))
        if len(jobs) > self.fits:
            raise OutOfMemory("tiny: out of memory")
        return self.musicgen.batch(jobs, **how)


def test_batches_are_halved_until_they_fit_and_stay_so(musicgen):
    small, jobs = Small(musicgen, 3), mixed(musicgen, 11)
    made = [
        (list(now), clips) for now, clips in make_clips(small, jobs, seconds=0.2, sampling=SAMPLING, batch=8)
    ]
    assert small.asked == [8, 4, 2, 2, 2, 2, 2, 1]
    assert [i for now, _ in made for i in now] == list(range(11))
    for now, clips in made:
        for i, clip in zip(now, clips, strict=True):
            np.testing.assert_array_equal(clip, alone(musicgen, jobs[i], 0.2))


def test_one_clip_that_does_not_fit_is_an_error(musicgen):
    with pytest.raises(OutOfMemory, match="out of memory"):
        list(make_clips(Small(musicgen, 0), mixed(musicgen, 2), seconds=0.2, sampling=SAMPLING, batch=2))


def test_auto_asks_for_what_memory_holds(musicgen, monkeypatch):
    import moodlens.steer.batched as room

    assert room._free_memory(torch.device("cpu")) > 1e6
    for free, least, most in ((None, 16, 16), (1e12, 16, 16), (0.0, 1, 1), (4e5, 2, 12)):
        monkeypatch.setattr(room, "_free_memory", lambda device, free=free: free)
        assert least <= musicgen.rows_that_fit(0.2, guided=True) <= most
    assert musicgen.rows_that_fit(0.2, guided=False) > musicgen.rows_that_fit(0.2, guided=True)
    assert musicgen.rows_that_fit(2.0, guided=True) < musicgen.rows_that_fit(0.2, guided=True)


# -- a run ---------------------------------------------------------------------------------------------------------------


def test_a_run_has_the_same_clips_whatever_the_batch(tiny, musicgen, tmp_path):
    settings = SteerSettings(
        prompts=PROMPTS[:2],
        emotions=("happy",),
        methods=("sae_family",),
        controls=("random",),
        coefficients=(1.0,),
        seeds=(0, 1),
        seconds=0.2,
        directions=DirectionSettings(n_random=2),
    )
    directions = tiny.directions(settings.directions)
    runs = {
        batch: run_steer(
            directions, tmp_path / str(batch), settings.model_copy(update={"batch": batch}), model=musicgen
        )
        for batch in (1, 7, "auto")
    }
    assert len({run.keys for run in runs.values()}) == 1
    n = len(runs[1].keys)
    for key in runs[1].keys:
        clips = {batch: read_clip(run.folder / "clips", key) for batch, run in runs.items()}
        assert len({clip.sha256 for clip in clips.values()}) == 1
        assert clips[1].batch == 1
        assert clips["auto"].batch in (16, n % 16)
    # More of a run is made beside what is there, with another batch.
    grown = settings.model_copy(update={"seeds": (0, 1, 2), "batch": 3})
    assert run_steer(directions, tmp_path / "7", grown, model=musicgen).made == n // 2


def test_a_steering_too_strong_is_told_by_clip(tiny, musicgen, tmp_path):
    settings = SteerSettings(
        prompts=PROMPTS[:1],
        emotions=("happy",),
        methods=("sae_family",),
        controls=(),
        coefficients=(1.0, 3e38),
        prompt_editing=False,
        seeds=(0,),
        seconds=0.2,
    )
    with pytest.raises(
        BadInput, match=r"clip of 'a simple piano melody', sae_family/happy at coefficient 3e\+38: tiny"
    ):
        run_steer(tiny.directions(settings.directions), tmp_path / "run", settings, model=musicgen)
