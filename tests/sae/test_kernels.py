"""Compiled loops give the same whether this process compiled them or found them kept."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from moodlens.sae import kernels_pairs as pairs
from moodlens.sae import kernels_select as select
from moodlens.sae.kernels_pairs import ByFeature, Clock, Moments, Rule, Weights
from moodlens.sae.kernels_select import Pairs

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


def test_no_loop_adds_up_in_an_array():
    """Such a sum is vectorised if what it reads lies far enough, and else added in order: its last bit hangs on addresses."""
    assert grown_in_place("for a in r:\n s[f] += g[a]") == ["s[f] += g[a]"]
    assert grown_in_place("for a in r:\n if a:\n  s[0] = s[0] + g[a]") == ["s[0] = s[0] + g[a]"]
    assert grown_in_place("for f in r:\n for a in q:\n  t += g[a]\n s[f] += t") == []
    assert grown_in_place("for a in r:\n p = where[a]\n counts[p] += 1") == []
    loops = [path.read_text(encoding="utf-8") for path in SAE.glob("kernels_*.py")]
    assert "+=" in "".join(loops)
    assert [line for text in loops for line in grown_in_place(text)] == []


def grown_in_place(text):
    """Assignments within a loop that add to what stands at one place in an array as long as the loop runs."""
    lines = []
    for loop in ast.walk(ast.parse(text)):
        if not isinstance(loop, ast.For):
            continue
        inside = list(_inside(loop))
        targets = [target for node in (loop, *inside) for target in _targets(node)]
        changing = {
            name for target in targets if not isinstance(target, ast.Subscript) for name in _names(target)
        }
        for node in inside:
            for target in _targets(node):
                place = ast.unparse(target)
                read = isinstance(node, ast.AugAssign) or (
                    isinstance(node, ast.Assign) and place in ast.unparse(node.value)
                )
                if isinstance(target, ast.Subscript) and read and not _names(target) & changing:
                    lines.append(ast.unparse(node))
    return lines


def _inside(loop):
    """What stands in a loop and not in a loop within it."""
    for node in ast.iter_child_nodes(loop):
        yield node
        if not isinstance(node, ast.For | ast.While):
            yield from _inside(node)


def _targets(node):
    return node.targets if isinstance(node, ast.Assign) else [node.target] if hasattr(node, "target") else []


def _names(node):
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}


@pytest.mark.parametrize("d", [4, 24, 70])
def test_loops_give_the_same_wherever_their_arrays_lie(d):
    draw = np.random.default_rng(d)
    first, *others = (trained_steps(Arena(draw if i else None), d) for i in range(200))
    assert all(made == first for made in others)


class Arena:
    """Places for arrays in one buffer, in any order and with small gaps; without ``draw``, far apart."""

    def __init__(self, draw=None):
        self.draw = draw

    def copies(self, arrays):
        order = range(len(arrays)) if self.draw is None else self.draw.permutation(len(arrays))
        buffer = np.zeros(sum(array.nbytes + 4104 for array in arrays) + 64, np.uint8)
        placed, at = {}, -buffer.ctypes.data % 64
        for i in order:
            at += 4096 if self.draw is None else 4 * int(self.draw.integers(0, 16))
            at += -(at + buffer.ctypes.data) % arrays[i].itemsize
            placed[i] = buffer[at : at + arrays[i].nbytes].view(arrays[i].dtype).reshape(arrays[i].shape)
            placed[i][...] = arrays[i]
            at += arrays[i].nbytes
        return [placed[i] for i in range(len(arrays))]


def trained_steps(arena, d, n=20, m=16):
    """The bytes that each loop leaves of a step on ``n`` rows with ``m`` features."""
    draw = np.random.default_rng(d)

    def normal(*shape):
        return draw.standard_normal(shape).astype(np.float32)

    on = draw.random((n, m)) < 0.4
    starts, feature = np.concatenate([[0], np.cumsum(on.sum(1))]), np.nonzero(on)[1].astype(np.int32)
    total, moments = len(feature), [np.abs(normal(*shape)) for shape in [(m, d)] * 4 + [(m,)] * 2]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(feature, minlength=m))])
    ages = np.arange(1, 30)
    arrays = [
        starts, feature, np.abs(normal(total)), normal(n, d), normal(m, d), normal(m, d), normal(m), normal(d), *moments,
        np.zeros((1, n, d), np.float32), np.zeros(total, np.float32), np.zeros((n, 1), np.float32), np.zeros((m, d), np.uint16),
        np.zeros(m, np.int32), np.zeros(m, np.int64), np.full(m, 3), offsets, np.zeros(m, np.int64),
        *(np.zeros(total, kind) for kind in (np.int32, np.int32, np.float32, np.float32)),
        1 / (1 - 0.9**ages), 1 / (1 - 0.999**ages), np.full(30, 1e-3), np.tile(np.arange(m, dtype=np.int32), (n, 1)),
        np.zeros((n, m), np.float32), np.zeros(n, np.float32), np.full(n, m), np.zeros(n, np.float32),
    ]  # fmt: skip
    placed = iter(arena.copies(arrays))
    active = Pairs(next(placed), next(placed), next(placed))
    z, W_enc, W_dec, b_enc, b_dec = (next(placed) for _ in range(5))
    moments = Moments(*(next(placed) for _ in range(6)))
    E, g, loss, half, slot = (next(placed) for _ in range(5))
    clock, offsets, mark = Clock(next(placed), next(placed)), next(placed), next(placed)
    by_feature = ByFeature(offsets, *(next(placed) for _ in range(4)))
    rule, rates = Rule(0.9, 0.999, 1e-8, True, next(placed), next(placed)), next(placed)
    names, values, cut, counts, error = placed
    weights, scale, made = Weights(W_enc, W_dec, b_enc, half), np.float32(-0.1), []

    def keep(*results):
        made.append(b"".join(array.tobytes() for array in results))

    pairs.decode(0, n, z, np.float32(1), W_dec, b_dec, pairs.Segments(slot, 1), active, scale, E, g, loss)
    keep(E, g, loss)
    pairs.sort_pairs(active, g, scale, slot, offsets[:-1].copy(), by_feature)
    pairs.update(0, m, True, by_feature, z, E[0], weights, moments, clock, 4, 1e-3, rule)
    keep(*weights, *moments)
    pairs.catch_up(0, m, mark, 0, weights, moments, clock, 8, rates, rule)
    keep(*weights, *moments)
    pairs.dense_update(0, m, E[0, :m], z[:m], b_enc.copy(), weights, moments, clock, 9, 1e-3, rule)
    keep(*weights, *moments)
    pairs.move_vector(b_dec, moments.m_enc[0], moments.v_enc[0], z[0], 9, 1e-3, rule)
    keep(b_dec)
    select.recompute(0, n, z, W_enc, b_enc, 0, cut, counts, names, values, error)
    keep(values, error)
    return made


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
