"""What a group of processes refuses, by a group of one: a line on standard error, status 2, and nothing written."""

import numpy as np
import pytest

from moodlens.embed import EmbeddingStore
from moodlens.embed.manifest import EncoderInfo
from moodlens.sae import checkpoint
from moodlens.sae.distributed import main
from moodlens.sae.training import Trainer

QUICK = ["--set", "architecture=topk", "--set", "d_sae=16", "--set", "k=2", "--set", "epochs=4"]


def make_store(folder, rows):
    store = EmbeddingStore.create(folder, EncoderInfo(encoder="none"), "float32")
    store.append(rows.astype(np.float32))
    return store


@pytest.fixture
def folder(tmp_path):
    return make_store(tmp_path / "store", np.random.default_rng(0).standard_normal((60, 8))).folder


@pytest.fixture
def alone(monkeypatch, capfd):
    """The program as the only process of its group -> exit status, stdout, stderr."""
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(name, str(value))

    def run(*arguments):
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        return (status, *capfd.readouterr())

    return run


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{tmp}/none", "--out", "{tmp}/sae"], "none: no embedding store here"),
        (["{store}", "--out", "{tmp}/sae", "--set", "k_sparse=3"], "unknown setting 'k_sparse'"),
        (["{store}", "--out", "{tmp}/sae", "--set", "k"], "--set k: write it as name.name=value"),
        (["{store}", "--out", "{tmp}/sae", "--seed", "x"], "argument --seed: invalid int value: 'x' (see "),
        (["{store}", "--out", "{tmp}/sae", "--seed", "-1"], "--seed -1: give 0 or more"),
        (["{store}", "--out", "{tmp}/sae", "--val", "1"], "--val 1: give a share between 0 and 1"),
        (["{store}"], "arguments are required: --out"),
        (["{store}", "--out", "{store}"], "store: is the folder of embeddings; name another folder"),
        (["{store}", "--out", "{tmp}/file"], "file: is a file; give a folder"),
        (["{store}", "--out", "{tmp}/file/sae"], "file/sae: cannot write: {tmp}/file is no folder"),
        (["{store}", "--out", "{tmp}/full"], "full: holds other files (mine.txt); name another folder"),
        (
            ["{store}", "--out", "{tmp}/sae", "--set", "learning_rate=1e15"],
            "training diverged in epoch 0: the loss is no longer finite",
        ),
    ],
)
def test_what_cannot_be_used_is_one_line(folder, tmp_path, alone, arguments, line):
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    places = {"tmp": tmp_path, "store": folder}
    status, out, err = alone(*(argument.format(**places) for argument in arguments), *QUICK)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("moodlens: ")
    assert line.format(**places) in err
    assert not (tmp_path / "sae").exists()


def test_rows_that_are_no_numbers_are_named_as_the_store_counts_them(tmp_path, alone, monkeypatch):
    rows = np.random.default_rng(0).standard_normal((60, 8))
    rows[41, 3] = np.nan
    # A store takes no such rows; one that another program wrote may hold them.
    monkeypatch.setattr(np, "isfinite", lambda x, **_: np.ones_like(x, dtype=bool))
    store = make_store(tmp_path / "store", rows)
    monkeypatch.undo()
    for name, value in {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 0}.items():
        monkeypatch.setenv(name, str(value))
    status, _, err = alone(store.folder, "--out", tmp_path / "sae", *QUICK)
    assert (status, err) == (2, f"moodlens: {store.folder} row 41 holds NaN or infinity: drop it or embed its text again\n")  # fmt: skip


def test_a_finished_folder_is_left_alone(folder, tmp_path, alone):
    out = tmp_path / "sae"
    status, said, err = alone(folder, "--out", out, *QUICK)
    assert (status, err) == (0, "")
    assert "16 features by 1 processes" in said
    assert sorted(path.name for path in out.iterdir()) == ["cfg.json", "history.jsonl", "sae_weights.safetensors"]  # fmt: skip
    assert alone(folder, "--out", out, *QUICK)[::2] == (2, f"moodlens: {out}: already holds an SAE; name another folder\n")  # fmt: skip


def test_a_damaged_checkpoint_and_one_of_another_run_are_refused(folder, tmp_path, alone, monkeypatch):
    class Stop(Exception):
        pass

    def stop(trainer, original=Trainer.epoch):
        if trainer.state.epoch == 2:
            raise Stop
        return original(trainer)

    monkeypatch.setattr(checkpoint, "SECONDS", 0.0)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(Trainer, "epoch", stop)
        alone(folder, "--out", tmp_path / "sae", *QUICK)
    path = tmp_path / "sae" / "checkpoint.safetensors"
    whole = path.read_bytes()
    for damaged, line in (
        (whole[:-1], "not a readable checkpoint, delete it to start anew"),
        (whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:], "damaged: its content is not what was written"),
    ):
        path.write_bytes(damaged)
        status, _, err = alone(folder, "--out", tmp_path / "sae", *QUICK)
        assert (status, err.count("\n")) == (2, 1)
        assert f"{path}: {line}" in err
        assert path.read_bytes() == damaged
    path.write_bytes(whole)
    status, _, err = alone(folder, "--out", tmp_path / "sae", *QUICK, "--seed", 5)
    assert (status, err) == (2, f"moodlens: {path}: checkpoint of other data, settings or seed; delete it to start anew\n")  # fmt: skip
    status, _, err = alone(folder, "--out", tmp_path / "sae", *QUICK)
    assert (status, err) == (0, f"moodlens: {path}: going on after epoch 2\n")
    assert not path.exists()


def test_it_says_how_it_is_started(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert main([str(folder), "--out", str(tmp_path / "sae")]) == 2
    assert capsys.readouterr().err.startswith("moodlens: start this by torchrun: torchrun --nproc-per-node 2")
