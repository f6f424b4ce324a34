"""Peak memory of every stage of a study, against its rows: a process for each number of rows, under one budget.

Rows are those of a finished study with noise of a third of their spread, so that encoding costs nothing; twenty copies of
its groups are twenty groups. The SAEs are few and trained for a moment. Linux alone: it reads /proc ten times a second.

    python benchmarks/whole_study.py STUDY --rows 40000 200000 --memory 0.25
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl

EMOTIONS = ("happy", "sad", "calm", "energetic")
NOISE = 0.35


def held() -> tuple[int, int]:
    """MiB of this process: its own, and of mapped files."""
    cells = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(cells["RssAnon"].split()[0]) // 1024, int(cells["RssFile"].split()[0]) // 1024


def watch(out: Path) -> None:
    """Print the peaks between the ends of two stages."""
    peak, since, before = (0, 0), time.time(), set()
    while True:
        done = {path.stem for path in (out / ".stages").glob("*.json")}
        peak = tuple(map(max, peak, held()))
        if done != before:
            names = ", ".join(sorted(done - before))
            print(
                f"{names:24s}{time.time() - since:7.0f} s{peak[0]:7d} MiB, mapped {peak[1]} MiB", flush=True
            )
            peak, since, before = (0, 0), time.time(), done
        time.sleep(0.1)


def one(arguments: argparse.Namespace, n: int, scratch: Path) -> None:
    """Make ``n`` rows and run a study on them."""
    import moodlens
    from moodlens.study.study import Study

    study, draw = Study(arguments.study), np.random.default_rng(0)
    plain = np.flatnonzero(study.prompts["kind"].is_in(["plain", "neutral"]).to_numpy())
    taken, spread = draw.choice(plain, n), NOISE * study.x.std(axis=0)
    x = np.lib.format.open_memmap(scratch / "x.npy", mode="w+", dtype=np.float32, shape=(n, len(spread)))
    for begin in range(0, n, 8192):
        rows = study.x[taken[begin : begin + 8192]]
        x[begin : begin + len(rows)] = rows + spread * draw.normal(size=rows.shape)
    prompts, turn = study.prompts[taken], np.arange(n) // len(plain) % 20
    table = prompts.select(
        (pl.col("text") + " " + pl.Series(np.arange(n)).cast(pl.String)).alias("text"),
        pl.col("emotion").fill_null("neutral"),
        (pl.col("group") + "-" + pl.Series(turn).cast(pl.String)).alias("group"),
    )
    table.write_csv(scratch / "texts.csv")
    del study, prompts, table, x

    def encode(texts: list[str]) -> np.ndarray:
        stored = np.load(scratch / "x.npy", mmap_mode="r")
        numbers = [text.rsplit(" ", 1)[-1] for text in texts]
        return np.stack([stored[int(number) % n if number.isdigit() else 0] for number in numbers])

    moodlens.add_encoder("stored", encode, revision=str(n))
    columns = {"text_column": "text", "emotion_column": "emotion", "group_column": "group"}
    settings = moodlens.Settings.model_validate(
        {
            "encoder": {"id": "stored"},
            "emotions": EMOTIONS,
            "prompts": {"generate": 0, "tables": [{"path": str(scratch / "texts.csv"), **columns}]},
            "engine": {"memory": arguments.memory},
            "seeds": 1,
            "core": {"members": 3, "bootstraps": 1, "epochs": 4},
            "sae": {"epochs": 2},
        }
    )
    threading.Thread(target=watch, args=(scratch / "run",), daemon=True).start()
    moodlens.run(settings, scratch / "run")
    time.sleep(0.3)  # the last stage is printed by the other thread


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[40_000, 200_000])
    parser.add_argument("--memory", type=float, default=0.25, help="engine.memory, GiB")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for n in arguments.rows:
        if arguments.here:
            with tempfile.TemporaryDirectory() as scratch:
                one(arguments, n, Path(scratch))
        else:
            print(f"{n:,} rows, a budget of {arguments.memory:g} GiB", flush=True)
            command = [sys.executable, __file__, str(arguments.study), "--rows", str(n)]
            subprocess.run([*command, "--memory", str(arguments.memory), "--here"], check=True)


if __name__ == "__main__":
    main()
