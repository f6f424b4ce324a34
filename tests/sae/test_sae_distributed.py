"""Two processes that torchrun starts train the SAE of one: to 1e-4, at the same batch size."""

import subprocess
import sys

import numpy as np
import pytest

from moodlens.embed import EmbeddingStore
from moodlens.embed.manifest import EncoderInfo
from moodlens.sae import load_sae, train
from moodlens.sae.distributed import main, split_rows
from moodlens.sae.history import read_history
from moodlens.settings.sae import SAESettings

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SIZES = {"d_sae": 40, "epochs": 12, "batch_size": 33, "dead_feature_threshold": 1, "patience": 50}
"""Slices of 17 and 16 rows, and a feature is dead after an epoch without firing."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    draw = np.random.default_rng(0)
    directions = draw.standard_normal((24, 12))
    codes = (draw.random((300, 24)) < 0.1) * draw.random((300, 24))
    made = EmbeddingStore.create(
        tmp_path_factory.mktemp("rows") / "store", EncoderInfo(encoder="none"), "float32"
    )
    made.append((codes @ directions + 0.01 * draw.standard_normal((300, 12)) + 2).astype(np.float32))
    return made


def torchrun(*arguments):
    command = [*TORCHRUN, "-m", "moodlens.sae.distributed", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"architecture": "matryoshka", "k": 4, "prefixes": [10, 40], "augment": 0.3},
        {"architecture": "l1", "l1_coefficient": 0.02},
        {"architecture": "topk", "k": 4, "data_init": 0.5},
    ],
    ids=lambda settings: settings["architecture"],
)
def test_two_processes_train_what_one_does(store, tmp_path, settings):
    given = SIZES | settings
    changes = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    done = torchrun(store.folder, "--out", tmp_path / "sae", "--seed", 3, *changes)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("40 features by 2 processes") == 1
    rows = store.array()
    parts = (rows[numbers] for numbers in split_rows(len(rows), 0.1, 3))
    alone = train(*parts, SAESettings.model_validate(given), seed=3, plain=True)
    together = load_sae(tmp_path / "sae", encoder_id="none")
    for name, tensor in alone.sae.state_dict().items():
        np.testing.assert_allclose(together.state_dict()[name], tensor, rtol=1e-4, atol=1e-4, err_msg=name)
    history = read_history(tmp_path / "sae" / "history.jsonl")
    assert [epoch.dead for epoch in history] == [epoch.dead for epoch in alone.history]
    if settings["architecture"] == "matryoshka":
        assert history[-1].dead  # so that the auxiliary loss took part
    for epoch, other in zip(history, alone.history, strict=True):
        np.testing.assert_allclose([epoch.loss, epoch.val_loss, epoch.l0], [other.loss, other.val_loss, other.l0], rtol=1e-3)  # fmt: skip


@pytest.mark.slow
def test_bad_input_is_one_line_of_the_first_process(store, tmp_path):
    done = torchrun(store.folder, "--out", tmp_path / "sae", "--set", "batch_size=1", "--set", "k=1")
    assert done.returncode != 0
    assert done.stderr.count("error: 2 processes share batches of 1 rows: raise batch_size") == 1
    assert not (tmp_path / "sae").exists()


def test_it_says_how_it_is_started(store, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert main([str(store.folder), "--out", str(tmp_path / "sae")]) == 2
    assert capsys.readouterr().err.startswith("error: start this by torchrun: torchrun --nproc-per-node 2")


def test_rows_are_split_by_the_seed():
    (train_rows, val), other = split_rows(50, 0.1, 0), split_rows(50, 0.1, 1)
    assert len(val) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([train_rows, val])), np.arange(50))
    assert not np.array_equal(val, other[1])
    assert len(split_rows(50, 0.001, 0)[1]) == 1
