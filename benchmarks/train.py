"""Rows trained per second: moodlens, SAELens, HypotheSAEs and dictionary_learning, interleaved in one run.

Every repeat takes one step of each in turn, so that whatever else the machine does strikes all alike; medians are
reported. The time of moodlens contains reading and standardising the rows, peers get them ready made.
``ratio_to_fastest_peer`` compares wall time, ``cpu_ratio`` processor seconds (of all threads). Run it in the
environment of ``make bench-env``:

    .venv-bench/bin/python benchmarks/train.py --json rows.json
    .venv-bench/bin/python benchmarks/train.py --parts many quality --captions ../shared/data/captions/musiccaps_captions_dev.csv
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from train_rows import rows_like_embeddings

REPEATS = {16: 9, 64: 9, 512: 7, 2048: 5, 8192: 3}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=["steps", "many"], choices=["steps", "many", "quality"])
    parser.add_argument("--batches", nargs="+", type=int, default=list(REPEATS))
    parser.add_argument("--d-in", type=int, default=768)
    parser.add_argument("--d-sae", type=int, default=6144)
    parser.add_argument("--k", type=int, default=64)
    parser.add_argument(
        "--repeats", type=int, help="steps of each; default: 9 for small batches, 3 for the largest"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--members", type=int, default=8, help="SAEs in the train_many part")
    parser.add_argument("--captions", type=Path, help="CSV with a column caption, for the quality part")
    parser.add_argument("--quality-d-sae", type=int, default=1024)
    parser.add_argument("--quality-k", type=int, default=16)
    parser.add_argument("--peer-epochs", type=int, default=200, help="most epochs HypotheSAEs may take")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    if "steps" in arguments.parts:
        for batch in arguments.batches:
            repeats = arguments.repeats or REPEATS.get(batch, 5)
            rows.append(
                steps(batch, arguments.d_in, arguments.d_sae, arguments.k, repeats, arguments.threads)
            )
            print(json.dumps(rows[-1]), flush=True)
    if "many" in arguments.parts:
        for size in ((384, 1024, 16), (arguments.d_in, arguments.d_sae, arguments.k)):
            rows.append(many(*size, members=arguments.members, repeats=arguments.repeats or 3))
            print(json.dumps(rows[-1]), flush=True)
    if "quality" in arguments.parts:
        from train_quality import quality

        size = arguments.quality_d_sae, arguments.quality_k
        rows.append(quality(*size, captions=arguments.captions, peer_epochs=arguments.peer_epochs))
        print(json.dumps(rows[-1]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def steps(batch: int, d_in: int, d_sae: int, k: int, repeats: int, threads: int) -> dict[str, Any]:
    """Vectors per second of one training step, batch top-k."""
    import torch

    from train_peers import installed

    x = rows_like_embeddings(max(4096, 2 * batch), d_in)
    draw = np.random.default_rng(0)
    ready = [torch.from_numpy(x[draw.permutation(len(x))[:batch]] - x.mean(0)) for _ in range(4)]
    ours = moodlens_step(x, batch, d_sae, k, threads)
    systems: dict[str, Callable[[int], Any]] = {"moodlens": ours}
    for name, step in installed(d_in, d_sae, k).items():
        systems[name] = lambda i, step=step: step(ready[i % len(ready)])
    wall: dict[str, list[float]] = {name: [] for name in systems}
    cpu: dict[str, list[float]] = {name: [] for name in systems}
    for i in range(repeats + 2):
        for name, step in systems.items():
            t, c = time.perf_counter(), time.process_time()
            step(i)
            if i >= 2:  # the first steps compile and allocate
                wall[name].append(time.perf_counter() - t)
                cpu[name].append(time.process_time() - c)
    speed = {name: round(batch / statistics.median(seconds), 1) for name, seconds in wall.items()}
    busy = {name: statistics.median(seconds) for name, seconds in cpu.items()}
    peers = [name for name in speed if name != "moodlens"]
    row: dict[str, Any] = {"batch": batch, **speed}
    if peers:
        row["ratio_to_fastest_peer"] = round(speed["moodlens"] / max(speed[name] for name in peers), 2)
        row["cpu_ratio"] = round(min(busy[name] for name in peers) / busy["moodlens"], 2)
    return row | {"d_in": d_in, "d_sae": d_sae, "k": k, "threads": threads, "repeats": repeats}


def moodlens_step(
    x: np.ndarray, batch: int, d_sae: int, k: int, threads: int, device: str = "cpu"
) -> Callable[[int], Any]:
    """One step of moodlens on rows drawn anew each time."""
    import torch

    from moodlens.sae.plain import StepPlan
    from moodlens.sae.rows import ArrayRows, measure
    from moodlens.sae.state import initial_state
    from moodlens.sae.steps import make_stepper
    from moodlens.settings.sae import SAESettings

    settings = SAESettings(d_sae=d_sae, k=k, batch_size=batch, epochs=1).resolve(len(x), x.shape[1])
    data = ArrayRows(x)
    standard = measure(data)
    state = initial_state(settings, x.shape[1], 0, data, standard)
    stepper = make_stepper(state, settings, standard, np.full(10_000, 5e-4), device, threads)
    dead, draw = torch.zeros(d_sae, dtype=torch.bool), np.random.default_rng(1)
    now = StepPlan(learning_rate=5e-4, l1=0.0, k=k)
    return lambda _: stepper.step(data, draw.permutation(len(x))[:batch], now, dead)


def many(d_in: int, d_sae: int, k: int, *, members: int, repeats: int) -> dict[str, Any]:
    """Seconds for ``members`` seeds of a short training, together and one alone, in turn."""
    from moodlens.sae import train, train_many
    from moodlens.settings.sae import SAESettings

    x = rows_like_embeddings(4500, d_in)
    batch = 128 if d_sae < 4096 else 512
    settings = SAESettings(d_sae=d_sae, k=k, batch_size=batch, epochs=3)
    alone, together = [], []
    train(x[:4000], x[4000:], settings, seed=0)
    for repeat in range(repeats):
        t = time.perf_counter()
        train(x[:4000], x[4000:], settings, seed=repeat)
        alone.append(time.perf_counter() - t)
        t = time.perf_counter()
        train_many(x[:4000], x[4000:], [(settings, seed) for seed in range(members)])
        together.append(time.perf_counter() - t)
    one, all_ = statistics.median(alone), statistics.median(together)
    return {
        "part": "many", "d_in": d_in, "d_sae": d_sae, "k": k, "batch": batch, "members": members,
        "one_s": round(one, 3), "many_s": round(all_, 3), "ratio": round(all_ / one, 2),
    }  # fmt: skip


if __name__ == "__main__":
    main()
