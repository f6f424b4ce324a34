"""The same work by this process, by a pool and by a Ray cluster: time, and whether the bytes are the same.

A study is made up to its SAEs: prompts are embedded shard by shard and narrow SAEs trained, by each engine in a folder of
its own. With ``--kill`` one of the cluster's two nodes is killed while it embeds. ``--start`` makes the cluster of two
real ``ray start`` programs instead of Ray's test cluster.

    python benchmarks/engines.py --texts 20000 --saes 12 --kill
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

CODE = """
import json, sys, time
from pathlib import Path
from moodlens.pipeline.run import run
from moodlens.settings.study import Settings
settings, out, until = Settings.model_validate(json.loads(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
run(settings, out, until=until)
print(json.dumps(json.loads((out / ".stages" / f"{until}.json").read_text())["seconds"]))
"""
HEAD = "127.0.0.1:6399"


def study(arguments: argparse.Namespace, engine: dict) -> dict:
    return {
        "seeds": 1,
        "core": {"members": arguments.saes // 2, "bootstraps": 0},
        "prompts": {"generate": arguments.texts},
        "encoder": {"dtype": "float32", "shard_rows": arguments.shard_rows},
        "sae": {"d_sae": 384, "epochs": 2},
        "engine": engine,
    }


def timed(arguments: argparse.Namespace, engine: dict, folder: Path, threads: int) -> dict[str, float]:
    """Seconds of each stage, as its record has them."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    found = {}
    for stage in ("prompts", "embed", "train"):
        command = [sys.executable, "-c", CODE, json.dumps(study(arguments, engine)), str(folder), stage]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        found[stage] = float(done.stdout.strip().splitlines()[-1])
    return found


def content(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for pattern in ("embeddings/*", "sae/*/*.safetensors", "sae/*/history.jsonl", "core.json"):
        found |= {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob(pattern)}
    return found


@contextlib.contextmanager
def test_cluster(arguments: argparse.Namespace) -> Iterator[tuple[str, "Kill"]]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    try:
        yield cluster.address, lambda: cluster.remove_node(second, allow_graceful=False)
    finally:
        cluster.shutdown()


@contextlib.contextmanager
def started_cluster(arguments: argparse.Namespace) -> Iterator[tuple[str, "Kill"]]:
    ray = str(Path(sys.executable).parent / "ray")
    options = ["--num-cpus=1", "--block", "--disable-usage-stats"]
    head = subprocess.Popen(
        [ray, "start", "--head", f"--port={HEAD.rpartition(':')[2]}", "--include-dashboard=false", *options],
        stdout=subprocess.DEVNULL,
    )
    time.sleep(20)
    second = subprocess.Popen([ray, "start", f"--address={HEAD}", *options], stdout=subprocess.DEVNULL)
    time.sleep(20)
    try:
        yield HEAD, lambda: end(second)
    finally:
        end(second)
        end(head)


def end(process: subprocess.Popen) -> None:
    """Kill a program and all that it started, and nothing else."""
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid)
    for one in [*family.children(recursive=True), family]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


Kill = object


def kill_when_under_way(folder: Path, kill, told: list[str]) -> threading.Thread:
    """Kill the second node when a few shards are done and more are left."""

    def watch() -> None:
        while len(list(folder.glob("embeddings/*.safetensors"))) < 3:
            time.sleep(0.05)
        n = len(list(folder.glob("embeddings/*.safetensors")))
        kill()
        told.append(f"a node was killed after {n} shards")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--saes", type=int, default=12)
    parser.add_argument("--shard-rows", type=int, default=1024)
    parser.add_argument("--engines", nargs="*", default=["local", "pool", "ray"])
    parser.add_argument("--kill", action="store_true", help="kill one of two nodes on the way")
    parser.add_argument("--start", action="store_true", help="two `ray start` programs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        first: dict[str, bytes] | None = None
        for name in arguments.engines:
            folder, told = Path(scratch) / name, list[str]()
            began = time.perf_counter()
            if name == "ray":
                with (started_cluster if arguments.start else test_cluster)(arguments) as (address, kill):
                    if arguments.kill:
                        kill_when_under_way(folder, kill, told)
                    seconds = timed(arguments, {"kind": "ray", "address": address}, folder, 1)
            else:
                engine = {"kind": name} | ({"workers": 2} if name == "pool" else {})
                seconds = timed(arguments, engine, folder, 2)
            made = content(folder)
            first = first or made
            row = {"engine": name, **seconds, "wall_s": round(time.perf_counter() - began, 1)}
            print(json.dumps(row | {"files": len(made), "same_bytes": made == first, "told": told}), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
