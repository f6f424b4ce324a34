"""The roadmap's layout: read as it is, written so that it reads back equal, refused where it is out of step."""

import json
import pickle
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from moodlens.core import BadInput
from moodlens.embed import read_precomputed, write_precomputed
from moodlens.pipeline.stages.texts import PromptsSection, _precomputed_prompts
from moodlens.settings.study import PromptSettings

EMOTIONS = ("happy", "sad", "tense")


@pytest.fixture
def folder(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    write_precomputed(tmp_path / "data", x, np.array([0, 1, -1, 2]), EMOTIONS, texts=["a", "b", "ü", "d"])
    return tmp_path / "data"


def test_the_real_t5_embeddings(shared):
    data = read_precomputed(shared / "t5_emotion")
    assert data.x.shape == (100, 768)
    assert data.x.dtype == np.float32
    assert data.emotions == ("happy", "sad", "calm", "energetic")
    assert np.bincount(data.labels).tolist() == [25, 25, 25, 25]
    assert data.texts is not None
    assert len(data.texts) == 100
    assert float(np.linalg.norm(data.x, axis=1).mean()) == pytest.approx(4.16, abs=0.01)


def test_the_real_layout_is_written_back_as_it_was(shared, tmp_path):
    data = read_precomputed(shared / "t5_emotion")
    write_precomputed(tmp_path, data.x, data.labels, data.emotions, texts=data.texts, encoder=data.encoder)
    again = read_precomputed(tmp_path)
    np.testing.assert_array_equal(again.x, data.x)
    np.testing.assert_array_equal(again.labels, data.labels)
    assert again.texts == data.texts
    assert again.encoder == data.encoder


@given(
    x=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-9, 9, width=32)
    ),
    data=st.data(),
)
def test_what_is_written_reads_back(x, data, tmp_path_factory):
    x = x + np.arange(len(x), dtype=np.float32)[:, None] * 99  # rows that are all equal are refused
    labels = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=len(x), max_size=len(x))))
    texts = data.draw(st.none() | st.lists(st.text(), min_size=len(x), max_size=len(x)))
    folder = tmp_path_factory.mktemp("layout")
    write_precomputed(folder, x, labels, EMOTIONS, texts=texts)
    again = read_precomputed(folder)
    np.testing.assert_array_equal(again.x, x)
    np.testing.assert_array_equal(again.labels, labels)
    assert (again.texts, again.emotions) == (texts, EMOTIONS)


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "longdouble"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_float_in_any_order_is_read(dtype, order, folder):
    x = np.arange(12.0).reshape(4, 3)
    np.save(folder / "embeddings.npy", np.asarray(x.astype(dtype), order=order))
    np.save(folder / "labels.npy", np.array([0, 1, -1, 2], dtype=">i2"))
    data = read_precomputed(folder)
    np.testing.assert_array_equal(data.x, x)
    assert data.labels.tolist() == [0, 1, -1, 2]
    assert (data.x.dtype, data.labels.dtype) == (np.float32, np.int64)
    assert data.x.flags["C_CONTIGUOUS"]


def test_texts_of_other_programs_are_read(folder):
    lines = ['{"text": "a"}', '{"text": "b\u2028c"}', '{"text": "d"}', '{"text": "e"}', "", " "]
    (folder / "prompts.jsonl").write_bytes("\ufeff".encode() + "\r\n".join(lines).encode())
    assert read_precomputed(folder).texts == ["a", "b\u2028c", "d", "e"]


def test_no_label_is_unknown_and_neutral_only_where_the_texts_say_so(folder):
    assert not read_precomputed(folder).neutral.any()
    lines = [{"text": "a"}, {"text": "b"}, {"text": "c", "emotion": "neutral"}, {"text": "d"}]
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert read_precomputed(folder).neutral.tolist() == [False, False, True, False]
    section = PromptsSection(
        seed=0, emotions=EMOTIONS, control="none", prompts=PromptSettings(generate=0, precomputed=str(folder))
    )
    assert _precomputed_prompts(section)["kind"].to_list() == ["plain", "plain", "neutral", "plain"]
    (folder / "prompts.jsonl").unlink()
    assert _precomputed_prompts(section)["kind"].to_list() == ["plain", "plain", "unlabelled", "plain"]


def test_texts_of_an_earlier_write_do_not_stay(folder):
    write_precomputed(folder, np.arange(12.0).reshape(4, 3), np.zeros(4, int), EMOTIONS)
    assert read_precomputed(folder).texts is None


def _npy(name, array):
    return lambda folder: np.save(folder / name, array)


def _metadata(**change):
    def write(folder):
        path = folder / "metadata.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    return write


def _header(shape):
    """An .npy file whose header promises ``shape``, and 40 bytes of numbers."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(40)


def _swap(folder):
    (folder / "embeddings.npz").replace(folder / "embeddings.npy")


NAN = np.ones((4, 3), np.float32)
NAN[2, 1] = np.nan


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda folder: (folder / "embeddings.npy").unlink(), r"embeddings\.npy: no such file"),
        (lambda folder: (folder / "embeddings.npy").write_bytes(b"nonsense"), "not a readable .npy"),
        (
            lambda folder: (folder / "embeddings.npy").write_bytes(
                (folder / "embeddings.npy").read_bytes()[:-9]
            ),
            "not a readable .npy",
        ),
        (_npy("embeddings.npy", np.ones(4)), r"shape \(4,\); expected \(n, d_in\)"),
        (_npy("embeddings.npy", np.ones((4, 3), int)), "expected floating-point"),
        (_npy("embeddings.npy", np.ones((4, 3), complex)), "dtype complex128; expected floating-point"),
        (_npy("embeddings.npy", np.zeros((0, 3))), r"shape \(0, 3\); expected"),
        (_npy("embeddings.npy", NAN), "row 2, column 1 is nan"),
        (_npy("embeddings.npy", np.where(np.isnan(NAN), np.inf, 1)), "row 2, column 1 is inf"),
        (
            _npy("embeddings.npy", np.where(np.isnan(NAN), 1e300, 1)),
            r"row 2, column 1 is 1e\+300 .*not finite in float32",
        ),
        (_npy("embeddings.npy", np.ones((4, 3)) * 0.7), "all 4 rows are equal to rounding"),
        (_npy("embeddings.npy", np.array([[{}, 1, 2]] * 4)), "pickled objects, which are never loaded"),
        (lambda folder: (folder / "embeddings.npy").write_bytes(pickle.dumps([1, 2])), "never loaded"),
        (lambda folder: (folder / "embeddings.npy").write_bytes(_header("(-4, 3)")), "not a readable .npy"),
        (
            lambda folder: (folder / "embeddings.npy").write_bytes(_header("(10**9, 10**9)")),
            "not a readable .npy",
        ),
        (
            lambda folder: (folder / "embeddings.npy").write_bytes(_header("(1000000000, 768)")),
            "not a readable .npy",
        ),
        (lambda folder: (folder / "embeddings.npy").write_bytes(_header("((((")), "not a readable .npy"),
        (
            lambda folder: (folder / "labels.npy").write_bytes((folder / "labels.npy").read_bytes()[:-3]),
            "labels.npy: not",
        ),
        (
            lambda folder: np.savez(folder / "embeddings.npz", x=NAN) or _swap(folder),
            "holds an .npz",
        ),
        (_npy("labels.npy", np.zeros((4, 1), int)), r"labels\.npy: shape \(4, 1\)"),
        (_npy("labels.npy", np.array([True, False, True, True])), "dtype bool; expected integers"),
        (
            _npy("labels.npy", np.array([0, 2**64 - 1, 0, 0], np.uint64)),
            "row 1 has label 18446744073709551615",
        ),
        (lambda folder: (folder / "metadata.json").write_text("3"), 'needs "emotions"'),
        (lambda folder: (folder / "prompts.jsonl").write_text("[" * 99_999 + "\n" * 4), "1 lines for 4"),
        (lambda folder: (folder / "prompts.jsonl").write_bytes(b"\xff\xfe" * 3 + b"\xff"), "not UTF-8"),
        (
            _npy("embeddings.npy", np.arange(15.0).reshape(5, 3)),
            r"labels\.npy: shape \(4,\); expected \(5,\)",
        ),
        (_npy("labels.npy", np.ones(4)), "expected integers"),
        (_npy("labels.npy", np.array([0, 1, 3, 0])), "row 2 has label 3; expected 0 to 2"),
        (_npy("labels.npy", np.array([0, -2, 1, 0])), "row 1 has label -2"),
        (_metadata(emotions=["happy"]), "at least two names"),
        (_metadata(emotions=["happy", "sad", "sad"]), "'sad' twice"),
        (_metadata(embedding_dim=768), "embedding_dim is 768 but embeddings.npy has 3"),
        (lambda folder: (folder / "prompts.jsonl").write_text("{}\n"), "1 lines for 4 embeddings"),
        (lambda folder: (folder / "prompts.jsonl").write_text("{}\n" * 4), 'line 1 has no "text"'),
        (lambda folder: (folder / "prompts.jsonl").write_text("nope\n" * 4), "line 1 is not JSON"),
        (
            lambda folder: (folder / "prompts.jsonl").write_text('{"text": "a", "emotion": "sad"}\n' * 4),
            "line 1 says emotion 'sad' but labels.npy says 'happy'",
        ),
    ],
)
def test_what_is_out_of_step_is_named(damage, says, folder):
    damage(folder)
    with pytest.raises(BadInput, match=says):
        read_precomputed(folder)


def test_writing_refuses_what_could_not_be_read(tmp_path):
    x = np.arange(6.0).reshape(2, 3)
    for labels, texts, says in (
        (np.array([0, 9]), None, "row 1 has label 9"),
        (np.array([0]), None, r"expected \(2,\)"),
        (np.array([0, 1]), ["one"], "1 texts for 2 embeddings"),
    ):
        with pytest.raises(BadInput, match=says):
            write_precomputed(tmp_path / "out", x, labels, EMOTIONS, texts=texts)
    assert not (tmp_path / "out").exists()
