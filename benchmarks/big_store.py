"""A large store: written, verified, read at random and trained from, each in a process of its own with its peak memory.

Peak memory is the largest resident set of the process, pages of mapped files among it.

    python benchmarks/big_store.py --rows 1000000 --d-in 768
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from train_rows import rows_like_embeddings

SHARD = 65_536


def write(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One block of rows is made and written again and again, each time shifted: making rows is not what is measured."""
    from moodlens.embed import EmbeddingStore, EncoderInfo

    store = EmbeddingStore.create(folder, EncoderInfo(encoder="none", d_in=arguments.d_in), arguments.dtype)
    block = rows_like_embeddings(min(SHARD, arguments.rows), arguments.d_in, seed=0).astype(np.float32)
    seconds = 0.0
    for begin in range(0, arguments.rows, SHARD):
        rows = np.roll(block, begin // SHARD, axis=1)[: arguments.rows - begin]
        began = time.perf_counter()
        store.append(rows)
        seconds += time.perf_counter() - began
    return {"seconds": seconds, "MiB/s": size(folder) / seconds}


def verify(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    from moodlens.embed import EmbeddingStore

    began = time.perf_counter()
    EmbeddingStore.open(folder).verify()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "MiB/s": size(folder) / seconds}


def batches(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Random batches once every page was read, so that none waits for the disk."""
    from moodlens.embed import EmbeddingStore

    store = EmbeddingStore.open(folder, verify=False)
    for begin in range(0, store.rows, SHARD):
        store[begin : begin + SHARD]
    draw, wall, cpu = np.random.default_rng(0), [], []
    for _ in range(200):
        rows = draw.integers(0, store.rows, 4096)
        began, used = time.perf_counter(), time.thread_time()
        store.batch(rows)
        wall.append(time.perf_counter() - began)
        cpu.append(time.thread_time() - used)
    return {
        "median_ms": 1e3 * float(np.median(wall)),
        "p95_ms": 1e3 * float(np.quantile(wall, 0.95)),
        "cpu_ms": 1e3 * float(np.median(cpu)),
    }


def train(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One pass of an SAE over every row but the last 4,096, which validate it."""
    from moodlens.embed import EmbeddingStore
    from moodlens.sae import train as train_sae
    from moodlens.sae.units import StoreRows
    from moodlens.settings.sae import SAESettings

    store = EmbeddingStore.open(folder)
    parts = np.split(np.arange(store.rows), [store.rows - 4096])
    settings = SAESettings(
        architecture=arguments.architecture, d_sae=arguments.d_sae, epochs=1, sparsity_warmup=0
    )
    began = time.perf_counter()
    done = train_sae(*(StoreRows(store, part) for part in parts), settings, seed=0)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "rows/s": store.rows / seconds, "explained": done.history[-1].val_explained_variance}  # fmt: skip


def rest(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One pass of a rest over what a core leaves of the rows."""
    from moodlens.embed import EmbeddingStore
    from moodlens.sae.training import train_rest
    from moodlens.sae.units import StoreRows
    from moodlens.sae.untrained import untrained
    from moodlens.settings.sae import SAESettings

    store = EmbeddingStore.open(folder)
    parts = np.split(np.arange(store.rows), [store.rows - 4096])
    core = untrained("random", store[:4096], d_sae=64, active=4, seed=0)
    settings = SAESettings(architecture="batchtopk", d_sae=arguments.d_sae, epochs=1, sparsity_warmup=0)
    began = time.perf_counter()
    train_rest(*(StoreRows(store, part) for part in parts), settings, core, seed=0)
    return {"seconds": time.perf_counter() - began}


STEPS = {one.__name__: one for one in (write, verify, batches, train, rest)}


def size(folder: Path) -> float:
    """MiB"""
    return sum(path.stat().st_size for path in folder.iterdir()) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--d-in", type=int, default=768)
    parser.add_argument("--d-sae", type=int, default=768)
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--architecture", default="l1")
    parser.add_argument("--steps", nargs="*", default=list(STEPS))
    parser.add_argument("--folder", type=Path, help="where the store is made and kept; none: a temporary one")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        step, folder = arguments.worker
        used = time.process_time()
        found = STEPS[step](Path(folder), arguments)
        found["cpu_s"] = time.process_time() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"step": step, **{k: round(v, 3) for k, v in found.items()}, "peak_MiB": round(peak)}))  # fmt: skip
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch) / "store"
        for step in arguments.steps:
            options = [f"--{n}={getattr(arguments, n.replace('-', '_'))}" for n in ("rows", "d-in", "d-sae", "dtype", "architecture")]  # fmt: skip
            subprocess.run([sys.executable, __file__, *options, "--worker", step, str(folder)], check=True)


if __name__ == "__main__":
    main()
