"""What every generator promises, and the traps of each: random weights, no layer of which is zero."""

import numpy as np
import pytest
import torch

from helpers.steered import PROMPT, unit
from helpers.tiny_generators import MAKERS, SECONDS, WIDTH, save
from moodlens.core import BadInput
from moodlens.settings.steer import DirectionSettings, SteerSettings
from moodlens.steer import Sampling, Steering
from moodlens.steer.clips import read_clip
from moodlens.steer.generators import kind_of, load_generator
from moodlens.steer.run import run_steer

pytest.importorskip("diffusers")
pytest.importorskip("torchsde")
STEPS = 4
SHARED = [name for name in MAKERS if not name.startswith("stable-audio-3")]
"""Generators that read with the tiny MusicGen's text encoder."""


@pytest.fixture(scope="module", params=list(MAKERS))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def generator(name):
    return MAKERS[name]()


@pytest.fixture(scope="module")
def vector():
    return unit(WIDTH)


def clip(generator, name, steering=None, seed=1, prompt=PROMPT, **sampling):
    how = Sampling(**{"guidance": generator.guidance, "steps": STEPS} | sampling)
    return generator.generate(
        prompt, seconds=SECONDS.get(name, 0.3), seed=seed, steering=steering, sampling=how
    )


def own(generator, name, seed=1):
    """The library's own call, as its documentation writes it."""
    torch.manual_seed(seed)
    if name.startswith("stable-audio"):
        length = {"duration" if "-3" in name else "audio_end_in_s": SECONDS[name]}
        draws = torch.Generator("cpu").manual_seed(seed)
        return (
            generator.pipe(
                PROMPT,
                **length,
                num_inference_steps=STEPS,
                guidance_scale=generator.guidance,
                generator=draws,
            )
            .audios[0]
            .numpy()
        )
    ids, mask = generator.tokens(PROMPT)
    return generator.model.generate(
        input_ids=ids,
        attention_mask=mask,
        guidance_scale=3.0,
        max_new_tokens=15 + 3,
        do_sample=True,
        top_k=250,
    )[0].numpy()


def change(a, b) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(a))


# -- the shared suite ----------------------------------------------------------------------------------------------------


def test_unsteered_and_coefficient_0_are_the_library_s_own_to_the_byte(generator, name, vector):
    plain = own(generator, name)
    assert plain.std() > 1e-3
    np.testing.assert_array_equal(clip(generator, name), plain)
    np.testing.assert_array_equal(clip(generator, name, Steering(vector, 0.0)), plain)


def test_steered_by_next_to_nothing_is_next_to_nothing_off(generator, name, vector):
    """The way that steered states take is the plain one: it is not the short cut for 0 that gives the same clip."""
    plain = clip(generator, name)
    assert change(plain, clip(generator, name, Steering(vector, 1e-7))) < 2e-4


def test_doses(generator, name, vector):
    plain = clip(generator, name)
    moved = [change(plain, clip(generator, name, Steering(vector, amount))) for amount in (0.25, 1.0, 4.0)]
    assert min(moved) > 1e-3
    assert change(plain, clip(generator, name, Steering(vector, -4.0))) > 1e-3
    if name.startswith(
        "stable-audio"
    ):  # clips of tokens part at the first token that differs, and then saturate
        assert moved[0] < moved[1] < moved[2]


def test_seeds(generator, name, vector):
    steering = Steering(vector, 2.0)
    first = clip(generator, name, steering, seed=1)
    np.testing.assert_array_equal(first, clip(generator, name, steering, seed=1))
    assert not np.array_equal(first, clip(generator, name, steering, seed=2))
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    clip(generator, name, steering)
    assert torch.equal(torch.rand(1), expected)  # nothing global was drawn from


def test_every_real_token_moves_and_no_padding(generator, vector):
    hidden, mask = generator.states(PROMPT)
    assert mask.sum() == 5  # four words and </s>
    pooled = generator.pooled([PROMPT])[0]
    torch.testing.assert_close(
        hidden[0][mask[0].bool()].mean(dim=0), torch.from_numpy(pooled), atol=1e-6, rtol=1e-6
    )
    assert hidden.shape[-1] == generator.d_in == WIDTH


def test_the_null_half_is_left_alone(generator, name, vector):
    """What the model is told in the null half is the same, steered or not; in the other half it is not."""
    if generator.guidance == 1:
        pytest.skip("has no null half")
    told = []
    inner = generator.pipe.transformer if hasattr(generator, "pipe") else generator.model.decoder.model

    def look(module, args, kwargs):
        states = kwargs.get("encoder_hidden_states")
        if states is not None and len(states) == 2:
            told[-1].append(states.clone())

    handle = inner.register_forward_pre_hook(look, with_kwargs=True)
    for steering in (None, Steering(vector, 2.0)):
        told.append([])
        clip(generator, name, steering)
    handle.remove()
    null = 0 if name.startswith("stable-audio") else 1
    plain, steered = told[0][0], told[1][0]
    assert torch.equal(plain[null], steered[null])
    assert not torch.equal(plain[1 - null], steered[1 - null])


def test_what_cannot_be_made_is_one_line(generator, name, vector):
    for how, message in (
        ({"prompt": "  "}, "blank"),
        ({"prompt": "xyzzy"}, "knows none of it"),
        ({"steering": Steering(unit(WIDTH + 1), 1.0)}, "wide"),
        ({"steering": Steering(vector, 3e38)}, "no longer numbers"),
    ):
        if "-3" in name and "numbers" in message:
            continue  # its norms swallow even that
        with pytest.raises(BadInput, match=message):
            clip(generator, name, **how)
    with pytest.raises(BadInput, match="seconds"):
        generator.frames(1e5)


def test_a_run_continues_and_has_its_clips(generator, name, tiny, tmp_path):
    settings = SteerSettings(
        prompts=("instrumental music",),
        emotions=("happy",),
        methods=("difference_in_means",),
        controls=(),
        coefficients=(1.0,),
        prompt_editing=False,
        seeds=(0, 1),
        seconds=SECONDS.get(name, 0.3),
        steps=STEPS,
        directions=DirectionSettings(n_random=0, n_matched=0, n_shuffled=0, n_components=0),
    )
    directions = tiny.directions(settings.directions)
    if name not in SHARED:
        with pytest.raises(BadInput, match="Stable Audio 3 tiny"):
            run_steer(directions, tmp_path / "run", settings, model=generator)
        assert not list(tmp_path.rglob("*.wav"))
        return
    run = run_steer(directions, tmp_path / "run", settings, model=generator)
    assert run.made == 4
    clips = [read_clip(run.folder / "clips", key) for key in run.keys]
    assert len({clip.sha256 for clip in clips}) == 4
    assert {clip.how.steps for clip in clips} == {STEPS if name == "stable-audio" else None}
    assert {clip.how.guidance for clip in clips} == {generator.guidance}
    (run.folder / "clips" / f"{run.keys[2]}.wav").unlink()
    again = run_steer(directions, tmp_path / "run", settings, model=generator)
    assert (again.made, again.keys) == (1, run.keys)
    assert read_clip(run.folder / "clips", run.keys[2]).sha256 == clips[2].sha256


@pytest.mark.parametrize("name", ["musicgen-melody", "stable-audio", "stable-audio-3"])
def test_a_checkpoint_is_known_by_its_files(name, vector, tmp_path):
    folder = save(name, tmp_path / "checkpoint")
    assert kind_of(str(folder))[0] == name
    loaded = load_generator(str(folder), d_in=WIDTH)
    assert loaded.revision.startswith("sha256:")
    for steering in (None, Steering(vector, 1.0)):
        # Weights of a file may lie where the processor adds them up in another order.
        made = clip(MAKERS[name](), name, steering)
        np.testing.assert_allclose(clip(loaded, name, steering), made, rtol=0, atol=1e-3 * np.abs(made).max())
    with pytest.raises(BadInput, match="24 wide, the directions are 25 wide"):
        load_generator(str(folder), d_in=25)


def test_a_negative_prompt(generator, name, vector):
    """Led away from, in plain and in steered clips; no direction moves it; the prompt itself leaves guidance nothing."""
    if name == "musicgen-melody":
        with pytest.raises(BadInput, match="no way for a negative prompt"):
            clip(generator, name, negative="drums")
        return
    for steering in (None, Steering(vector, 1.0)):
        first = clip(generator, name, steering, guidance=3.0)
        away = clip(generator, name, steering, guidance=3.0, negative="loud drums")
        assert not np.array_equal(first, away)
        assert not np.array_equal(
            away, clip(generator, name, steering, guidance=3.0, negative="soft strings")
        )
        np.testing.assert_array_equal(
            clip(generator, name, steering, guidance=1.0),
            clip(generator, name, steering, guidance=1.0, negative="loud drums"),
        )
    same = clip(generator, name, guidance=3.0, negative=PROMPT)
    np.testing.assert_allclose(same, clip(generator, name, guidance=1.0), atol=2e-3 * abs(same).max())


@pytest.mark.parametrize("kind", ["musicgen", "stable-audio"])
def test_no_direction_reaches_the_negative_prompt(kind, vector):
    """What the model is given in the null half is the negative prompt as it is, under any steering."""
    name, generator = kind, MAKERS[kind]()
    model = generator.model.decoder if name == "musicgen" else generator.pipe.transformer
    seen = []

    def look(module, args, kwargs):
        seen.append(kwargs["encoder_hidden_states"].clone())

    halves = {}
    handle = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        for amount in (None, 0.0, 4.0, -4.0):
            seen.clear()
            steering = None if amount is None else Steering(vector, amount)
            clip(generator, name, steering, guidance=3.0, negative="loud drums")
            first, second = seen[0].chunk(2)
            halves[amount] = (first, second) if name == "musicgen" else (second, first)
    finally:
        handle.remove()
    for amount, (conditional, null) in halves.items():
        torch.testing.assert_close(null, halves[None][1], rtol=0, atol=0)
        assert torch.equal(conditional, halves[None][0]) == (not amount)
    assert halves[None][1].abs().max() > 0  # not the model's own zeros


# -- what is each model's own --------------------------------------------------------------------------------------------


def test_melody_follows_what_it_hears(vector):
    melody = MAKERS["musicgen-melody"]()
    rate = melody.sampling_rate
    times = np.arange(3 * rate) / rate
    plain = clip(melody, "musicgen-melody")
    heard = {}
    for pitch in (220.0, 330.0):
        melody.hear(np.sin(2 * np.pi * pitch * times).astype(np.float32), rate, f"{pitch}")
        heard[pitch] = clip(melody, "musicgen-melody")
        assert melody.melody == f"{pitch}"
        assert not np.array_equal(clip(melody, "musicgen-melody", Steering(vector, 2.0)), heard[pitch])
    assert not np.array_equal(heard[220.0], plain)
    assert not np.array_equal(heard[220.0], heard[330.0])
    for generator in (MAKERS["musicgen"](), MAKERS["stable-audio"]()):
        with pytest.raises(BadInput, match="follows no melody"):
            generator.hear(np.zeros(100, np.float32), 8000, "")


def test_the_chromagram_is_the_pitch_class(vector):
    from moodlens.steer.melody import chromagram

    times = np.arange(2 * 32_000) / 32_000
    for pitch, place in ((440.0, 9), (261.63, 0), (523.25, 0), (392.0, 7)):  # A, C, C, G
        frames = chromagram(np.sin(2 * np.pi * pitch * times).astype(np.float32), 32_000, 12)
        assert (frames.sum(dim=1) == 1).all()
        assert (frames.argmax(dim=1) == place).all()


@pytest.mark.parametrize("name", ["musicgen-melody", "stable-audio"])
def test_what_a_model_has_no_way_for_is_refused(name, vector):
    generator = MAKERS[name]()
    with pytest.raises(BadInput, match="schedule"):
        generator.check(Steering(vector, 1.0, schedule=((0.0, 1.0),)))
    if name == "musicgen-melody":
        with pytest.raises(BadInput, match="null: opposite"):
            generator.check(Steering(vector, 1.0, null="opposite"))
    else:
        turned = clip(generator, name, Steering(vector, 1.0, null="opposite"))
        assert not np.array_equal(turned, clip(generator, name, Steering(vector, 1.0)))


def test_padding_is_attended_to_by_stable_audio(vector):
    """Why the states keep the pipeline's length and mask: without either it is another clip, without an error."""
    generator = MAKERS["stable-audio"]()
    hidden, mask = generator.states(PROMPT)
    how = {"audio_end_in_s": 2.0, "num_inference_steps": STEPS, "guidance_scale": 7.0}

    def made(**text):
        return (
            generator.pipe(**text, **how, generator=torch.Generator("cpu").manual_seed(1)).audios[0].numpy()
        )

    plain = clip(generator, "stable-audio")
    np.testing.assert_array_equal(made(prompt_embeds=hidden, attention_mask=mask), plain)
    n = int(mask.sum())
    assert change(plain, made(prompt_embeds=hidden[:, :n], attention_mask=mask[:, :n])) > 1e-2
    assert change(plain, made(prompt_embeds=hidden)) > 1e-2


def test_an_unknown_kind_is_one_line(tmp_path, checkpoint):
    assert kind_of(str(checkpoint)) == ("musicgen", str(checkpoint))
    assert kind_of(f"musicgen:{checkpoint}") == ("musicgen", str(checkpoint))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(
        BadInput, match=r"is a bert checkpoint; those that can be steered: musicgen, musicgen_melody"
    ):
        kind_of(str(tmp_path))
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    with pytest.raises(BadInput, match="is a FluxPipeline"):
        kind_of(str(tmp_path))
