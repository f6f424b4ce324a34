"""Archives, bombs, headers and labels of an attacker: no memory is filled, no code runs, nothing is written elsewhere."""

import gzip
import json
import struct

import polars as pl
import pytest
import yaml

from helpers.attacks import MARK, embeddings, read_all
from helpers.report_study import make_study


def test_a_packed_table_that_fills_the_machine(attack, tmp_path, monkeypatch):
    from moodlens.prompts import cells

    monkeypatch.setattr(cells, "LARGEST_UNPACKED", 100_000)
    path = tmp_path / "in" / "t.csv.gz"
    path.write_bytes(gzip.compress(b"text\n" + b"a" * 10_000_000))
    assert "unpacks to more than" in attack("prompts", path, "--out", "new", "--text-column", "text")
    monkeypatch.setattr(cells, "LARGEST_ROWS", 1000)
    pl.DataFrame({"text": ["a"] * 2000}).write_parquet(tmp_path / "in" / "t.parquet")
    assert "says that it has 2,000 rows" in attack(
        "prompts", tmp_path / "in" / "t.parquet", "--out", "new", "--text-column", "text"
    )


def test_an_archive_in_place_of_a_table(attack, tmp_path):
    import zipfile

    path = tmp_path / "in" / "t.csv"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../outside/victim", "theirs")
    assert "unpack it" in attack("prompts", path, "--out", "new", "--text-column", "text")


def header(value: object, *, length: int | None = None, data: bytes = b"") -> bytes:
    text = json.dumps(value).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@pytest.mark.parametrize(
    "content",
    [
        header({}, length=2**63),
        header({"W_enc": {"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 16]}}, data=bytes(16)),
        header({"W_enc": {"dtype": "F32", "shape": [2, 2], "data_offsets": [-16, 0]}}, data=bytes(16)),
        header({"W_enc": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 2**40]}}, data=bytes(16)),
        header({"__metadata__": {"format": "pt"}, "../../victim": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, data=bytes(4)),
        b"",
    ],
)  # fmt: skip
def test_headers_of_safetensors_that_lie(attack, content):
    for place in ("sae/main/sae_weights.safetensors", "embeddings/00000.safetensors"):
        kept = (attack.study / place).read_bytes()
        (attack.study / place).write_bytes(content)
        read_all(attack)
        (attack.study / place).write_bytes(kept)


@pytest.mark.parametrize(
    "text",
    [
        f"{{'descr': __import__('os').system('touch {MARK}'), 'fortran_order': False, 'shape': (2, 2)}}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 8)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 8)}",
        "[" * 5000,
    ],
)
def test_headers_of_arrays_that_lie(attack, tmp_path, text):
    folder = embeddings(tmp_path / "in" / "roadmap")
    content = text.encode() + b"\n"
    (folder / "embeddings.npy").write_bytes(
        b"\x93NUMPY\x01\x00" + struct.pack("<H", len(content)) + content + bytes(64)
    )
    attack("probe", folder)


def test_a_tokenizer_and_an_sae_that_name_files_elsewhere(attack):
    path = attack.study / "sae" / "main" / "cfg.json"
    value = json.loads(path.read_text())
    for changes in (
        {"architecture": "../../victim"},
        {"metadata": {"weights_sha256": ["x"]}},
        {"d_in": -1},
    ):
        path.write_text(json.dumps(value | changes))
        read_all(attack)


def test_labels_that_are_paths(attack, tmp_path):
    """Labels name rows, never files: with them a study is written where it belongs."""
    labels = ("../../outside/victim", "/etc/passwd")
    folder = make_study(tmp_path / "in" / "labels", labels)
    attack("report", folder, may_pass=True)
    from moodlens.report import render
    from moodlens.study.study import Study

    render(Study(folder))
    assert attack.victim.read_text() == "mine"
    assert yaml.safe_load((folder / "study.yaml").read_text())["emotions"] == list(labels)
