"""The same work by this process, by a pool and by a Ray cluster: time, and whether the bytes are the same.

A study is made up to its SAEs: prompts are embedded shard by shard and narrow SAEs trained, by each engine in a folder of
its own. With ``--kill`` one of the cluster's two nodes is killed while it embeds; another takes its place for the SAEs and
is killed too. ``--start`` makes the cluster of two real ``ray start`` programs instead of Ray's test cluster. With
``--repeats`` the engines take turns, and the last line has the medians: what Ray costs beside a pool is their ratio.

    python benchmarks/engines.py --texts 100000 --copies 4 --saes 12 --shard-rows 4096 --engines local ray --kill
    python benchmarks/engines.py --texts 8000 --saes 12 --engines pool ray --repeats 5
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
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
        "core": {
            "members": arguments.saes // 2,
            "bootstraps": 0,
            "d_sae": arguments.d_sae,
            "epochs": arguments.epochs,
        },
        "prompts": {"generate": arguments.texts}
        if arguments.table is None
        else {"generate": 0, "tables": [arguments.table]},
        "encoder": {"dtype": "float32", "shard_rows": arguments.shard_rows},
        "sae": {"d_sae": 384, "epochs": 2},
        "engine": engine,
    }


def timed(
    arguments: argparse.Namespace, engine: dict, folder: Path, threads: int, before: Callable[[str], object]
) -> dict[str, float]:
    """Seconds of each stage, as its record has them; ``before`` each it is called with its name."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    found = {}
    for stage in ("prompts", "embed", "train"):
        before(stage)
        command = [sys.executable, "-c", CODE, json.dumps(study(arguments, engine)), str(folder), stage]
        done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        found[stage] = float(done.stdout.strip().splitlines()[-1])
    return found


def content(folder: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for pattern in ("embeddings/*", "sae/*/*.safetensors", "sae/*/history.jsonl", "core.json"):
        found |= {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob(pattern)}
    return found


class TestCluster:
    """Two nodes of one core in Ray's test cluster."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self.address, self._second = self._cluster.address, None

    def join(self) -> None:
        """Let a second node in, where there is none."""
        if self._second is None:
            self._second = self._cluster.add_node(num_cpus=1)

    def kill(self) -> None:
        second, self._second = self._second, None
        self._cluster.remove_node(second, allow_graceful=False)

    def close(self) -> None:
        self._cluster.shutdown()


class StartedCluster:
    """Two ``ray start`` programs of one core."""

    address = HEAD

    def __init__(self) -> None:
        self._head = self._start("--head", f"--port={HEAD.rpartition(':')[2]}", "--include-dashboard=false")
        self._second: subprocess.Popen | None = None

    def _start(self, *options: str) -> subprocess.Popen:
        ray = str(Path(sys.executable).parent / "ray")
        command = [ray, "start", *options, "--num-cpus=1", "--block", "--disable-usage-stats"]
        made = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        time.sleep(20)
        return made

    def join(self) -> None:
        if self._second is None:
            self._second = self._start(f"--address={HEAD}")

    def kill(self) -> None:
        second, self._second = self._second, None
        if second is not None:
            end(second)

    def close(self) -> None:
        self.kill()
        end(self._head)


def end(process: subprocess.Popen) -> None:
    """Kill a program and all that it started, and nothing else."""
    if process.poll() is not None:
        return
    family = psutil.Process(process.pid)
    for one in [*family.children(recursive=True), family]:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()


def repeated(arguments: argparse.Namespace, folder: Path) -> dict:
    """A table of so many texts, each of them ``copies`` times in a row: the encoder reads one of these once."""
    from moodlens.prompts import generate

    few = generate(-(-arguments.texts // arguments.copies), seed=0).select("text", "emotion")
    table = few[np.arange(arguments.texts) // arguments.copies]
    table.write_csv(folder / "texts.csv")
    return {"path": str(folder / "texts.csv"), "text_column": "text", "emotion_column": "emotion"}


UNITS = {"embed": "embeddings/*.safetensors", "train": ".work/train/*.json"}
"""Stage -> what it leaves one by one."""


def kill_when_under_way(folder: Path, stage: str, kill: Callable[[], None], told: list[str]) -> None:
    """Kill the second node when a few units of the stage are done and more are left."""

    def watch() -> None:
        while (n := len(list(folder.glob(UNITS[stage])))) < 3:
            time.sleep(0.05)
        kill()
        told.append(f"a node was killed after {n} units of {stage}")

    threading.Thread(target=watch, daemon=True).start()


def measured(arguments: argparse.Namespace, name: str, folder: Path) -> tuple[dict[str, float], list[str]]:
    """Seconds of each stage by one engine, and what happened on the way."""
    told: list[str] = []
    if name != "ray":
        engine = {"kind": name} | ({"workers": 2} if name == "pool" else {})
        return timed(arguments, engine, folder, 2, lambda stage: None), told
    cluster = StartedCluster() if arguments.start else TestCluster()

    def before(stage: str) -> None:
        cluster.join()
        if arguments.kill and stage in UNITS:
            kill_when_under_way(folder, stage, cluster.kill, told)

    try:
        return timed(arguments, {"kind": "ray", "address": cluster.address}, folder, 1, before), told
    finally:
        cluster.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--texts", type=int, default=20_000)
    parser.add_argument("--saes", type=int, default=12)
    parser.add_argument("--copies", type=int, default=1, help="how often each text occurs")
    parser.add_argument("--d-sae", type=int, help="features of an SAE; none: by the rows")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--shard-rows", type=int, default=1024)
    parser.add_argument("--engines", nargs="*", default=["local", "pool", "ray"])
    parser.add_argument("--kill", action="store_true", help="kill one of two nodes on the way")
    parser.add_argument("--start", action="store_true", help="two `ray start` programs")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        arguments.table = repeated(arguments, Path(scratch)) if arguments.copies > 1 else None
        compare(arguments)


def compare(arguments: argparse.Namespace) -> None:
    first: dict[str, bytes] | None = None
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.engines}
    for turn in range(arguments.repeats):
        for name in arguments.engines[:: -1 if turn % 2 else 1]:
            with tempfile.TemporaryDirectory() as scratch:
                folder, began = Path(scratch) / name, time.perf_counter()
                found, told = measured(arguments, name, folder)
                made = content(folder)
            first = first or made
            seconds[name].append(found)
            row = {"engine": name, **found, "wall_s": round(time.perf_counter() - began, 1)}
            row |= {"files": len(made), "same_bytes": made == first, "told": told}
            differ = sorted(name for name in first.keys() | made.keys() if first.get(name) != made.get(name))
            print(json.dumps(row | ({"differ": differ} if differ else {})), flush=True)
    if arguments.repeats > 1:
        medians = {
            name: {stage: statistics.median(one[stage] for one in runs) for stage in runs[0]}
            for name, runs in seconds.items()
        }
        print(json.dumps({"medians": medians}))


if __name__ == "__main__":
    main()
