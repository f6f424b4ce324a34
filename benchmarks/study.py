"""The whole quickstart, cold, in a process of its own: seconds of each stage, processor time, peak memory.

    python benchmarks/study.py [--repeats 3] [--threads 2] [--set prompts.generate=6000] [--json]

There is no peer that does the same; the figure to watch is the sum, and which stage it is made of.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def once(threads: int, changes: list[str]) -> dict:
    """One run in a fresh folder and a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "study"
        command = [sys.executable, "-m", "moodlens", "run", "--out", str(out), "--json"]
        command += [word for change in changes for word in ("--set", change)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        done = subprocess.run(
            command,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        said = json.loads(done.stdout)
    return {
        "wall": wall,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_gib": after.ru_maxrss / 2**20,  # Linux counts KiB
        "go": said["go"],
        "stages": {name: value for name, value in said["seconds"].items() if name != "total"},
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    runs = [once(options.threads, options.set) for _ in range(options.repeats)]
    result = {
        "threads": options.threads,
        "repeats": options.repeats,
        "go": [run["go"] for run in runs],
        **{key: statistics.median(run[key] for run in runs) for key in ("wall", "cpu", "peak_gib")},
        "stages": {
            name: statistics.median(run["stages"][name] for run in runs) for name in runs[0]["stages"]
        },
    }
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{result['wall']:.1f} s wall, {result['cpu']:.1f} s processor, {result['peak_gib']:.2f} GiB at most, "
        f"{options.threads} threads, median of {options.repeats}; go: {result['go']}"
    )
    for name, seconds in result["stages"].items():
        print(f"  {name:<10} {seconds:6.1f}")


if __name__ == "__main__":
    main()
