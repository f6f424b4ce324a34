"""Peak memory of a command, what it holds itself apart from the files that it has mapped, which the system takes back as it likes.

    python benchmarks/memory.py moodlens run --out DIR --set prompts.generate=100000

Linux alone: it reads /proc every fifth of a second. Processes that the command starts are not counted.
"""

import subprocess
import sys
from pathlib import Path

KINDS = {"RssAnon": "its own", "RssFile": "mapped files"}


def held(pid: int) -> dict[str, int]:
    """MiB of each kind; empty once the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    cells = dict(line.split(":", 1) for line in lines)
    return {kind: int(cells[kind].split()[0]) // 1024 for kind in KINDS if kind in cells}


def main(command: list[str]) -> int:
    peak = dict.fromkeys(KINDS, 0)
    process = subprocess.Popen(command)
    while True:
        try:
            status = process.wait(0.2)
        except subprocess.TimeoutExpired:
            peak = {kind: max(peak[kind], now) for kind, now in (peak | held(process.pid)).items()}
        else:
            print(", ".join(f"{KINDS[kind]} {most:,} MiB" for kind, most in peak.items()), file=sys.stderr)
            return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
