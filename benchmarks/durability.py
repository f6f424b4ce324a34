"""Studies that are killed, run out of disk or are damaged: do they end with the same verdict, or with one line?

python benchmarks/durability.py kills --times 50      # kill -9 at random moments, each run again to the end
python benchmarks/durability.py flips --times 100     # one bit of one file at a time; `verify` must say so
python benchmarks/durability.py full --folder /mnt/small    # a file system that is too small
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import yaml

SMALL = {
    "name": "small",
    "seeds": 1,
    "core": {"members": 3, "d_sae": 48, "bootstraps": 1, "epochs": 4},
    "prompts": {"generate": 400, "held_out_share": 0.15},
    "encoder": {"shard_rows": 100, "dtype": "float32"},
    "sae": {"d_sae": 64, "k": 6, "epochs": 10, "batch_size": 64},
    "features": {"n_permutations": 200, "n_shuffles": 5},
    "validation": {
        "phase0": {"n_permutations": 20, "n_shuffles": 2},
        "causal": {"n_bootstrap": 100},
        "pairs": {"n_bootstrap": 100},
        "transfer": {"n_bootstrap": 100},
    },
}
NUMBERS = (
    "verdict.json",
    "families.json",
    "core.json",
    "selection.parquet",
    "features.parquet",
    "causal.json",
)
"""What a study found, without when and how long."""


def moodlens(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from moodlens.cli import main; main()", *arguments]


def study(scratch: Path) -> Path:
    path = scratch / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


def result(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in NUMBERS if (folder / name).is_file()}


def straight(scratch: Path) -> tuple[Path, float]:
    """A study that nobody disturbed, and the processor seconds that it took."""
    path = study(scratch)
    _, said, used = attempt(path, scratch / "straight", None)
    assert not said, said
    return scratch / "straight", used


def attempt(path: Path, out: Path, limit: float | None) -> tuple[bool, str, float]:
    """Run a study in a process of its own, killed after ``limit`` processor seconds.

    Returns:
        whether it was killed, what it said, and the processor seconds that it took. The process is forked from this one,
        which has the libraries loaded, so that a moment lies in the study and not in the loading of torch.
    """
    from moodlens.core import BadInput
    from moodlens.pipeline.run import run
    from moodlens.settings.study import read_study

    said = out.with_suffix(".said")
    child = os.fork()
    if child == 0:
        try:
            run(read_study(path), out)
            said.write_text("")
        except BadInput as error:
            said.write_text(str(error))
        except BaseException as error:  # noqa: BLE001
            said.write_text(f"{type(error).__name__}: {error}")
        finally:
            os._exit(0)
    used = 0.0
    while True:
        ended, _ = os.waitpid(child, os.WNOHANG)
        if ended:
            return False, said.read_text(), used
        parts = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        used = (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")
        if limit is not None and used >= limit:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True, "", used
        time.sleep(0.002)


def kills(arguments: argparse.Namespace, scratch: Path) -> None:
    """Kill runs at random moments. A study is killed several times on its way to the end, each time later in it."""
    from moodlens.pipeline.opened import stage_states
    from moodlens.pipeline.schedule import _HEAVY

    for name in _HEAVY:
        import_module(name)
    draw = random.Random(arguments.seed)
    folder, seconds = straight(scratch)
    expected = result(folder)
    print(json.dumps({"undisturbed_cpu_s": round(seconds, 1), "files": sorted(expected)}), flush=True)
    killed, studies, wrong, moments = 0, 0, [], Counter()
    while killed < arguments.times:
        folder, said = scratch / f"killed-{studies}", ""
        while killed < arguments.times:
            was_killed, said, _ = attempt(scratch / "small.yaml", folder, draw.uniform(0, seconds / 3))
            if not was_killed:
                break
            killed += 1
            moments[len(list((folder / ".stages").glob("*.json")))] += 1
        said += attempt(scratch / "small.yaml", folder, None)[1]
        left = [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")]
        whole = all(one.state == "done" for one in stage_states(folder, deep=True).values())
        if said or left or not whole or result(folder) != expected:
            wrong.append({"study": studies, "said": said, "left": left, "whole": whole})
        print(json.dumps({"kills": killed, "studies": studies + 1, "wrong": wrong}), flush=True)
        shutil.rmtree(folder)
        studies += 1
    print(json.dumps({"kills_after_so_many_stages": {str(n): moments[n] for n in sorted(moments)}}))


def flips(arguments: argparse.Namespace, scratch: Path) -> None:
    """Flip one bit at a random place of a random file, look, and put it back."""
    from moodlens.core import BadInput
    from moodlens.pipeline.opened import stage_states

    folder = arguments.folder or straight(scratch)[0]
    draw, found = random.Random(arguments.seed), Counter()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    for _ in range(arguments.times):
        path = draw.choice(files)
        whole, place = path.read_bytes(), draw.randrange(path.stat().st_size)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        try:
            caught = any(one.state != "done" for one in stage_states(folder, deep=True).values())
        except BadInput:
            caught = True
        path.write_bytes(whole)
        kind = "record" if path.parent.name == ".stages" else path.name if path.name == "study.yaml" else "result"  # fmt: skip
        found[kind, caught] += 1
        if not caught:
            line = whole[:place].count(b"\n")
            print(json.dumps({"missed": str(path.relative_to(folder)), "line": whole.decode(errors="replace").splitlines()[line][:90]}))  # fmt: skip
    print(json.dumps({f"{kind}, {'caught' if caught else 'missed'}": n for (kind, caught), n in sorted(found.items())}))  # fmt: skip


def full(arguments: argparse.Namespace, scratch: Path) -> None:
    """Run on a file system that is too small: one line and status 2; then with room again, to the end."""
    folder = arguments.folder / "study"
    command = moodlens("run", str(study(scratch)), "--out", str(folder))
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    print(json.dumps({"status": ended.returncode, "says": ended.stderr.strip().splitlines()}), flush=True)
    left = [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")] if folder.exists() else []
    elsewhere = scratch / "moved"
    if folder.exists():
        shutil.copytree(folder, elsewhere)
    command = moodlens("run", str(scratch / "small.yaml"), "--out", str(elsewhere))
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    found, wanted = result(elsewhere), result(straight(scratch)[0])
    differ = [name for name in NUMBERS if found.get(name) != wanted.get(name)]
    print(json.dumps({"half_written": left, "again": again.returncode, "differ": differ}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("what", choices=("kills", "flips", "full"))
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.what == "full" and arguments.folder is None:
        parser.error("full: give --folder, on a file system that is too small")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as scratch:
        {"kills": kills, "flips": flips, "full": full}[arguments.what](arguments, Path(scratch))


if __name__ == "__main__":
    main()
