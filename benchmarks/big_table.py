"""Peak memory of `moodlens score` against the texts of the table; each run is a process of its own.

python benchmarks/big_table.py STUDY --texts 10000 40000
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    from moodlens.prompts import generate

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("study", type=Path)
    parser.add_argument("--texts", type=int, nargs="+", default=[10_000, 40_000])
    parser.add_argument("--labels", action="store_true", help="judge the scores, too")
    parser.add_argument("--ending", default="parquet", choices=("csv", "parquet"))
    arguments = parser.parse_args()
    for n in arguments.texts:
        with tempfile.TemporaryDirectory() as scratch:
            texts, out = Path(scratch) / "texts.csv", Path(scratch) / f"scores.{arguments.ending}"
            generate(n, seed=1).select("text", "emotion").write_csv(texts)
            command = [sys.executable, "-m", "moodlens", "score", str(arguments.study), str(texts), "--text-column", "text", "--out", str(out), "--json"]  # fmt: skip
            command += ["--label-column", "emotion"] if arguments.labels else []
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            row = {"texts": n, "status": status, "seconds": round(time.perf_counter() - began, 1)}
            row |= {
                "cpu_s": round(used.ru_utime + used.ru_stime, 1),
                "peak_MiB": round(used.ru_maxrss / 1024),
            }
            print(json.dumps(row | {"out_MiB": round(out.stat().st_size / 2**20, 1)}), flush=True)


if __name__ == "__main__":
    main()
