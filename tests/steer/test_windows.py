"""Clips that go on from a sound, and clips longer than a window: what transformers makes of them, alone and in batches."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

from helpers.steered import unit
from helpers.tiny_generators import MAKERS
from helpers.tiny_music import tiny_musicgen
from moodlens.core import BadInput
from moodlens.settings.steer import DirectionSettings, SteerSettings
from moodlens.steer import Sampling, Steering, layer_differences
from moodlens.steer.clips import read_clip
from moodlens.steer.generator import Job
from moodlens.steer.residual import LayerSteering, blocks
from moodlens.steer.run import run_steer
from moodlens.steer.windows import CONTEXT, WINDOW, context_frames

RATE = 8000
PROMPT, SECONDS = "a simple piano melody", 0.4


def tone(seconds: float, channels: int = 1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    return (
        0.3 * np.sin(2 * np.pi * 220 * times) + 0.05 * rng.standard_normal((channels, len(times)))
    ).astype(np.float32)


def hearing(**changes):
    """A tiny model whose codec has ears: that of random weights gives every sound the same tokens, silence too."""
    musicgen = tiny_musicgen(**changes)
    with torch.no_grad():
        for name, weights in musicgen.model.audio_encoder.encoder.named_parameters():
            if weights.dim() == 3:
                weights.mul_(3)
            elif "conv.bias" in name:
                weights.zero_()
    return musicgen


def going_on(seconds: float = 0.5, channels: int = 1):
    musicgen = hearing(channels=channels)
    musicgen.go_on(tone(seconds, channels), RATE, "abc")
    return musicgen


@pytest.fixture(scope="module")
def continued():
    return going_on()


@pytest.fixture(scope="module")
def short():
    """A model whose window is 60 frames, 1.2 s at 50 frames a second; a window repeats 24 of them."""
    musicgen = tiny_musicgen()
    musicgen.window = 60
    return musicgen


def jobs_of(musicgen, n=6, **changes) -> list[Job]:
    prompts = (PROMPT, "music", "slow ambient synth with soft strings and a quiet bass")
    return [
        Job(
            prompts[i % 3],
            i // 2,
            None if i % 3 == 0 else Steering(unit(musicgen.d_in, i), (4.0, -2.0, 1.0)[i % 3], **changes),
        )
        for i in range(n)
    ]


def alone(musicgen, job, seconds=SECONDS, sampling=None):
    return musicgen.generate(
        job.text, seconds=seconds, seed=job.seed, steering=job.steering, sampling=sampling
    )


# -- continuation --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_it_is_transformers_own_continuation_without_what_was_given(channels, guidance):
    """To the byte, plain and at an amount of 0; the given part is decoded with it and cut off."""
    sound = tone(0.5, channels)
    musicgen = going_on(channels=channels)
    ids, mask = musicgen.tokens(PROMPT)
    torch.manual_seed(1)
    whole = musicgen.model.generate(
        input_ids=ids, attention_mask=mask, input_values=torch.from_numpy(sound)[None], do_sample=True, top_k=250,
        guidance_scale=guidance, max_new_tokens=round(SECONDS * 50) + 3,
    )[0].numpy()  # fmt: skip
    assert whole.shape == (channels, round((0.5 + SECONDS) * RATE))
    sampling = Sampling(guidance=guidance)
    for steering in (None, Steering(unit(musicgen.d_in), 0.0)):
        clip = musicgen.generate(PROMPT, seconds=SECONDS, seed=1, steering=steering, sampling=sampling)
        np.testing.assert_array_equal(clip, whole[:, round(0.5 * RATE) :])
    moved = musicgen.generate(
        PROMPT, seconds=SECONDS, seed=1, steering=Steering(unit(musicgen.d_in), 4.0), sampling=sampling
    )
    assert moved.shape == clip.shape
    assert not np.array_equal(moved, clip)


@pytest.mark.parametrize(
    "changes", [{}, {"renorm": True}, {"null": "opposite"}, {"schedule": ((0.0, 0.0), (0.2, 1.0))}],
    ids=["constant", "renorm", "opposite", "schedule"],
)  # fmt: skip
@pytest.mark.parametrize("negative", [None, "loud drums"])
def test_a_batch_goes_on_as_each_clip_alone(continued, changes, negative):
    if negative and changes.get("null"):
        return
    sampling = Sampling(negative=negative)
    jobs = jobs_of(continued, **changes)
    together = continued.batch(jobs, seconds=SECONDS, sampling=sampling)
    for job, clip in zip(jobs, together, strict=True):
        np.testing.assert_array_equal(clip, alone(continued, job, sampling=sampling))
    assert len({clip.tobytes() for clip in together}) == len(jobs)


def test_what_is_given_decides_the_clip_and_its_end_alone_counts(continued):
    plain = tiny_musicgen().generate(PROMPT, seconds=SECONDS, seed=1)
    clip = continued.generate(PROMPT, seconds=SECONDS, seed=1)
    assert clip.shape == plain.shape
    assert not np.array_equal(clip, plain)
    assert continued.given is not None
    assert all(len(set(codebook.tolist())) > 3 for codebook in continued.given)
    other = hearing()
    other.go_on(tone(0.5, seed=3), RATE, "def")
    assert not np.array_equal(other.generate(PROMPT, seconds=SECONDS, seed=1), clip)
    # A sound longer than a window repeats: its end. Another rate is resampled, two channels are one.
    window = hearing()
    window.window = 50  # 20 frames of context: 0.4 s
    long = tone(3.0)
    window.go_on(long, RATE, "x")
    assert window.given is not None
    assert window.given.shape == (4, 20)
    before = window.given
    assert len(set(before[0].tolist())) > 3
    window.go_on(long[:, -round(0.4 * RATE) :].repeat(2, axis=0), RATE, "y")
    assert torch.equal(window.given, before)
    window.go_on(long[:, : round(0.4 * RATE)], RATE, "start")
    assert not torch.equal(window.given, before)
    window.go_on(tone(1.0).repeat(2, axis=1), 2 * RATE, "z")
    assert window.given.shape == (4, 20)


def test_a_schedule_counts_from_where_the_new_music_begins(continued):
    """A late turn leaves the start as it is without steering; a constant schedule is no schedule."""
    vector = unit(continued.d_in)
    late = continued.generate(PROMPT, seconds=1.0, seed=1,
                              steering=Steering(vector, 4.0, schedule=((0.0, 0.0), (0.6, 0.0), (0.6, 1.0))))  # fmt: skip
    plain = continued.generate(PROMPT, seconds=1.0, seed=1)
    same = round(0.4 * RATE)  # the codec looks a little ahead
    np.testing.assert_allclose(late[:, :same], plain[:, :same], atol=1e-6)
    assert not np.array_equal(late, plain)
    constant = Steering(vector, 4.0, schedule=((0.0, 1.0),))
    np.testing.assert_array_equal(
        continued.generate(PROMPT, seconds=SECONDS, seed=1, steering=constant),
        continued.generate(PROMPT, seconds=SECONDS, seed=1, steering=Steering(vector, 4.0)),
    )


# -- longer than a window ------------------------------------------------------------------------------------------------


def test_a_window_is_audiocraft_s():
    """30 s, of which the last 12 are repeated (extend_stride 18); fewer where the decoder has fewer positions."""
    assert (WINDOW, CONTEXT) == (30.0, 12.0)
    musicgen = tiny_musicgen()
    assert musicgen.window == 512 - 4
    assert context_frames(30 * 50) == 12 * 50


def test_long_clips_begin_with_the_window_that_they_would_be(short):
    """Up to the end of the first window the tokens are those of a clip of that length."""
    first = short.generate(PROMPT, seconds=1.2, seed=1)
    long = short.generate(PROMPT, seconds=3.0, seed=1)
    assert long.shape == (1, 3 * RATE)
    same = round(1.0 * RATE)  # the codec looks a little ahead
    np.testing.assert_allclose(long[:, :same], first[:, :same], atol=1e-6)
    assert np.abs(long[:, 2 * RATE :]).max() > 0
    assert not np.array_equal(long, short.generate(PROMPT, seconds=3.0, seed=2))


@given(st.integers(5, 200), st.booleans())
@settings(max_examples=8, deadline=None)
def test_any_length_is_made_batched_as_alone(short, frames, schedule):
    seconds = frames / 50
    changes = {"schedule": ((0.0, 0.0), (1.0, 1.0), (2.5, -1.0))} if schedule else {}
    jobs = jobs_of(short, 3, **changes)
    together = short.batch(jobs, seconds=seconds, sampling=Sampling())
    for job, clip in zip(jobs, together, strict=True):
        assert clip.shape == (1, frames * 160)
        np.testing.assert_array_equal(clip, alone(short, job, seconds))


def test_a_long_clip_goes_on_from_its_own_tokens(short):
    """What the second window hears is the end of the first, not its sound encoded again."""
    heard = []
    model = short.model
    real = model.generate

    def listen(**kwargs):
        heard.append(kwargs.get("decoder_input_ids"))
        return real(**kwargs)

    model.generate = listen
    try:
        short.generate(PROMPT, seconds=2.4, seed=1)
    finally:
        del model.generate
    assert heard[0] is None
    assert [len(given[0]) for given in heard[1:]] == [24, 24]
    assert len(heard) == 3  # 60 + 36 + 24 frames


def test_coefficient_zero_and_stereo_of_long_clips():
    musicgen = tiny_musicgen(channels=2)
    musicgen.window = 60
    plain = musicgen.generate(PROMPT, seconds=2.0, seed=1)
    assert plain.shape == (2, 2 * RATE)
    zero = musicgen.generate(
        PROMPT, seconds=2.0, seed=1, steering=Steering(unit(musicgen.d_in), 0.0, renorm=True)
    )
    np.testing.assert_array_equal(zero, plain)
    assert not np.array_equal(plain[0], plain[1])


# -- in the decoder's layers ------------------------------------------------------------------------------------------------


class Added:
    """What steering adds behind a model's last layer, for the first row: one list of steps for each call of ``generate``."""

    def __init__(self, model):
        self.model, self.calls = model, []
        self._norm = model.decoder.model.decoder.layer_norm
        self._generate = model.generate

    def __enter__(self):
        before = []
        look = lambda module, args, out: before.append((out[0] if isinstance(out, tuple) else out)[0])  # noqa: E731
        add = lambda module, args: self.calls[-1].extend(args[0][0] - before.pop())  # noqa: E731
        self.handles = [
            blocks(self.model)[-1].register_forward_hook(look),
            self._norm.register_forward_pre_hook(add),
        ]

        def generate(**kwargs):
            self.calls.append([])
            return self._generate(**kwargs)

        self.model.generate = generate
        return self

    def __exit__(self, *error):
        del self.model.generate
        for handle in self.handles:
            handle.remove()

    def steps(self, call, n):
        """``(n, d)``: the last so many steps of a call; transformers may run a first one twice."""
        return torch.stack(self.calls[call][-n:])


def in_layers(musicgen, amount=3.0, **how):
    vector = unit(musicgen.model.config.decoder.hidden_size)
    return vector, LayerSteering({1: vector}, amount, **how)


def test_every_step_of_the_new_music_is_steered_as_when_it_was_made(short):
    """Windows of 60, 36 and 24 frames, each but the first behind 24 that were said; 3 more steps for the codebooks' delay."""
    vector, steering = in_layers(short, decay=0.97)
    with Added(short.model) as added:
        short.generate(PROMPT, seconds=2.4, seed=1, steering=steering)
    assert len(added.calls) == 3
    for call, (first, n) in enumerate([(0, 63), (60 - 24, 24 + 36 + 3), (96 - 24, 24 + 24 + 3)]):
        wanted = torch.from_numpy(3.0 * 0.97 ** np.arange(first, first + n)[:, None] * vector).float()
        torch.testing.assert_close(added.steps(call, n), wanted, atol=1e-4, rtol=1e-4)


def test_a_given_sound_is_left_alone(continued):
    assert continued.given is not None
    n_given, n_new = continued.given.shape[1], round(SECONDS * 50) + 3
    vector, steering = in_layers(continued, decay=0.5)
    with Added(continued.model) as added:
        continued.generate(PROMPT, seconds=SECONDS, seed=1, steering=steering)
    moved = added.steps(0, n_given + n_new)
    assert moved[:n_given].abs().max() == 0
    wanted = torch.from_numpy(3.0 * 0.5 ** np.arange(n_new)[:, None] * vector).float()
    torch.testing.assert_close(moved[n_given:], wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("seconds", [1.2, 2.4])
def test_layers_of_long_clips_and_of_batches(short, seconds):
    """A batch is as each clip alone, nothing is plain, and the first window is the clip that it would be."""
    _, steering = in_layers(short, halves="both")
    jobs = [
        Job(PROMPT, 1, steering),
        Job("music", 1),
        Job("music", 2, in_layers(short, -2.0)[1]),
        Job(PROMPT, 1),
    ]
    together = short.batch(jobs, seconds=seconds, sampling=Sampling())
    for job, clip in zip(jobs, together, strict=True):
        np.testing.assert_allclose(clip, alone(short, job, seconds), atol=1e-6)
    first = short.generate(PROMPT, seconds=1.2, seed=1, steering=steering)
    np.testing.assert_allclose(together[0][:, :RATE], first[:, :RATE], atol=1e-6)
    assert not np.allclose(together[0][:, :RATE], together[3][:, :RATE], atol=1e-3)
    zero = short.generate(PROMPT, seconds=seconds, seed=1, steering=in_layers(short, 0.0)[1])
    np.testing.assert_array_equal(zero, alone(short, jobs[3], seconds))


def test_means_are_of_clips_that_go_on_from_nothing(continued, short):
    texts = {"happy": ("a happy song",), "sad": ("a sad song", "a dark ballad")}
    given = continued.given
    means = layer_differences(continued, texts, seconds=0.3).means
    assert continued.given is given
    np.testing.assert_array_equal(means, layer_differences(hearing(), texts, seconds=0.3).means)
    with pytest.raises(BadInput, match=r"layers\.seconds: 1\.5 is longer than a window"):
        layer_differences(short, texts, seconds=1.5)


# -- runs and refusals -----------------------------------------------------------------------------------------------------


def test_a_run_goes_on_from_a_file_and_its_clips_say_so(tiny, tmp_path):
    wavfile.write(tmp_path / "given.wav", RATE, tone(0.5)[0])
    chosen = SteerSettings(
        prompts=("instrumental music",), emotions=("happy",), methods=("difference_in_means",), controls=(),
        coefficients=(1.0,), prompt_editing=False, seconds=0.3, continue_from=str(tmp_path / "given.wav"),
        directions=DirectionSettings(n_random=1, n_matched=1),
    )  # fmt: skip
    made = run_steer(tiny.directions(), tmp_path / "run", chosen, model=tiny_musicgen())
    facts = read_clip(tmp_path / "run" / "clips", made.keys[0])
    assert facts is not None
    assert facts.how.continued is not None
    assert facts.samples == round(0.3 * RATE)
    assert run_steer(tiny.directions(), tmp_path / "run", chosen, model=tiny_musicgen()).made == 0
    other = chosen.model_copy(update={"continue_from": None})
    plain = run_steer(tiny.directions(), tmp_path / "run", other, model=tiny_musicgen())
    assert plain.made == 2  # the sound decides the clip
    wavfile.write(tmp_path / "tiny.wav", RATE, tone(0.005)[0])
    with pytest.raises(BadInput, match=r"tiny\.wav: .*too short"):
        run_steer(tiny.directions(), tmp_path / "run",
                  chosen.model_copy(update={"continue_from": str(tmp_path / "tiny.wav")}), model=tiny_musicgen())  # fmt: skip
    with pytest.raises(BadInput, match="nowhere"):
        run_steer(tiny.directions(), tmp_path / "run",
                  chosen.model_copy(update={"continue_from": str(tmp_path / "nowhere.wav")}), model=tiny_musicgen())  # fmt: skip


@pytest.mark.parametrize("name", ["musicgen-melody", "stable-audio"])
def test_other_generators_say_what_they_do_not_do(name):
    generator = MAKERS[name]()
    with pytest.raises(BadInput, match="goes on from no sound; that is MusicGen's"):
        generator.go_on(tone(0.5), RATE, "")
    with pytest.raises(BadInput, match="seconds"):
        generator.frames(100.0)
