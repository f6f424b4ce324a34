"""TensorFlow's checkpoints (V2 tensor bundles) read with numpy alone, and musicnn's tagger converted from its wheel.

    pip download --no-deps --dest . musicnn==0.1.0
    python -m moodlens.judge.tensor_bundle musicnn-0.1.0-py3-none-any.whl musicnn_msd.safetensors

writes the file that this package ships, byte for byte. The format is that of TensorFlow's ``tensor_bundle.proto`` and of
LevelDB's tables: https://github.com/tensorflow/tensorflow/tree/master/tensorflow/core/util/tensor_bundle.
"""

import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from moodlens.core import BadInput, file_sha256

WHEEL = "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa"
"""SHA-256 of musicnn-0.1.0-py3-none-any.whl."""
_MAGIC = 0xDB4775248B80FB57
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 10: "?"}


def read_bundle(prefix: Path | str) -> dict[str, np.ndarray]:
    """Every tensor of ``PREFIX.index`` and ``PREFIX.data-00000-of-00001`` by name.

    Raises:
        BadInput: it is none, or in more files than one.
    """
    index = Path(f"{prefix}.index").read_bytes()
    if len(index) < 48 or struct.unpack("<Q", index[-8:])[0] != _MAGIC:
        raise BadInput(f"{prefix}.index: not the index of a TensorFlow checkpoint")
    footer, at = index[-48:], 0
    for _ in range(2):  # the meta index, which is empty
        _, at = _varint(footer, at)
    offset, at = _varint(footer, at)
    size, _ = _varint(footer, at)
    data = Path(f"{prefix}.data-00000-of-00001").read_bytes()
    tensors = {}
    for _, handle in _block(index, offset, size):
        start, at = _varint(handle, 0)
        length, _ = _varint(handle, at)
        for key, value in _block(index, start, length):
            if key:
                tensors[key.decode()] = _tensor(value, data)
    return tensors


def _tensor(entry: bytes, data: bytes) -> np.ndarray:
    """A ``BundleEntryProto``: 1 dtype, 2 shape, 4 offset, 5 size."""
    fields = dict(_fields(entry))
    axes = [axis for field, axis in _fields(_bytes(fields.get(2, b""))) if field == 2]
    shape = [_int(dict(_fields(_bytes(axis))).get(1, 0)) for axis in axes]
    offset, size = _int(fields.get(4, 0)), _int(fields.get(5, 0))
    return np.frombuffer(data[offset : offset + size], dtype=_DTYPES[_int(fields[1])]).reshape(shape)


def _int(value: int | bytes) -> int:
    assert isinstance(value, int)
    return value


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """A protocol buffer's fields in order: number and value."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
        else:
            length = {1: 8, 5: 4}.get(kind)
            if length is None:
                length, at = _varint(data, at)
            value, at = data[at : at + length], at + length
        yield tag >> 3, value


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a table's block; each key says how much it shares with the one before it."""
    if data[offset + size]:
        raise BadInput("TensorFlow checkpoint: its index is compressed")
    block = data[offset : offset + size]
    end = len(block) - 4 * (struct.unpack("<I", block[-4:])[0] + 1)
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        rest, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + rest]
        at += rest
        yield key, block[at : at + length]
        at += length


def convert(wheel: Path | str, out: Path | str) -> None:
    """Write the weights of ``MSD_musicnn`` as safetensors, without the optimiser's state.

    Raises:
        BadInput: another wheel than the one whose outputs were checked against TensorFlow's.
    """
    from safetensors.numpy import save_file

    if file_sha256(Path(wheel)) != WHEEL:
        raise BadInput(f"{wheel}: is not musicnn-0.1.0-py3-none-any.whl (SHA-256 {WHEEL})")
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        for ending in (".index", ".data-00000-of-00001"):
            archive.extract(f"musicnn/MSD_musicnn/{ending}", folder)
        tensors = read_bundle(f"{folder}/musicnn/MSD_musicnn/")
    kept = {
        name: np.ascontiguousarray(value)
        for name, value in sorted(tensors.items())
        if "Adam" not in name and not name.startswith("beta")
    }
    save_file(kept, out, {"source": "musicnn 0.1.0, MSD_musicnn", "licence": "ISC"})


if __name__ == "__main__":
    convert(*sys.argv[1:])
