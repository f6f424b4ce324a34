"""More than 200 bad inputs: each is exit status 2 and one line, or was good after all; no traceback, nothing written."""

import io
import json
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.clips import put_clip
from helpers.report_study import make_study
from helpers.steer_study import mark_finished
from moodlens.cli.program import call
from moodlens.settings.study import Settings
from moodlens.study.records.selection import SELECTION

bad_counts: dict[str, int] = {}
"""Kind of input -> how many were refused."""


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def refused(kind: str, folder: Path, *arguments: object) -> bool:
    """Whether the command refused its input, as it should refuse."""
    before = snapshot(folder)
    out, error = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(error):
        status = call([str(one) for one in arguments])
    said = error.getvalue()
    assert status in (0, 2), said
    if status == 0:
        return False
    assert said.startswith("moodlens: ")
    assert said.count("\n") == 1
    assert len(said) < 2000
    assert out.getvalue() == ""
    assert snapshot(folder) == before
    bad_counts[kind] = bad_counts.get(kind, 0) + 1
    return True


# -- what wrong values and wrong bytes are ---------------------------------------------------------------------------------

ODD: list[Any] = [
    None, True, -1, 0, 2**63, 2**200, 1e308, -0.5, "", "x", "NaN", "\u202e", "a\0b", "\ud800", [], {}, [[]], {"a": 1}, [None],
    "x" * 5000, ["happy", "happy"], {"": 0}, {"../x": 1},
]  # fmt: skip


def leaves(value: Any, at: tuple = ()) -> Iterator[tuple]:
    """Places in nested dicts and lists, inner and outer."""
    if at:
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from leaves(item, (*at, key))


def changed(value: Any, at: tuple, new: Any) -> Any:
    if not at:
        return new
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[at[0]] = changed(value[at[0]], at[1:], new)
    return copy


@st.composite
def wrong_values(draw: Any, value: dict) -> dict:
    """``value`` with one or two places that hold something odd, are missing, or have a name too many."""
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.sampled_from(list(leaves(value))))
        how = draw(st.sampled_from(["odd", "odd", "odd", "gone", "more"]))
        if how == "odd":
            value = changed(value, at, draw(st.sampled_from(ODD)))
        elif how == "more":
            value = changed(value, at[:-1], {**_inner(value, at[:-1]), "surplus": 1})
        elif isinstance(at[-1], str):
            value = changed(value, at[:-1], {k: v for k, v in _inner(value, at[:-1]).items() if k != at[-1]})
    return value


def _inner(value: Any, at: tuple) -> dict:
    for key in at:
        value = value[key]
    return value if isinstance(value, dict) else {}


@st.composite
def wrong_bytes(draw: Any, content: bytes) -> bytes:
    """``content`` cut short, with some bytes changed, doubled, or with something before or behind it."""
    data = bytearray(content)
    how = draw(st.sampled_from(["cut", "flip", "flip", "insert", "double", "other"]))
    if how == "cut":
        del data[draw(st.integers(0, len(data) - 1)) :]
    if how == "flip":
        for _ in range(draw(st.integers(1, 6))):
            data[draw(st.integers(0, min(len(data) - 1, 300)))] = draw(st.integers(0, 255))
    if how == "insert":
        at = draw(st.integers(0, min(len(data), 300)))
        data[at:at] = draw(st.sampled_from([b"\0", b"\xff\xfe", b"\n\n", b'"', b"{", b"," * 50, b"[" * 3000]))
    if how == "double":
        data = data * 2
    if how == "other":
        data = bytearray(draw(st.binary(max_size=60)))
    return bytes(data)


def fuzzed(examples: int) -> Callable:
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


# -- study files -------------------------------------------------------------------------------------------------------------

SETTINGS = Settings().model_dump(mode="json")
# The bundled encoder is hashed each time: a tenth of a second.
SETTINGS["encoder"]["id"] = "t5:google-t5/t5-base"


@fuzzed(50)
@given(value=wrong_values(SETTINGS))
def test_study_files_of_wrong_values(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("s")
    text = yaml.safe_dump(value, allow_unicode=False)
    (folder / "study.yaml").write_text(text)
    refused("study file", folder, "verify", folder)


@fuzzed(20)
@given(content=wrong_bytes(yaml.safe_dump(SETTINGS).encode()))
def test_study_files_of_wrong_bytes(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("s")
    (folder / "study.yaml").write_bytes(content)
    refused("study file", folder, "verify", folder)


# -- tables ------------------------------------------------------------------------------------------------------------------

TABLE = pl.DataFrame(
    {"text": [f"a {w} song {i}" for i in range(6) for w in ("sad", "happy")], "mood": ["sad", "happy"] * 6}
)
PARQUET = io.BytesIO()
TABLE.write_parquet(PARQUET)
CONTENTS = {
    ".csv": TABLE.write_csv().encode(),
    ".jsonl": TABLE.write_ndjson().encode(),
    ".json": json.dumps(TABLE.to_dicts()).encode(),
    ".parquet": PARQUET.getvalue(),
}


@pytest.mark.parametrize("ending", CONTENTS)
def test_tables_of_wrong_bytes(tmp_path_factory, ending):
    @fuzzed(12)
    @given(content=wrong_bytes(CONTENTS[ending]))
    def check(content):
        folder = tmp_path_factory.mktemp("t")
        path = folder / f"t{ending}"
        path.write_bytes(content)
        columns = ("--text-column", "text", "--label-column", "mood")
        if refused("table", folder, "prompts", path, "--out", folder / "out", *columns):
            assert not (folder / "out").exists()

    check()


# -- arrays ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def arrays(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("arrays")
    np.save(folder / "embeddings.npy", np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32))
    np.save(folder / "labels.npy", np.arange(24) % 2)
    (folder / "metadata.json").write_text(json.dumps({"emotions": ["happy", "sad"], "num_prompts": 24}))
    return folder


FEW = ("--set", "validation.phase0.n_permutations=20", "--set", "validation.phase0.n_shuffles=1")


@pytest.mark.parametrize("name", ["embeddings.npy", "labels.npy", "metadata.json"])
def test_arrays_of_wrong_headers(arrays, tmp_path_factory, name):
    @fuzzed(14)
    @given(content=wrong_bytes((arrays / name).read_bytes()[:400]))
    def check(content):
        folder = tmp_path_factory.mktemp("a") / "in"
        shutil.copytree(arrays, folder)
        (folder / name).write_bytes(content)
        refused("array", folder, "probe", folder, *FEW)

    check()


# -- SAEs and records --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = make_study(tmp_path_factory.mktemp("made") / "study", groups=7)
    table = pl.read_parquet(folder / "features.parquet")
    declared = [name for name in table.columns if name in SELECTION.columns or name.startswith("rate_")]
    SELECTION.write(folder, table.select(declared))
    config = json.loads((folder / "sae/main/cfg.json").read_text())
    # Without the hash nothing is found damaged before its header is looked at.
    del config["metadata"]["weights_sha256"]
    (folder / "sae/main/cfg.json").write_text(json.dumps(config))
    for path in [*folder.glob("*.html"), *folder.glob("figures/*")]:
        path.unlink()
    return folder


def inspected(kind: str, study: Path, name: str, content: bytes) -> None:
    """The study with one file replaced, for which its stage vouches."""
    kept = (study / name).read_bytes()
    (study / name).write_bytes(content)
    try:
        mark_finished(study)
        refused(kind, study, "inspect", study, "--feature", "0")
    finally:
        (study / name).write_bytes(kept)


def split(content: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: dict, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize("name", ["sae/main/sae_weights.safetensors", "embeddings/00000.safetensors"])
def test_headers_of_safetensors(study, name):
    header, data = split((study / name).read_bytes())

    @fuzzed(14)
    @given(value=wrong_values(header))
    def check(value):
        inspected("safetensors", study, name, joined(value, data))

    check()


@pytest.mark.parametrize(
    "name",
    ["sae/main/cfg.json", "embeddings/manifest.json", "families.json", "prompts.json", ".stages/embed.json"],
)
def test_configurations_and_records(study, name):
    mark_finished(study)

    @fuzzed(12)
    @given(value=wrong_values(json.loads((study / name).read_bytes())))
    def check(value):
        inspected("record", study, name, json.dumps(value).encode())

    check()


@pytest.mark.parametrize(
    "name", ["selection.parquet", "sae/main/sae_weights.safetensors", "sae/main/cfg.json"]
)
def test_files_of_a_study_of_wrong_bytes(study, name):
    @fuzzed(8)
    @given(content=wrong_bytes((study / name).read_bytes()))
    def check(content):
        inspected("bytes of a study", study, name, content)

    check()


# -- clips -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    put_clip(folder, "a", np.zeros((1, 400)), 16000, prompt="a song", method="none", seed=3)
    return folder


@pytest.mark.parametrize("name", ["a.wav", "a.json"])
def test_clips(clip, tmp_path_factory, monkeypatch, name):
    from moodlens.judge import acoustics

    # What a good clip sounds like is measured elsewhere, and takes a second each.
    monkeypatch.setattr(
        acoustics.AcousticScore, "__call__", lambda self, one: {"length": float(one.mono.size)}
    )

    @fuzzed(20)
    @given(content=wrong_bytes((clip / name).read_bytes()[:200]))
    def check(content):
        folder = tmp_path_factory.mktemp("c") / "in"
        shutil.copytree(clip, folder)
        (folder / name).write_bytes(content)
        refused("clip", folder, "judge", folder)

    check()


def test_there_were_200():
    """Last: what was refused above, by kind."""
    assert sum(bad_counts.values()) >= 200, bad_counts
    assert min(bad_counts.values()) >= 10, bad_counts
    assert len(bad_counts) == 7, bad_counts
