"""Clips on disk: one WAV and one JSON each, named by a hash of all that decides their bytes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moodlens.core import BadInput, atomic_write, digest, file_sha256, read_json, write_json

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1


@dataclass(frozen=True)
class ClipSpec:
    """What one clip is.

    Attributes:
        prompt: the neutral text it starts from.
        text: what the model reads; differs from ``prompt`` under prompt editing.
        method: ``none``, ``prompt_editing`` or a direction's method.
        direction: name of the direction, None without one.
        emotion: steered towards; None for plain clips and controls.
        coefficient: in the directions' unit; 0 for plain clips, None under prompt editing, which has no strength.
        seed: of the draws.
    """

    prompt: str
    text: str
    method: str
    direction: str | None
    emotion: str | None
    coefficient: float | None
    seed: int


def clip_key(spec: ClipSpec, vector: np.ndarray | None, amount: float, how: dict[str, Any]) -> str:
    """Hash of everything that decides the clip: the specification, the vector added, and how it is generated."""
    return digest(FORMAT, asdict(spec), np.zeros(0) if vector is None else vector, amount, how)[:20]


def write_wav(path: Path | str, audio: np.ndarray, rate: int) -> None:
    """Write float32 samples as they are, ``(samples,)`` or ``(channels, samples)``; nothing is scaled or clipped."""
    from scipy.io import wavfile

    with atomic_write(path) as tmp:
        wavfile.write(tmp, rate, np.ascontiguousarray(np.asarray(audio, dtype=np.float32).T))


def read_wav(path: Path | str) -> tuple[np.ndarray, int]:
    """Read a WAV file as ``(channels, samples)`` float32, full scale 1, and its rate (Hz).

    Raises:
        BadInput: it is missing, empty or not a WAV file.
    """
    import warnings

    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # unknown chunks are no harm
            rate, data = wavfile.read(path)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"{path}: not a readable WAV file: {error}") from error
    audio = np.atleast_2d(data.T if data.ndim == 2 else data)
    if audio.size == 0:
        raise BadInput(f"{path}: holds no samples")
    if audio.dtype == np.uint8:
        return (audio.astype(np.float32) - 128) / 128, int(rate)
    if np.issubdtype(audio.dtype, np.integer):
        return (audio / float(np.iinfo(audio.dtype).max + 1)).astype(np.float32), int(rate)
    return audio.astype(np.float32), int(rate)


def write_clip(folder: Path, key: str, audio: np.ndarray, rate: int, facts: dict[str, Any]) -> None:
    """Write ``KEY.wav``, then ``KEY.json``: a clip without its JSON is not there yet."""
    write_wav(folder / f"{key}.wav", audio, rate)
    sound = {
        "sampling_rate": rate,
        "samples": int(audio.shape[-1]),
        "sha256": file_sha256(folder / f"{key}.wav"),
    }
    write_json(folder / f"{key}.json", {"key": key, "file": f"{key}.wav", **facts, **sound})


def has_clip(folder: Path, key: str) -> bool:
    """Whether the clip is there, whole and unchanged."""
    facts, audio = folder / f"{key}.json", folder / f"{key}.wav"
    return facts.is_file() and audio.is_file() and read_json(facts).get("sha256") == file_sha256(audio)


def read_clips(folder: Path | str, keys: Sequence[str] | None = None) -> "pl.DataFrame":
    """The clips of a folder, one row each, sorted by file.

    A folder of WAV files from elsewhere gets a row per file with ``file`` alone; what their names mean is the caller's.

    Columns: file, key, prompt, text, method, direction, emotion, coefficient, amount, seed, rms_dbfs, lufs, peak,
    sampling_rate, samples; null where unknown.

    Raises:
        BadInput: there is no WAV file, or a key is missing.
    """
    import polars as pl

    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    files = sorted(folder.glob("*.wav"))
    if keys is not None:
        wanted = {f"{key}.wav" for key in keys}
        missing = wanted - {file.name for file in files}
        if missing:
            raise BadInput(f"{folder}: lacks the clip {min(missing)}; run the same steering again to make it")
        files = [file for file in files if file.name in wanted]
    if not files:
        raise BadInput(f"{folder}: holds no WAV file")
    rows = []
    for file in files:
        facts = read_json(file.with_suffix(".json")) if file.with_suffix(".json").is_file() else {}
        flat = {**facts, **facts.get("loudness", {}), "file": file.name}
        rows.append({name: flat.get(name) for name in SCHEMA})
    return pl.DataFrame(rows, schema={name: getattr(pl, kind) for name, kind in SCHEMA.items()})


SCHEMA = {
    "file": "String",
    "key": "String",
    "prompt": "String",
    "text": "String",
    "method": "String",
    "direction": "String",
    "emotion": "String",
    "coefficient": "Float64",
    "amount": "Float64",
    "seed": "Int64",
    "rms_dbfs": "Float64",
    "lufs": "Float64",
    "peak": "Float64",
    "sampling_rate": "Int64",
    "samples": "Int64",
}
