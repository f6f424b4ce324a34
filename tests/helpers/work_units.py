"""Units of work that other processes can import."""

import os
import signal
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from moodlens.core import BadInput


def squares(path: Path, *, n: int, count: Path | None = None) -> dict:
    save_file({"x": np.arange(n) ** 2}, path)
    if count is not None:
        with count.open("a") as file:
            file.write(".")
    return {"n": n}


def refuse(path: Path, *, what: str) -> dict:
    raise BadInput(f"no {what}")


def die_once(path: Path, *, mark: Path) -> dict:
    """What a process does that runs out of memory, the first time."""
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return squares(path, n=3)


def die(path: Path) -> dict:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}
