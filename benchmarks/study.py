"""The whole quickstart, cold, in a process of its own: seconds of each stage, processor time, peak memory.

    python benchmarks/study.py [--repeats 3] [--threads 2] [--set prompts.generate=6000] [--json]

There is no peer that does the same; the figure to watch is the whole, and which stage it is made of. With two threads
stages run side by side, so that their seconds add up to more than the whole: "at" says when each began.
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
        records = {file.stem: json.loads(file.read_text()) for file in (out / ".stages").glob("*.json")}
    first = min(record["began"] for record in records.values())
    return {
        "wall": wall,
        "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "peak_gib": after.ru_maxrss / 2**20,  # Linux counts KiB
        "go": said["go"],
        "stages": {
            name: {"at": record["began"] - first, "seconds": record["seconds"]}
            for name, record in sorted(records.items(), key=lambda one: one[1]["began"])
        },
    }


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
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
            name: {key: statistics.median(run["stages"][name][key] for run in runs) for key in times}
            for name, times in runs[0]["stages"].items()
        },
    }
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{result['wall']:.1f} s wall, {result['cpu']:.1f} s processor, {result['peak_gib']:.2f} GiB at most, "
        f"{options.threads} threads, median of {options.repeats}; go: {result['go']}"
    )
    print("  stage          at  seconds")
    for name, times in result["stages"].items():
        print(f"  {name:<10} {times['at']:6.1f} {times['seconds']:8.1f}")


if __name__ == "__main__":
    main()
