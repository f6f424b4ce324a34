from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodlens.core import BadInput
from moodlens.settings.steer import SteerSettings, check_schedule, read_steer_settings
from moodlens.steer.clips import lufs, measure_loudness, rms_dbfs
from moodlens.steer.conditioning import factors
from moodlens.steer.run import read_prompts

STUDY = Path(__file__).parents[2] / "studies" / "steer-musicgen.yaml"


def test_the_study_file_is_the_second_phase():
    settings = read_steer_settings(STUDY)
    assert settings.model == "facebook/musicgen-small"
    assert "instrumental music" in settings.prompts
    assert settings.prompt_editing
    assert set(settings.methods) == {
        "sae_family", "sae_feature", "difference_in_means", "linear_probe", "prompt_difference",
        "untrained_family",
    }  # fmt: skip
    assert set(settings.controls) == {
        "random",
        "matched_random_feature",
        "shuffled_difference_in_means",
        "pca",
        "neutral_difference",
    }
    assert settings.directions.n_random >= 60
    assert len(settings.prompts) >= 24  # a prompt is one observation
    assert settings.judge.coefficient in settings.at_controls  # what is claimed has its control
    assert settings.prompts == SteerSettings().prompts
    assert not {*settings.neutral_words} & {"happy", "sad", "calm", "energetic"}


def test_settings_from_a_file_with_changes_over_them(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("emotions: [a, b]\nsteer:\n  seconds: 4\n  schedule: [[0, 0], [2, 1]]\n")
    settings = read_steer_settings(path, model="folder", emotions=("a",), prompts=None)
    assert (settings.seconds, settings.model, settings.emotions) == (4, "folder", ("a",))
    assert settings.schedule == ((0, 0), (2, 1))
    assert read_steer_settings(tmp_path) == read_steer_settings(path)  # a study folder
    path.write_text("emotions: [a, b]\n")
    assert read_steer_settings(path) == read_steer_settings(None) == SteerSettings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steer: {second: 4}", r"steer: unknown setting 'second'; did you mean 'seconds'"),
        ("steer: {seconds: 700}", r"steer: seconds: .*less than or equal to 600 \(got 700\)"),
        ("steer: {seeds: [-1]}", "greater than or equal to 0"),
        ("steer: {emotions: [happy, happy]}", "given twice"),
        ("steer: {prompts: [music, ' ']}", "a prompt is blank"),
        ("steer: {edit: '{prompt} {emotion} {style}'}", "holds other braces"),
        ("steer: {coefficients: [.inf]}", "finite number"),
        ("steer: {methods: [magic]}", "unknown methods: magic"),
        ("steer: {seeds: [1, 1]}", "given twice"),
        ("steer: {edit: 'very {prompt}'}", "must hold"),
        ("steer: {schedule: [[2, 1], [1, 0]]}", "in order"),
        ("steer: {guidance: 0.5}", "greater than or equal to 1"),
        ("steer: [1]", "expected settings"),
        ("steer: {", "not valid YAML"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message) as caught:
        read_steer_settings(path)
    assert "\n" not in str(caught.value)
    assert "mine.yaml" in str(caught.value)


def test_prompts_from_a_file(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("# neutral\ninstrumental music\n\n  a waltz \n")
    assert read_prompts(path) == ("instrumental music", "a waltz")
    path.write_text("\n# nothing\n")
    with pytest.raises(BadInput, match="holds no prompt"):
        read_prompts(path)
    with pytest.raises(BadInput, match="cannot read"):
        read_prompts(tmp_path / "none.txt")


# -- schedules -----------------------------------------------------------------------------------------------------------


def test_a_schedule_is_linear_between_its_points_and_constant_outside():
    got = factors([(1.0, 0.0), (3.0, 1.0)], 200, 50)
    assert got[0] == got[49] == 0
    assert got[-1] == 1
    assert got[100] == pytest.approx(0.5)
    assert (np.diff(got) >= 0).all()


def test_two_points_at_one_time_are_a_jump():
    got = factors([(0.0, 0.0), (2.0, 0.0), (2.0, 1.0)], 200, 50)
    assert set(got) == {0.0, 1.0}
    assert got.tolist().index(1.0) == 100


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(-3, 3)), min_size=1, max_size=6),
    st.integers(4, 400),
)
def test_a_schedule_stays_within_its_values(points, n):
    points = sorted(points, key=lambda p: p[0])
    got = factors(points, n, 50)
    assert len(got) == n
    values = [v for _, v in points]
    assert min(values) - 1e-9 <= got.min() <= got.max() <= max(values) + 1e-9
    assert len(np.unique(got)) <= n // 5 + 1  # each change costs a projection; held for a tenth of a second


@pytest.mark.parametrize("points", [[], [(1.0, 0.0), (0.5, 1.0)], [(-1.0, 1.0)], [(0.0, float("nan"))]])
def test_bad_schedules(points):
    with pytest.raises(BadInput, match="schedule"):
        check_schedule(points)


# -- loudness ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [32000, 44100, 48000])
def test_a_997_hz_sine_has_the_loudness_of_the_standard(rate):
    """ITU-R BS.1770-4: a 0 dBFS 997 Hz sine in one channel reads -3.01 LKFS."""
    t = np.arange(rate * 3) / rate
    for gain in (1.0, 0.1):
        sine = gain * np.sin(2 * np.pi * 997 * t)
        assert lufs(sine, rate) == pytest.approx(-3.01 + 20 * np.log10(gain), abs=0.05)
        assert rms_dbfs(sine) == pytest.approx(-3.01 + 20 * np.log10(gain), abs=0.01)


def test_the_gate_leaves_silence_out():
    t = np.arange(48000 * 2) / 48000
    sine = 0.5 * np.sin(2 * np.pi * 997 * t)
    padded = np.r_[sine, np.zeros(48000 * 10)]
    assert lufs(padded, 48000) == pytest.approx(lufs(sine, 48000), abs=0.5)  # the last blocks are half silent
    assert rms_dbfs(padded) < rms_dbfs(sine) - 6


def test_silence_and_short_clips():
    silent = measure_loudness(np.zeros((1, 32000)), 32000)
    assert (silent.rms_dbfs, silent.lufs, silent.peak) == (None, None, 0.0)
    assert lufs(np.ones(100), 32000) == -np.inf


def test_a_rate_without_the_weighting_has_no_loudness():
    noise = np.random.default_rng(0).standard_normal((1, 4000))
    assert measure_loudness(noise, 1000).lufs is None
    assert measure_loudness(noise[:, :1300], 3200).lufs is None  # not yet so large as to be no number
    assert measure_loudness(noise, 3400).lufs is not None


@pytest.mark.parametrize("value", ["0", "x", "-1", "1.5", ""])
def test_a_batch_that_is_no_number_of_clips_is_one_line(value):
    assert read_steer_settings(None, ["batch=4"]).batch == 4
    assert read_steer_settings(None).batch == "auto"
    with pytest.raises(BadInput, match="batch: must be auto, or a number of clips from 1 on"):
        read_steer_settings(None, batch=value)
