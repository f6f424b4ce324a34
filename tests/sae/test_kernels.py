"""Compiled loops give the same whether this process compiled them or found them kept."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SAE = Path(__file__).resolve().parents[2] / "src" / "moodlens" / "sae"
TRAIN = """
import hashlib, sys
import numpy as np
from moodlens.sae import train
from moodlens.settings.sae import SAESettings
x = np.random.default_rng(0).standard_normal((800, 64)).astype(np.float32)
settings = SAESettings(architecture="batchtopk", d_sae=256, k=3, batch_size=16, epochs=3, learning_rate=0.003)
sae = train(x[:700], x[700:], settings, seed=0).sae
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in (sae.W_enc, sae.W_dec, sae.b_enc))).hexdigest())
"""


def test_a_loop_within_loops_is_part_of_each():
    """As a function of its own it would be found by name, in one process this code of it and in another that."""
    compiled, called = {}, set()
    for path in SAE.glob("kernels_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                compiled[node.name] = ast.unparse(node.decorator_list[0])
                calls = [one.func for one in ast.walk(node) if isinstance(one, ast.Call)]
                called |= {one.id for one in calls if isinstance(one, ast.Name)}
    within = {name: decorator for name, decorator in compiled.items() if name in called}
    assert len(within) > 5
    assert set(within.values()) == {"part"}


@pytest.mark.slow
def test_what_was_compiled_here_and_what_was_kept_train_the_same_bytes(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    made = [
        subprocess.run(
            [sys.executable, "-c", TRAIN], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    ]
    assert made[0] == made[1]
