"""Sound files as people have them: read right, or one line that names the file."""

import json
import os
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import resample_poly

from helpers.clips import put_clip

soundfile = pytest.importorskip("soundfile", reason="needs the extra moodlens[audio]")

from moodlens.core import BadInput, write_json
from moodlens.core.sound import read_mono, read_sound, sound_files
from moodlens.judge.acoustics import AcousticScore, acoustics
from moodlens.judge.clips import Clip, read_clips
from moodlens.judge.score import score_folder

RATE = 32000
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)).astype(np.float32)
LEVEL = 0.3 / np.sqrt(2)


def wav(audio=TONE, rate=RATE, subtype="PCM_16") -> bytes:
    import io

    file = io.BytesIO()
    soundfile.write(file, audio, rate, format="WAV", subtype=subtype)
    return file.getvalue()


def patched(at: int, new: bytes) -> bytes:
    data = wav()
    return data[:at] + new + data[at + len(new) :]


DATA = wav().index(b"data")
GOOD = {
    "8 bit": wav(subtype="PCM_U8"),
    "24 bit": wav(subtype="PCM_24"),
    "32 bit": wav(subtype="PCM_32"),
    "float": wav(subtype="FLOAT"),
    "double": wav(subtype="DOUBLE"),
    "A-law": wav(subtype="ALAW"),
    "ADPCM": wav(subtype="MS_ADPCM"),
    "stereo": wav(np.stack([TONE, TONE], 1)),
    "six channels": wav(np.stack([TONE] * 6, 1)),
    "8 kHz": wav(rate=8000),
    "44.1 kHz": wav(rate=44100),
    "192 kHz": wav(rate=192000),
    "streamed by ffmpeg": patched(DATA + 4, b"\xff\xff\xff\xff"),
    "streamed by sox": patched(DATA + 4, struct.pack("<I", 0x7FFFF000)),
    "a list behind": wav() + b"LIST\x04\0\0\0INFO",
    "a tag behind": wav() + b"TAG" + bytes(125),
    "a chunk before": wav()[:12] + b"JUNK\x1c\0\0\0" + bytes(28) + wav()[12:],
    "RIFF size of the file": patched(4, struct.pack("<I", len(wav()))),
}


@pytest.mark.parametrize("name", GOOD)
def test_wav_files_of_every_kind_are_read(tmp_path, name):
    path = tmp_path / f"a [{name}] ü.WAV"
    path.write_bytes(GOOD[name])
    audio, rate = read_sound(path)
    assert audio.dtype == np.float32
    assert np.sqrt(np.square(audio).mean()) == pytest.approx(LEVEL, rel=0.02)
    assert rate == {"8 kHz": 8000, "44.1 kHz": 44100, "192 kHz": 192000}.get(name, RATE)
    assert len(audio) == {"stereo": 2, "six channels": 6}.get(name, 1)


@pytest.mark.parametrize("ending", ["flac", "FLAC", "ogg", "mp3", "aiff", "au", "caf", "w64", "rf64", "voc"])
def test_every_format_of_soundfile_is_found_and_read(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, TONE, RATE)
    assert sound_files(tmp_path) == [path]
    audio = read_mono(path, RATE)
    assert len(audio) == len(TONE)
    assert np.sqrt(np.square(audio).mean()) == pytest.approx(LEVEL, rel=0.02)
    data = path.read_bytes()
    for share in (0.5, 0.9):  # half a file is not a clip, whatever its header says
        path.write_bytes(data[: int(share * len(data))])
        if ending == "voc":  # its header says nothing that could be held against it
            continue
        with pytest.raises(BadInput, match=str(path)):
            read_sound(path)


def test_a_broken_mp3_is_one_line_whatever_its_library_says(tmp_path, capfd):
    soundfile.write(tmp_path / "x.mp3", TONE, RATE)
    (tmp_path / "x.mp3").write_bytes((tmp_path / "x.mp3").read_bytes()[:-1500])
    with pytest.raises(BadInput, match="cut off"):
        read_sound(tmp_path / "x.mp3")
    assert capfd.readouterr() == ("", "")
    os.write(2, b"still there\n")
    assert capfd.readouterr().err == "still there\n"


def test_a_format_is_known_by_what_is_in_the_file(tmp_path):
    soundfile.write(tmp_path / "x.flac", TONE, RATE)
    shutil.copy(tmp_path / "x.flac", tmp_path / "x.wav")
    np.testing.assert_array_equal(read_mono(tmp_path / "x.wav", RATE), read_mono(tmp_path / "x.flac", RATE))


BAD = {
    "empty": (b"", "is empty"),
    "text": (b"some words\n" * 9, "not a sound file"),
    "web page": (b"<!DOCTYPE html><title>404</title>" * 9, "not a sound file"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\nsize 1\n", "not a sound file"),
    "zeros": (bytes(500), "not a sound file"),
    "AppleDouble": (b"\x00\x05\x16\x07" + bytes(200), "not a sound file"),
    "half": (
        wav()[: len(wav()) // 2],
        "cut off: its header promises 32,000 bytes of samples, 15,978 are there",
    ),
    "last byte": (wav()[:-1], "cut off"),
    "half of ADPCM": (wav(subtype="MS_ADPCM")[:2000], "cut off"),
    "header alone": (wav()[:44], "cut off: .* 0 are there"),
    "half a header": (wav()[:20], "not a whole WAV file"),
    "four bytes": (wav()[:4], "not a sound file"),
    "never closed": (patched(DATA + 4, bytes(4)), "its header says it is empty, but 32,000 bytes follow"),
    "no samples": (wav(TONE[:0]), "holds no samples"),
    "one sample": (wav(TONE[:1]), "too short for a clip"),
    "rate 0": (patched(24, bytes(4)), "sampling rate|not a sound file"),
    "rate of 4 GHz": (patched(24, b"\xff\xff\xff\xff"), "sampling rate|not a sound file"),
    "no channels": (patched(22, bytes(2)), "not a sound file"),
    "unknown coding": (patched(20, b"\x99\x99"), "not a sound file"),
    "NaN": (
        wav(np.r_[TONE[:5], np.nan, TONE[6:]], subtype="FLOAT"),
        r"not a number, first as sample 5 \(at 0\.000 s\), 1 times in all",
    ),
    "infinity": (wav(np.r_[TONE[:5], np.inf, TONE[6:]], subtype="FLOAT"), "not a number"),
    "float64 beyond float32": (wav(TONE.astype(float) * 1e300, subtype="DOUBLE"), "not a number"),
    "integers as floats": (wav(TONE * 32767, subtype="FLOAT"), "9830 times full scale"),
}


@pytest.mark.parametrize("name", BAD)
def test_broken_files_are_one_line_that_names_them(tmp_path, name):
    data, message = BAD[name]
    path = tmp_path / "x.wav"
    path.write_bytes(data)
    for score in (lambda clip: {"mean": float(clip.mono.mean())}, AcousticScore()):
        with pytest.raises(BadInput, match=message) as caught:
            score_folder(tmp_path, [score])
        assert str(caught.value).startswith(f"{path}: ")
        assert str(caught.value).count(str(path)) == 1
        assert "\n" not in str(caught.value)


def test_what_is_no_file_at_all(tmp_path):
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "link.wav").symlink_to("nowhere.wav")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    for name, message in (
        ("folder", "is a folder"), ("link", r"a link to nowhere\.wav, which is not there"), ("loop", "not there"),
        ("nothing", "No such file"),
    ):  # fmt: skip
        with pytest.raises(BadInput, match=message):
            read_sound(tmp_path / f"{name}.wav")
    if os.geteuid():
        put_clip(tmp_path, "secret", TONE, RATE).chmod(0)
        with pytest.raises(BadInput, match="Permission denied"):
            read_sound(tmp_path / "secret.wav")


def test_which_files_of_a_folder_are_clips(tmp_path):
    folder = tmp_path / "a[bc]"
    for name in ("b", "a"):
        put_clip(folder, name, TONE, RATE)
    (folder / "B.WAV").write_bytes(wav())
    for name in ("._a.wav", ".hidden.wav", "a.txt", "cover.jpg", "a.wav.part"):
        (folder / name).write_bytes(b"none")
    assert [file.name for file in sound_files(folder)] == ["B.WAV", "a.wav", "b.wav"]
    assert read_clips(folder)["file"].to_list() == ["B.WAV", "a.wav", "b.wav"]
    (folder / "c.M4A").write_bytes(b"none")
    with pytest.raises(BadInput, match=r"c\.M4A: this format cannot be read; convert it"):
        sound_files(folder)
    with pytest.raises(BadInput, match=r"holds no sound file .*; there are some in .*a\[bc\]"):
        sound_files(tmp_path)


def test_without_soundfile_wav_files_are_read_and_others_say_what_to_install(tmp_path, monkeypatch):
    put_clip(tmp_path, "a", TONE, RATE)
    soundfile.write(tmp_path / "b.flac", TONE, RATE)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    assert read_sound(tmp_path / "a.wav")[1] == RATE
    with pytest.raises(
        BadInput, match=r"b\.flac: reading this format needs soundfile: pip install 'moodlens\[audio\]'"
    ):
        read_sound(tmp_path / "b.flac")


# -- what is known of a clip ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "says nothing of x.wav"),
        ('"text"', "says nothing of x.wav"),
        ("{", "not valid JSON"),
        ('{"loudness": "loud"}', "loudness of x.wav should be a valid dictionary;"),
        ('{"seed": "three"}', "seed of x.wav should be a valid integer"),
        ('{"prompt": {"text": "music"}}', "prompt of x.wav should be a valid string"),
    ],
)
def test_a_json_file_that_is_none_of_a_clips(tmp_path, text, message):
    put_clip(tmp_path, "x", TONE, RATE)
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(BadInput, match=message) as caught:
        read_clips(tmp_path)
    assert str(tmp_path / "x.json") in str(caught.value)
    assert "move it away to score x.wav without it" in str(caught.value)


def test_other_programs_may_say_more(tmp_path):
    put_clip(
        tmp_path,
        "x",
        TONE,
        RATE,
        prompt="music",
        tempo=120,
        how={"model": "another"},
        loudness={"rms_dbfs": -20},
    )
    row = read_clips(tmp_path).row(0, named=True)
    assert (row["prompt"], row["method"], row["rms_dbfs"], row["lufs"]) == ("music", None, -20.0, None)


def test_facts_of_two_files_of_one_name_are_not_mixed_up(tmp_path):
    put_clip(tmp_path, "x", TONE, RATE, prompt="music")
    (tmp_path / "x.WAV").write_bytes(wav())
    with pytest.raises(BadInput, match="may be about 2 sound files; name one of them in it"):
        read_clips(tmp_path)
    write_json(tmp_path / "x.json", {"prompt": "music", "file": "x.wav"})
    assert read_clips(tmp_path).select("file", "prompt").rows() == [("x.WAV", None), ("x.wav", "music")]


# -- scores --------------------------------------------------------------------------------------------------------------


def song(rate: int) -> np.ndarray:
    """A chord that comes and goes, under noise up to half of ``rate``, four seconds."""
    high = 96000
    time = np.arange(4 * high) / high
    beat = 0.3 + 0.7 * ((time * 2) % 1 < 0.3)
    notes = sum(0.1 * np.sin(2 * np.pi * f * time) for f in (261.6, 329.6, 392.0)) * beat
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(time))
    audio = notes + resample_poly(resample_poly(noise, 1, 8), 8, 1)  # below 6 kHz, which every rate holds
    common = int(np.gcd(rate, high))
    return resample_poly(audio, rate // common, high // common)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 96000])
def test_no_measure_depends_on_the_rate(rate):
    pytest.importorskip("librosa")
    here, there = acoustics(song(32000), 32000, 0.4), acoustics(song(rate), rate, 0.4)
    assert here["musical_key"] == there["musical_key"] == "C major"
    for name in ("tempo", "mode", "loudness", "centroid", "onset_strength", "onset_density"):
        assert there[name] == pytest.approx(here[name], rel=0.02), name


@pytest.mark.parametrize("level", [0, 0.5, 1e-9])
def test_what_cannot_be_heard_has_no_key_and_no_loudness(tmp_path, level):
    pytest.importorskip("librosa")
    row = AcousticScore()(Clip(put_clip(tmp_path, "x", np.full(RATE, level), RATE)))
    assert {row[name] for name in ("tempo", "musical_key", "mode", "loudness", "centroid")} == {None}
    assert json.dumps(row)


def test_a_whistle_above_all_measures_has_its_loudness_alone():
    pytest.importorskip("librosa")
    measured = acoustics(0.1 * np.sin(2 * np.pi * 12000 * np.arange(2 * RATE) / RATE), RATE, 0.4)
    assert measured["loudness"] == pytest.approx(-23.01, abs=0.01)
    assert {measured[name] for name in ("tempo", "musical_key", "mode", "centroid", "onset_strength")} == {
        None
    }


def test_an_offset_changes_nothing_and_clipping_is_no_error(tmp_path):
    pytest.importorskip("librosa")
    plain, offset = acoustics(song(RATE), RATE, 0.4), acoustics(song(RATE) + 0.25, RATE, 0.4)
    assert plain.pop("musical_key") == offset.pop("musical_key")
    assert offset == pytest.approx(plain, rel=1e-4)
    assert acoustics(np.clip(9 * song(RATE), -1, 1), RATE, 0.4)["musical_key"] == "C major"


def test_a_clip_too_short_to_measure_is_named(tmp_path):
    pytest.importorskip("librosa")
    path = put_clip(tmp_path, "x", TONE[: RATE // 4], RATE)
    with pytest.raises(BadInput, match=r"x\.wav: acoustics: a clip of 0\.25 s is too short"):
        AcousticScore()(Clip(path))
    assert isinstance(path, Path)


def test_many_clips_do_not_flood_the_terminal(tmp_path, recwarn):
    pytest.importorskip("librosa")
    AcousticScore()(
        Clip(put_clip(tmp_path, "x", np.tile(TONE, 4), RATE))
    )  # two seconds, of which librosa warns
    assert [str(warning.message) for warning in recwarn] == []
