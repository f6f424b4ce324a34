"""Time and memory of training as the data and the dictionary grow, with slopes on a log-log fit.

Rows are read from an embedding store on disk. Each size runs in a process of its own, so that its peak memory is its
own; ``own_mib`` leaves out the store's pages, which the
system may drop at will. A slope of 1 is linear.

    python benchmarks/scaling.py --rows 1000 10000 100000 1000000 --d-sae 768 1536 3072 6144 12288 24576 --json rows.json
"""

import argparse
import json
import math
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="*", type=int, default=[1000, 10_000, 100_000])
    parser.add_argument("--d-sae", nargs="*", type=int, default=[768, 3072, 12_288])
    parser.add_argument("--d-in", type=int, default=768)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--fixed-d-sae", type=int, default=3072, help="d_sae while the rows grow")
    parser.add_argument("--fixed-rows", type=int, default=10_000, help="rows while d_sae grows")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1, help="the fastest of so many is kept")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(one(Path(arguments.worker[0]), int(arguments.worker[1]), arguments)))
        return
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        # The first run of an installation waits for the compiler, the first of a process for its cache.
        run(store(Path(scratch) / "warm", 200, arguments.d_in), arguments.fixed_d_sae, arguments)
        sizes = [("rows", n, arguments.fixed_d_sae) for n in arguments.rows]
        sizes += [("d_sae", arguments.fixed_rows, m) for m in arguments.d_sae]
        for axis, n, d_sae in sizes:
            folder = store(Path(scratch) / str(n), n, arguments.d_in)
            runs = [run(folder, d_sae, arguments) for _ in range(arguments.repeats)]
            found.append({"axis": axis, "rows": n, "d_sae": d_sae, **min(runs, key=lambda r: r["epoch_s"])})
            print(json.dumps(found[-1]), flush=True)
    sized = list(found)
    for axis, name in (("rows", "epoch_s"), ("rows", "own_mib"), ("d_sae", "epoch_s"), ("d_sae", "own_mib")):
        points = [(row[axis], row[name]) for row in sized if row["axis"] == axis]
        if len(points) > 1:
            slope = float(np.polyfit(*np.log(np.array(points).T), 1)[0])
            found.append({"slope": name, "over": axis, "value": round(slope, 3)})
            print(json.dumps(found[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def store(folder: Path, n: int, d_in: int) -> Path:
    """A store of ``n`` rows, written shard by shard."""
    from moodlens.embed import EmbeddingStore, EncoderInfo

    if not folder.exists():
        made = EmbeddingStore.create(folder, EncoderInfo(encoder="none", d_in=d_in), dtype="float16")
        for number in range(math.ceil(n / SHARD)):
            made.append(rows_like_embeddings(min(SHARD, n - number * SHARD), d_in, seed=number))
    return folder


def run(folder: Path, d_sae: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One size in a process of its own."""
    options = [
        f"--{name}={getattr(arguments, name.replace('-', '_'))}" for name in ("d-in", "k", "batch", "threads")
    ]
    command = [sys.executable, __file__, *options, "--worker", str(folder), str(d_sae)]
    return json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )


def one(folder: Path, d_sae: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Seconds of one pass over the rows (after one step, so that nothing is compiled in it), and peak memory."""
    import torch

    from moodlens.embed import EmbeddingStore
    from moodlens.sae.training import Trainer, prepare
    from moodlens.settings.sae import SAESettings

    torch.set_num_threads(1)
    data = EmbeddingStore.open(folder, verify=False)
    began = time.perf_counter()
    rows = prepare(data, data.batch(np.arange(min(1000, data.rows))))
    prepared = time.perf_counter() - began
    settings = SAESettings(
        d_sae=d_sae, k=arguments.k, batch_size=arguments.batch, epochs=2, warmup=0, sparsity_warmup=0
    )
    trainer = Trainer(rows, settings, 0, threads=arguments.threads)
    trainer.validate()
    before = _own()
    began = time.perf_counter()
    trainer.epoch()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "prepare_s": round(prepared, 3), "epoch_s": round(seconds, 3), "rows_per_s": round(rows.data.rows / seconds, 1),
        "peak_mib": round(peak, 1), "own_mib": round(_own(), 1), "own_before_mib": round(before, 1),
    }  # fmt: skip


def _own() -> float:
    """Memory of this process alone, MiB: pages of the store's memory maps, which the system drops at will, left out."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return float("nan")


if __name__ == "__main__":
    main()
