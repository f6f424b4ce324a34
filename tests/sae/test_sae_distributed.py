"""Two processes that torchrun starts train the SAE of one, go on where a killed one left them, and complain once."""

import os
import subprocess
import sys

import numpy as np
import pytest

from moodlens.embed import EmbeddingStore
from moodlens.embed.manifest import EncoderInfo
from moodlens.sae import load_sae, train
from moodlens.sae.distributed import split_rows
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


def torchrun(*arguments, program=("-m", "moodlens.sae.distributed"), **environment):
    command = [*TORCHRUN, *map(str, (*program, *arguments))]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


def changes(settings):
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


MATRYOSHKA = {"architecture": "matryoshka", "k": 4, "prefixes": [10, 40], "augment": 0.3}


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """Settings -> the folder of an SAE that two processes trained, undisturbed."""
    folders = {}

    def folder(settings):
        key = settings["architecture"]
        if key not in folders:
            out = tmp_path_factory.mktemp(key) / "sae"
            done = torchrun(store.folder, "--out", out, "--seed", 3, *changes(SIZES | settings))
            assert done.returncode == 0, done.stderr
            assert done.stdout.count("40 features by 2 processes") == 1
            folders[key] = out
        return folders[key]

    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        MATRYOSHKA,
        {"architecture": "l1", "l1_coefficient": 0.02},
        {"architecture": "topk", "k": 4, "data_init": 0.5},
    ],
    ids=lambda settings: settings["architecture"],
)
def test_two_processes_train_what_one_does(store, trained, settings):
    given, out = SIZES | settings, trained(settings)
    rows = store.array()
    parts = (rows[numbers] for numbers in split_rows(len(rows), 0.1, 3))
    alone = train(*parts, SAESettings.model_validate(given), seed=3, plain=True)
    together = load_sae(out, encoder_id="none")
    for name, tensor in alone.sae.state_dict().items():
        np.testing.assert_allclose(together.state_dict()[name], tensor, rtol=1e-4, atol=1e-4, err_msg=name)
    history = read_history(out / "history.jsonl")
    assert [epoch.dead for epoch in history] == [epoch.dead for epoch in alone.history]
    if settings["architecture"] == "matryoshka":
        assert history[-1].dead  # so that the auxiliary loss took part
    for epoch, other in zip(history, alone.history, strict=True):
        np.testing.assert_allclose([epoch.loss, epoch.val_loss, epoch.l0], [other.loss, other.val_loss, other.l0], rtol=1e-3)  # fmt: skip


DYING = """
import os, signal, sys
from moodlens.sae import checkpoint
from moodlens.sae.distributed import main
from moodlens.sae.sliced import Sliced

checkpoint.SECONDS = 0.0
whole = Sliced.step

def step(self, *arguments):
    if (os.environ["RANK"], str(self.state.step)) == (os.environ["DIES"], os.environ["AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, *arguments)

Sliced.step = step
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("dies", [0, 1])
def test_a_killed_process_costs_no_bit(store, trained, tmp_path, dies):
    program, out = tmp_path / "dying.py", tmp_path / "sae[1]"
    program.write_text(DYING)
    given = (store.folder, "--seed", 3, *changes(SIZES | MATRYOSHKA), "--out", out)
    killed = torchrun(*given, program=[program], DIES=str(dies), AT="50")  # of 9 steps an epoch
    assert "Signal 9 (SIGKILL) received" in killed.stderr
    assert "distributed.py" not in killed.stderr  # no traceback but torchrun's own
    assert [path.name for path in out.iterdir()] == ["checkpoint.safetensors"]
    (out / ".checkpoint.safetensors.1-0.tmp").touch()  # as if it had been writing
    again = torchrun(*given)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("checkpoint.safetensors: going on after epoch 5") == 1
    assert files(out) == files(trained(MATRYOSHKA))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
def test_bad_input_is_one_line_of_one_process(store, tmp_path):
    done = torchrun(store.folder, "--out", tmp_path / "sae", "--set", "batch_size=1", "--set", "k=1")
    assert done.returncode != 0
    assert done.stderr.count("moodlens: 2 processes share batches of 1 rows: raise batch_size") == 1
    assert done.stderr.count("moodlens: ") == 1
    assert "exitcode  : 2" in done.stderr
    assert "distributed.py" not in done.stderr  # no traceback but torchrun's own
    assert not (tmp_path / "sae").exists()


def test_rows_are_split_by_the_seed():
    (train_rows, val), other = split_rows(50, 0.1, 0), split_rows(50, 0.1, 1)
    assert len(val) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([train_rows, val])), np.arange(50))
    assert not np.array_equal(val, other[1])
    assert len(split_rows(50, 0.001, 0)[1]) == 1
