"""One SAE trained by several processes, for the rare one that is too much for one: started by torchrun.

    torchrun --nproc-per-node 2 -m moodlens.sae.distributed STORE --out DIR --set architecture=topk --set d_sae=65536

Every process reads its slice of each batch (:mod:`moodlens.sae.sliced`); the result is that of one process at the same
batch size to the order of sums, and only the first process writes. Processes on several machines need the store under one
path. Many SAEs are not this: they need nothing from each other (:mod:`moodlens.engine`).

The same command goes on from what a lost process left in ``DIR/checkpoint.safetensors``. What is wrong is one line, of the
process that finds it first: torchrun ends the others before they could repeat it.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from moodlens.core import BadInput, silent
from moodlens.core.progress import progress_lines
from moodlens.core.text import printable
from moodlens.embed.store import EmbeddingStore
from moodlens.sae.files import CONFIG, WEIGHTS, save_sae
from moodlens.sae.history import write_history
from moodlens.sae.rows import check_rows
from moodlens.sae.sliced_run import train_sliced
from moodlens.sae.units import Source, StoreRows
from moodlens.settings.base import apply_changes, validate
from moodlens.settings.engine import EngineSettings
from moodlens.settings.sae import SAESettings

WRONG, LOST = 2, 1
"""Exit status for what is wrong with the input, and where another process was lost."""
CHECKPOINT, HISTORY = "checkpoint.safetensors", "history.jsonl"


def split_rows(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows that train and of those that validate, at least one, rising, drawn by ``seed``."""
    order = np.random.default_rng([seed, 0x5B17]).permutation(n)
    n_val = max(1, round(share * n))
    return np.sort(order[n_val:]), np.sort(order[:n_val])


def _train_store(given: argparse.Namespace) -> None:
    first = dist.get_rank() == 0
    if not 0 < given.val < 1:
        raise BadInput(f"--val {given.val:g}: give a share between 0 and 1")
    if given.seed < 0:
        raise BadInput(f"--seed {given.seed}: give 0 or more")
    settings = validate(SAESettings, apply_changes({}, given.set), "--set", given.set)
    store = EmbeddingStore.open(given.store)
    if store.rows < 2:
        raise BadInput(f"{given.store}: {store.rows} rows; some must train and some validate")
    if first:
        _make_room(given.out, given.store)
    check_rows(StoreRows(store, np.arange(store.rows)), str(given.store))
    source = Source(given.store.absolute(), *split_rows(store.rows, given.val, given.seed), given.memory)
    checkpoint = given.out / CHECKPOINT

    def on_start(epochs: int) -> None:
        if first and epochs:
            _complain(f"{checkpoint}: going on after epoch {epochs}")

    trained = train_sliced(
        *source.rows(),
        settings,
        seed=given.seed,
        checkpoint=checkpoint,
        on_start=on_start,
        progress=progress_lines(_complain) if first else silent,
    )
    if first:
        write_history(given.out / HISTORY, trained.history)
        save_sae(trained.sae, given.out, {"encoder_id": store.info.encoder})
        for left in (checkpoint, *given.out.glob(".*.tmp")):  # of processes that were killed while they wrote
            left.unlink(missing_ok=True)
        last = trained.history[trained.best_epoch]
        print(  # noqa: T201 - this is its command line
            f"{given.out}: {trained.sae.d_sae} features by {dist.get_world_size()} processes in {trained.seconds:.0f} s, "
            f"explained variance {last.val_explained_variance:.3f} on {len(source.val)} held-out rows"
        )


def _make_room(out: Path, store: Path) -> None:
    """See that ``out`` can take an SAE, before there is one.

    Raises:
        BadInput: it is a file, the store, holds other things than what an unfinished run left, or cannot be written.
    """
    if out.resolve() == store.resolve():
        raise BadInput(f"{out}: is the folder of embeddings; name another folder")
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out}: is a file; give a folder")
    names = {path.name for path in out.iterdir()} if out.is_dir() else set[str]()
    # With a checkpoint beside it, the run was killed before it removed that.
    if CONFIG in names and CHECKPOINT not in names:
        raise BadInput(f"{out}: already holds an SAE; name another folder")
    others = sorted(names - {CHECKPOINT, CONFIG, WEIGHTS, HISTORY})
    others = [name for name in others if not (name.startswith(".") and name.endswith(".tmp"))]
    if others:
        raise BadInput(f"{out}: holds other files ({others[0]}); name another folder")
    nearest = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise BadInput(
            f"{out}: cannot write: {nearest} is {'read-only' if nearest.is_dir() else 'no folder'}"
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """As any bad input: one line, of one process."""
        raise BadInput(f"{message} (see python -m moodlens.sae.distributed --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="torchrun -m moodlens.sae.distributed", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "store", type=Path, metavar="STORE", help="folder of embeddings, seen by every process"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the SAE is written")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the SAE, e.g. k=64"
    )
    parser.add_argument("--val", type=float, default=0.1, metavar="SHARE", help="rows that validate (0.1)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and held-out rows (0)")
    parser.add_argument(
        "--memory",
        type=float,
        default=EngineSettings().memory,
        metavar="GIB",
        help="rows that a process holds (2)",
    )
    return parser


def _complain(message: str) -> None:
    print(f"moodlens: {printable(message)}", file=sys.stderr, flush=True)  # noqa: T201


def _complain_once(message: str, store: Store) -> None:
    """Say what ended this process, unless another one has said what ended it."""
    try:
        first = store.add("moodlens/complaints", 1) == 1
    except RuntimeError:  # the process that served the store is gone
        first = True
    if first:
        _complain(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the SAE that the command line asks for; returns the exit status."""
    if "RANK" not in os.environ:
        try:
            _parser().parse_args(arguments)
            raise BadInput(
                "start this by torchrun: torchrun --nproc-per-node 2 -m moodlens.sae.distributed STORE --out DIR"
            )
        except BadInput as error:
            _complain(str(error))
            return WRONG
    shared, rank, world = next(rendezvous("env://"))
    dist.init_process_group("gloo", store=shared, rank=rank, world_size=world)
    try:
        _train_store(_parser().parse_args(arguments))
    except BadInput as error:
        _complain_once(str(error), shared)
        return WRONG
    except RuntimeError as error:
        if "gloo/transport" not in str(error):
            raise
        _complain_once("another process was lost; the same command goes on from its last checkpoint", shared)
        return LOST
    finally:
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
