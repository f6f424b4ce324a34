"""The roadmap's layout: read as it is, written so that it reads back equal, refused where it is out of step."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from moodlens.core import BadInput
from moodlens.embed import read_precomputed, write_precomputed

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
    write_precomputed(tmp_path, data.x, data.labels, data.emotions, texts=data.texts, metadata=data.metadata)
    again = read_precomputed(tmp_path)
    np.testing.assert_array_equal(again.x, data.x)
    np.testing.assert_array_equal(again.labels, data.labels)
    assert again.texts == data.texts
    assert {key: again.metadata[key] for key in data.metadata} == data.metadata


@given(
    x=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(-9, 9, width=32)
    ),
    data=st.data(),
)
def test_what_is_written_reads_back(x, data, tmp_path_factory):
    labels = np.array(data.draw(st.lists(st.integers(-1, 2), min_size=len(x), max_size=len(x))))
    texts = data.draw(st.none() | st.lists(st.text(), min_size=len(x), max_size=len(x)))
    folder = tmp_path_factory.mktemp("layout")
    write_precomputed(folder, x, labels, EMOTIONS, texts=texts)
    again = read_precomputed(folder)
    np.testing.assert_array_equal(again.x, x)
    np.testing.assert_array_equal(again.labels, labels)
    assert (again.texts, again.emotions) == (texts, EMOTIONS)


def test_texts_of_an_earlier_write_do_not_stay(folder):
    write_precomputed(folder, np.ones((4, 3)), np.zeros(4, int), EMOTIONS)
    assert read_precomputed(folder).texts is None


def _npy(name, array):
    return lambda folder: np.save(folder / name, array)


def _metadata(**change):
    def write(folder):
        path = folder / "metadata.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    return write


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
        (_npy("embeddings.npy", NAN), "row 2, column 1 is nan"),
        (_npy("embeddings.npy", np.ones((5, 3))), r"labels\.npy: shape \(4,\); expected \(5,\)"),
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
    x = np.ones((2, 3))
    for labels, texts, says in (
        (np.array([0, 9]), None, "row 1 has label 9"),
        (np.array([0]), None, r"expected \(2,\)"),
        (np.array([0, 1]), ["one"], "1 texts for 2 embeddings"),
    ):
        with pytest.raises(BadInput, match=says):
            write_precomputed(tmp_path / "out", x, labels, EMOTIONS, texts=texts)
    assert not (tmp_path / "out").exists()
