"""Peak memory of what reads all rows of a study, against the rows: each step in a process of its own, under one budget.

Rows are made up: Gaussian embeddings in a store of float16, a tenth of whose texts lie along the direction of their
label. Codes are those of a dictionary that learned nothing; no text belongs to a group, the worst case for permutations.

    python benchmarks/big_study.py --rows 100000 300000 1000000
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

EMOTIONS = ("happy", "sad", "calm", "energetic")
SHARD = 65_536


def make(folder: Path, n: int, arguments: argparse.Namespace) -> None:
    from moodlens.embed import EmbeddingStore
    from moodlens.embed.manifest import EncoderInfo

    draw = np.random.default_rng(0)
    towards = draw.standard_normal((4, arguments.d_in), dtype=np.float32)
    store = EmbeddingStore.create(folder, EncoderInfo(encoder="none", d_in=arguments.d_in))
    for begin in range(0, n, SHARD):
        rows = draw.standard_normal((min(SHARD, n - begin), arguments.d_in), dtype=np.float32)
        rows[::10] += towards[np.arange(begin, begin + len(rows), 10) // 10 % 4]
        store.append(rows)


def read(folder: Path, arguments: argparse.Namespace) -> tuple:
    """Rows, embeddings and codes, as a study has them."""
    from moodlens.embed import EmbeddingStore
    from moodlens.sae import SAE, encode_rows
    from moodlens.sae.untrained import untrained
    from moodlens.study.rows import Rows

    store = EmbeddingStore.open(folder, verify=False)
    label = np.arange(store.rows) // 10 % 4
    split = np.random.default_rng(1).choice(["train", "val", "test"], store.rows, p=[0.7, 0.1, 0.2])
    rows = Rows.of(label, emotions=EMOTIONS, split=split)
    sae: SAE = untrained("random", store[:8192], d_sae=arguments.d_sae, active=arguments.d_sae // 20, seed=0)
    try:
        x, codes = store.array(memory=arguments.memory / 4), None
        codes = encode_rows(sae, x, memory=arguments.memory / 2)
    except TypeError:  # before there was a budget
        x = store.array()
        codes = encode_rows(sae, x)
    return rows, x, codes, sae


def encode(folder: Path, arguments: argparse.Namespace) -> None:
    read(folder, arguments)


def select(folder: Path, arguments: argparse.Namespace) -> dict:
    from moodlens.features.families import gather_families
    from moodlens.features.select import select_features
    from moodlens.settings.features import FeatureSettings
    from moodlens.study.coded import Coded

    rows, x, codes, sae = read(folder, arguments)
    settings = FeatureSettings(n_permutations=arguments.permutations, n_shuffles=2, min_selectivity=1.05)
    try:
        chosen = select_features(codes, rows, settings, seed=0, memory=arguments.memory / 4)
    except TypeError:
        chosen = select_features(codes, rows, settings, seed=0)
    families = gather_families(chosen.table, Coded(rows, x, codes, sae.W_dec.detach().numpy()), settings)
    return {"features": chosen.summary.n_emotion_features, "members": [len(f.features) for f in families.families]}  # fmt: skip


STEPS = {"encode": encode, "select": select}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--d-in", type=int, default=384)
    parser.add_argument("--d-sae", type=int, default=512)
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--memory", type=float, default=2.0, help="budget (GiB)")
    parser.add_argument("--steps", nargs="*", default=list(STEPS))
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        step, folder = arguments.worker
        began, used = time.perf_counter(), time.process_time()
        found = STEPS[step](Path(folder), arguments) or {}
        took = {"seconds": round(time.perf_counter() - began, 1), "cpu_s": round(time.process_time() - used, 1)}  # fmt: skip
        peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(json.dumps({"rows": arguments.rows[0], "step": step, **took, **found, "peak_MiB": peak}))
        return
    for n in arguments.rows:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "store"
            make(folder, n, arguments)
            for step in arguments.steps:
                options = [f"--{name}={getattr(arguments, name.replace('-', '_'))}" for name in ("d-in", "d-sae", "permutations", "memory")]  # fmt: skip
                command = [sys.executable, __file__, f"--rows={n}", *options, "--worker", step, str(folder)]
                subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
