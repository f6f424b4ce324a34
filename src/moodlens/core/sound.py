"""Sound files as arrays: every format that soundfile reads, and no broken file taken for a whole one."""

import os
import re
import struct
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from moodlens.core import BadInput

WAV = ("wav", "wave", "bwf")
READ = (
    *WAV, "aif", "aifc", "aiff", "au", "caf", "flac", "mp3", "oga", "ogg", "opus", "rf64", "snd", "sph", "voc", "w64",
)  # fmt: skip
"""Endings of sound files, in any case; all but WAV need the extra ``audio``."""
UNREAD = ("aac", "ac3", "amr", "ape", "m4a", "mka", "mp4", "webm", "wma", "wv")
"""Endings of sound files that soundfile cannot read."""

LOWEST, HIGHEST = 1_000, 768_000  # sampling rates, Hz
LOUDEST = 100.0  # times full scale: beyond it, integers were written as floats
SHORTEST = 0.02  # s
_STREAMED = 0x7FFF0000  # a size from here on is what writers put that could not know it


def sound_files(folder: Path | str) -> list[Path]:
    """The sound files of a folder, sorted by name; hidden files and those of other kinds are passed over.

    Raises:
        BadInput: there is no such folder, it holds none, or one of a format that nothing here reads.
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file; name its folder" if folder.exists() else "no such folder"
        raise BadInput(f"{folder}: {what}")
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise BadInput(f"{folder}: cannot read: {error.strerror}") from error
    files = [folder / name for name in names if not name.startswith(".")]
    for file in files:
        if _ending(file) in UNREAD:
            raise BadInput(f"{file}: this format cannot be read; convert it to WAV or FLAC, or move it away")
    sounds = [file for file in files if is_sound(file)]
    if not sounds:
        below = next((f for f in files if f.is_dir() and any(map(is_sound, f.iterdir()))), None)
        hint = "" if below is None else f"; there are some in {below}"
        raise BadInput(f"{folder}: holds no sound file (WAV, FLAC, MP3, OGG, AIFF ...){hint}")
    return sounds


def read_sound(path: Path | str) -> tuple[np.ndarray, int]:
    """A sound file as ``(channels, samples)`` float32, full scale 1, and its rate (Hz).

    Raises:
        BadInput: it is missing, not a sound file, cut off, empty, or holds samples that are no sound.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise BadInput(f"{path}: a link to {os.readlink(path)}, which is not there")
    if path.is_dir():
        raise BadInput(f"{path}: is a folder, not a sound file")
    try:
        with open(path, "rb") as file:
            head = file.read(12)
            if not head:
                raise BadInput(f"{path}: is empty (0 bytes)")
            if head[:4] == b"RIFF" and head[8:] == b"WAVE":
                audio, rate = _read_wav(path, file)
            else:
                audio, rate = _read_other(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot read: {error.strerror or error}") from error
    if not LOWEST <= rate <= HIGHEST:
        raise BadInput(f"{path}: a sampling rate of {rate} Hz is none of music; its header is damaged")
    if audio.size == 0:
        raise BadInput(f"{path}: holds no samples")
    bad = np.flatnonzero(~np.isfinite(audio).all(axis=0))
    if len(bad):
        first = int(bad[0])
        raise BadInput(
            f"{path}: holds what is not a number, first as sample {first} (at {first / rate:.3f} s), {len(bad)} times in all"
        )
    peak = float(np.abs(audio).max())
    if peak > LOUDEST:
        raise BadInput(f"{path}: samples reach {peak:.4g} times full scale; floats must lie within -1 and 1")
    if audio.shape[1] < SHORTEST * rate:
        raise BadInput(
            f"{path}: {audio.shape[1] / rate:.4f} s ({audio.shape[1]} samples) is too short for a clip"
        )
    return audio, rate


def resample(audio: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """``(samples,)`` at another rate, float32, by a polyphase filter."""
    from scipy.signal import resample_poly

    if rate == wanted:
        return np.asarray(audio, dtype=np.float32)
    common = int(np.gcd(rate, wanted))
    return np.asarray(resample_poly(audio, wanted // common, rate // common), dtype=np.float32)


def read_mono(path: Path | str, rate: int) -> np.ndarray:
    """A sound file as mono ``(samples,)`` float32 at ``rate`` Hz."""
    audio, given_rate = read_sound(path)
    return resample(audio.mean(axis=0), given_rate, rate)


def is_sound(path: Path) -> bool:
    """Whether a file's name is that of a sound."""
    return _ending(path) in READ


def _ending(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _read_wav(path: Path, file: BinaryIO) -> tuple[np.ndarray, int]:
    """As scipy reads it, which is always there; codings that it does not know are left to soundfile."""
    from scipy.io import wavfile

    data = dict(_chunks(file)).get(b"data")
    if data is None:
        raise BadInput(f"{path}: not a whole WAV file: it has no samples (chunk data)")
    size, there = data
    if size >= _STREAMED:
        return _read_other(path)
    if size > there:
        raise BadInput(f"{path}: cut off: its header promises {size:,} bytes of samples, {there:,} are there")
    if size == 0 and there:
        raise BadInput(
            f"{path}: its header says it is empty, but {there:,} bytes follow: the recording was not closed; save it anew"
        )
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # unknown chunks are no harm
            rate, samples = wavfile.read(file)
    except (ValueError, EOFError, struct.error, ZeroDivisionError, OverflowError, TypeError):
        return _read_other(path)
    audio = np.atleast_2d(samples.T)
    if audio.dtype == np.uint8:
        audio = (audio.astype(np.float32) - 128) / 128
    elif np.issubdtype(audio.dtype, np.integer):
        audio = audio / float(np.iinfo(audio.dtype).max + 1)
    with np.errstate(over="ignore"):  # float64 beyond float32 becomes inf, and is said to be no number
        return audio.astype(np.float32), int(rate)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, tuple[int, int]]]:
    """Name of every chunk of a RIFF file, the size it claims, and the bytes that are left of the file."""
    end = file.seek(0, os.SEEK_END)
    place = 12
    while place + 8 <= end:
        file.seek(place)
        name, size = struct.unpack("<4sI", file.read(8))
        yield name, (size, end - place - 8)
        if name == b"data" and size == 0:
            return
        place += 8 + size + size % 2


def _read_other(path: Path) -> tuple[np.ndarray, int]:
    soundfile = _soundfile(path)
    try:
        with _quiet(), soundfile.SoundFile(path) as sound:
            audio = sound.read(dtype="float32", always_2d=True).T
            promised, rate, remarks = sound.frames, sound.samplerate, sound.extra_info
    except (soundfile.LibsndfileError, ValueError, RuntimeError) as error:
        why = str(error).split(": ")[-1].strip().rstrip(".")
        raise BadInput(f"{path}: not a sound file that can be read, or damaged: {why}") from error
    sizes = [(int(a), int(b)) for a, b in re.findall(r": (\d+) \(should be (\d+)\)", remarks)]
    if audio.shape[1] < promised or any(b + 8 < a < _STREAMED for a, b in sizes):
        raise BadInput(f"{path}: cut off: the file is shorter than its header says")
    return audio, int(rate)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the C library's remarks on broken MP3 files off standard error: a fault is one line, and it is ours."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError):  # there is no standard error
        yield
        return
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _soundfile(path: Path) -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise BadInput(
            f"{path}: reading this format needs soundfile: pip install 'moodlens[audio]', or convert it to plain WAV"
        ) from error
    return soundfile
